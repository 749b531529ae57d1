"""*Compare values*: a table of option values becomes runs in the queue, and these one grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words, duration
from lib_lora.services.atelier import Atelier
from lib_lora.services.given_options import run_options
from lib_lora.services.jobs.job import DONE
from lib_lora.services.sweep.compared import read_comparison
from lib_lora.services.sweep.facts import NOT_BEGUN
from lib_lora.services.sweep.queued import KIND, SweepView
from lib_lora.train.sweep_table import values_text
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html, progress_html
from lib_lora.ui.train.inline_actions import act_button
from lib_lora.web.routes import file_url

SWEEPS = "train.sweeps"
LISTED = 5
EXAMPLE = "dim: 4, 8, 16\nlearning_rate: 1e-4, 3e-4"


@dataclass(frozen=True)
class SweepWidgets:
    """The widgets."""

    table: Any
    prompt: Any
    start: Any
    message: Any


def sweep_widgets(atelier: Atelier, words: Words) -> SweepWidgets:
    """Draw the table, its button, and the place of the grids."""
    table = gr.Textbox(
        value="",
        lines=3,
        placeholder=EXAMPLE,
        label=words("train.sweep_table"),
        info=words("train.sweep_table_info"),
        elem_id="atelier_train_sweep_table",
    )
    with gr.Row():
        prompt = gr.Textbox(
            value="",
            label=words("train.sweep_prompt"),
            info=words("train.sweep_prompt_info"),
            scale=3,
            elem_id="atelier_train_sweep_prompt",
        )
        start = gr.Button(words("train.sweep_start"), scale=1, min_width=160, elem_id="atelier_train_sweep_start")
    message = gr.HTML("", elem_id="atelier_train_sweep_message")
    gr.HTML(atelier.live.placeholder(SWEEPS, words), elem_id="atelier_train_sweeps")
    return SweepWidgets(table, prompt, start, message)


class SweepPiece:
    """Draws the newest sweeps: how far they are, what can be done with them, and the newest comparison."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier
        atelier.live.add(SWEEPS, self.html)

    def acts(self, language: str) -> dict[str, Callable[[str], Any]]:
        """Return what the buttons order, by their verbs."""
        sweeps = self._atelier.sweeps
        read = partial(run_options, self._atelier)
        return {
            "sweep-stop": sweeps.stop,
            "sweep-go": lambda name: sweeps.go_on(name, read, language=language),
            "sweep-compare": sweeps.compare,
        }

    def html(self, words: Words) -> str:
        """Return the newest sweeps, the newest of all in full; and of which the record cannot be read."""
        sweeps = self._atelier.sweeps
        cards = [self._card(view, words, whole=number == 0) for number, view in enumerate(sweeps.listed(LISTED))]
        return "".join([*cards, *(error_html(error, words) for error in sweeps.damaged())])

    def _card(self, view: SweepView, words: Words, *, whole: bool) -> str:
        name = view.sweep.name
        state = words("train.sweep_state", done=view.finished, n=len(view.runs))
        head = (
            f'<div class="atelier-run-head"><b>{escape(name)}</b><span class="atelier-soft">{escape(state)}</span>'
            f'<span class="atelier-acts">{self._buttons(view, words)}</span></div>'
        )
        jobs = [job for job in self._atelier.queue.jobs(KIND) if job.title == name][-1:]
        working = "".join(progress_html(job, self._atelier.queue, words) for job in jobs if not job.ended or job.error)
        shown = self._compared(view, words) if whole else ""
        return f'<div class="atelier-run">{head}{working}{shown}</div>'

    def _buttons(self, view: SweepView, words: Words) -> str:
        name, made = view.sweep.name, []

        def add(verb: str, key: str, kind: str = "") -> None:
            id_ = f"atelier_train_{verb}_{name}"
            made.append(act_button(f"{verb} {name}", words(key), title=words(f"{key}_title"), kind=kind, id_=id_))

        if view.active:
            add("sweep-stop", "train.sweep_stop")
        elif view.unfinished:
            add("sweep-go", "train.sweep_go", "primary")
        if view.finished:
            add("sweep-compare", "train.sweep_compare")
        table = view.files().get("table")
        if table is not None:
            url = file_url(self._atelier.folders, table)
            made.append(f'<a class="atelier-act" href="{url}" download>{escape(words("train.sweep_csv"))}</a>')
        return "".join(made)

    def _compared(self, view: SweepView, words: Words) -> str:
        kept = read_comparison(view.sweep, words.language) or {"runs": [], "verdict": None}
        kind = "good" if any(one["best"] for one in kept["runs"]) else "note"
        verdict = note_html(kept["verdict"], kind=kind) if kept["verdict"] else ""
        return self._grid(view, words) + verdict + _numbers(view, kept, words)

    def _grid(self, view: SweepView, words: Words) -> str:
        picture = view.files(words.language).get("picture")
        url = file_url(self._atelier.folders, picture) if picture is not None else ""
        if not url:
            return ""
        alt = escape(words("train.sweep_grid", name=view.sweep.name))
        return f'<a class="atelier-grid" href="{url}" target="_blank"><img src="{url}" alt="{alt}" loading="lazy"></a>'


def _numbers(view: SweepView, compared: dict[str, Any], words: Words) -> str:
    """Return the runs as a table: values, how far each is, and what the newest comparison knows of it."""
    kept = {one["run"]: one for one in compared["runs"]}
    loss = "steady" if any(one["steady"] is not None for one in kept.values()) else "loss"
    heads = [words("train.sweep_head_values"), words("train.head_state")]
    heads += [words("train.loss_steady" if loss == "steady" else "train.loss_mean"), words("train.drift")]
    heads += [words("train.head_steps"), words("train.report_time"), words("train.report_size")]
    titles = "".join(f"<th>{escape(text)}</th>" for text in heads)
    mark = f' <span class="atelier-badge done">{escape(words("train.sweep_best"))}</span>'
    rows = []
    for run, values in view.sweep.runs.items():
        now = view.runs[run]
        known = kept.get(run, {}) if now is not None and now.state == DONE else {}
        state = words(f"train.state_{now.state}") if now is not None else words(f"train.sweep_{NOT_BEGUN}")
        said = known.get("remark") or (sentence_in_words(now.error.what, words.language) if now and now.error else "")
        body = "".join(f"<td>{escape(cell)}</td>" for cell in (state, *_facts(known, loss, words)))
        best = mark if known.get("best") else ""
        rows.append(f'<tr><th scope="row">{escape(values_text(values))}{best}</th>{body}</tr>')
        if said:
            rows.append(f'<tr><td colspan="{len(heads)}" class="atelier-soft">{escape(said)}</td></tr>')
    table = f'<table class="atelier-table"><thead><tr>{titles}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="atelier-scroll">{table}</div>'


def _facts(known: dict[str, Any], loss: str, words: Words) -> tuple[str, ...]:
    """Return a loss, drift, steps, time and size as people read them; – where one is not known."""
    lost, drift, steps, seconds, size = (known.get(key) for key in (loss, "drift", "steps", "seconds", "bytes"))
    return (
        "–" if lost is None else f"{lost:.4f}",
        "–" if drift is None else f"{100 * drift:.1f} %",
        f"{steps:,}" if steps else "–",
        duration(seconds, words) if seconds else "–",
        f"{size / 1e6:.2f} MB" if size else "–",
    )
