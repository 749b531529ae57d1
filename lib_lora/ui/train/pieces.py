"""The live pieces of the Train panel: the run at work, its samples, the queue, the runs before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.formats.names import ENDING
from lib_lora.i18n.words import Words, duration
from lib_lora.report.plot import curve_svg
from lib_lora.services.atelier import Atelier
from lib_lora.services.finish import KIND as FINISH
from lib_lora.services.finish import FinishOptions, offers
from lib_lora.services.jobs.job import DONE, FAILED, RUNNING, STOPPED, WAITING
from lib_lora.services.jobs.run_state import DRAW, PAUSE, PAUSED, PREPARE, RESUMABLE, SAMPLE, STOP, WAIT, RunView
from lib_lora.services.run_report import sample_table, spread
from lib_lora.train.run_folder import RunFolder
from lib_lora.ui.messages import error_html, note_html, progress_html
from lib_lora.ui.train.inline_actions import act_button
from lib_lora.ui.train.look import remarks_html
from lib_lora.ui.train.make import MakePiece
from lib_lora.ui.train.probe import ProbePiece
from lib_lora.ui.train.sweep import SweepPiece
from lib_lora.web.routes import file_url, report_url

RUN, SAMPLES, LIST = "train.run", "train.samples", "train.list"
LISTED = 30
COLUMNS = 8


class Pieces:
    """Draws the pieces; plots are kept until their run has made another step."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier
        self._plots: dict[str, tuple[tuple[str, int, int], str]] = {}
        self.probe, self.sweep, self.make = ProbePiece(atelier), SweepPiece(atelier), MakePiece(atelier)
        atelier.live.add(RUN, self.run)
        atelier.live.add(SAMPLES, self.samples)
        atelier.live.add(LIST, self.list)

    def run(self, words: Words) -> str:
        """Return the run at work (or the newest one) and what waits behind it."""
        queue = self._atelier.trainings.queue()
        first = queue[0] if queue else self._newest()
        if first is None:
            return f'<p class="atelier-soft">{escape(words("train.no_run"))}</p>'
        waiting = "".join(_queue_row(view, words) for view in queue[1:])
        behind = f'<h4 class="atelier-group">{escape(words("train.queue"))}</h4>{waiting}' if waiting else ""
        return self.card(first, words) + behind

    def samples(self, words: Words) -> str:
        """Return the samples of that run as a table of prompts by steps, which grows."""
        queue = self._atelier.trainings.queue()
        first = queue[0] if queue else self._newest()
        return "" if first is None else self.sample_grid(first, words)

    def list(self, words: Words) -> str:
        """Return the runs before, newest first."""
        past = self._atelier.trainings.past()
        if not past:
            return f'<p class="atelier-soft">{escape(words("train.no_past"))}</p>'
        rows = "".join(self._past_row(view, words) for view in past[:LISTED])
        more = words("train.more_runs", n=len(past) - LISTED) if len(past) > LISTED else ""
        heads = "".join(
            f"<th>{escape(words(f'train.head_{name}'))}</th>" for name in ("name", "state", "steps", "when")
        )
        table = f'<table class="atelier-table"><thead><tr>{heads}<th></th></tr></thead><tbody>{rows}</tbody></table>'
        return f'{table}<span class="atelier-soft">{escape(more)}</span>'

    def card(self, view: RunView, words: Words) -> str:
        """Return one run in full: state, progress, buttons, loss."""
        error = error_html(view.error, words) if view.error is not None else ""
        said = (*view.problems, *self._atelier.trainings.logs.remarks(view.folder))
        return (
            f'<div class="atelier-run"><div class="atelier-run-head"><b>{escape(view.name)}</b>{_badge(view, words)}'
            f'<span class="atelier-acts">{self.buttons(view, words)}</span></div>'
            f"{_progress(view, words)}{error}{self.finishing(view, words)}{remarks_html(said, words)}"
            f"{self.plot(view, words)}</div>"
        )

    def buttons(self, view: RunView, words: Words) -> str:
        """Return the buttons that make sense in the run's state."""
        name, made = view.name, []

        def add(verb: str, key: str, kind: str = "") -> None:
            id_ = f"atelier_train_{verb}_{name}"
            made.append(act_button(f"{verb} {name}", words(key), title=words(f"{key}_title"), kind=kind, id_=id_))

        if view.state == RUNNING and not view.wish:
            add("pause", "train.pause")
        if view.state in RESUMABLE:
            add("resume", "train.resume", "primary")
        if (view.state == RUNNING and not view.wish) or (view.state == PAUSED and self._held(view)):
            add("stop", "train.stop")
        if view.state == WAITING:
            add("remove", "train.remove")
        if view.lora is not None or view.state == DONE:
            add("use", "train.use", "primary" if view.state == DONE else "")
        if view.report is not None:
            url = report_url(self._atelier.folders, view.report, words.language)
            made.append(f'<a class="atelier-act" href="{url}" target="_blank">{escape(words("train.report"))}</a>')
        return "".join(made)

    def finishing(self, view: RunView, words: Words) -> str:
        """Return the buttons that make a finished run's LoRA into one to hand on."""
        if view.state != DONE or view.lora is None:
            return ""
        title = words("train.finish_title")
        host = self._atelier.host
        rows = offers(RunFolder(view.folder).options(), view.lora, host.presets, host.model)
        made = [
            act_button(f"finish {view.name}/{one.text}", finish_label(one, words), title=title, kind="chip")
            for one in rows
        ]
        head = f'<span class="atelier-soft">{escape(words("train.finish_head"))}</span>'
        chips = f'<div class="atelier-chips">{head}{"".join(made)}</div>' if made else ""
        return chips + self._handing_on(view, words)

    def _handing_on(self, view: RunView, words: Words) -> str:
        """Return how far the newest file to hand on is, or what became of it."""
        job = self._atelier.files.newest(FINISH, view.name)
        if job is None:
            return ""
        if job.state == DONE:
            return note_html(words("train.finish_done", file=f"{job.title}{ENDING}", name=job.title), kind="good")
        if job.state == STOPPED:
            return note_html(words("train.finish_stopped", file=f"{job.title}{ENDING}"))
        stop = "" if job.ended else act_button(f"halt {job.number}", words("train.look_stop"))
        return progress_html(job, self._atelier.files, words) + stop

    def plot(self, view: RunView, words: Words) -> str:
        """Return the loss of a run as a plot with its legend."""
        rows = self._atelier.trainings.logs.rows(view.folder)
        measured = RunFolder(view.folder).measures()
        key = (words.language, len(rows), len(measured))
        slot = f"{words.language} {view.name}"
        known = self._plots.get(slot)
        if known is None or known[0] != key:
            if len(self._plots) > 2 * LISTED:
                self._plots.clear()
            known = self._plots[slot] = (key, _plot(rows, measured, words))
        return known[1]

    def sample_grid(self, view: RunView, words: Words) -> str:
        """Return a run's samples: a row for each prompt, a column for each step."""
        table = sample_table(view.folder)
        steps = spread(sorted(table), COLUMNS)
        if not steps:
            return ""
        heads = "".join(
            f"<th>{escape(words('train.before') if step == 0 else words('train.step_n', n=step))}</th>"
            for step in steps
        )
        numbers = sorted({number for row in table.values() for number in row})
        body = "".join(
            f"<tr>{''.join(self._picture(table[step].get(number), step, number) for step in steps)}</tr>"
            for number in numbers
        )
        title = escape(words("train.samples"))
        return (
            f'<h4 class="atelier-group">{title}</h4><div class="atelier-scroll"><table class="atelier-samples">'
            f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _picture(self, path: Path | None, step: int, number: int) -> str:
        url = file_url(self._atelier.folders, path) if path is not None else ""
        if not url:
            return "<td></td>"
        picture = f'<img src="{url}" alt="{step}, {number}" loading="lazy">'
        return f'<td><a href="{url}" target="_blank">{picture}</a></td>'

    def _past_row(self, view: RunView, words: Words) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(view.when)) if view.when else ""
        steps = f"{view.step} / {view.total}" if view.total else str(view.step or "–")
        said = words("train.n_remarks", n=len(view.problems)) if view.problems else ""
        acts = act_button(f"open {view.name}", words("train.open"), title=words("train.open_title"))
        acts += self.buttons(view, words)
        acts += act_button(f"again {view.name}", words("train.again"), title=words("train.again_title"))
        state = _badge(view, words) + _soft(said)
        return (
            f'<tr><th scope="row">{escape(view.name)}</th><td>{state}</td><td>{steps}</td><td>{when}</td>'
            f'<td><span class="atelier-acts">{acts}</span></td></tr>'
        )

    def _newest(self) -> RunView | None:
        past = self._atelier.trainings.past()
        return past[0] if past else None

    def _held(self, view: RunView) -> bool:
        """Whether the run lies in this server's memory: only then it can be saved without going on."""
        return any(one.name == view.name for one in self._atelier.trainings.queue())


def finish_label(one: FinishOptions, words: Words) -> str:
    """Return what an offer does, as its button says it."""
    return words("train.finish_dim", n=one.dim) if one.dim else words("train.finish_blocks", blocks=one.blocks)


def _soft(text: str) -> str:
    return f' <span class="atelier-soft">{escape(text)}</span>' if text else ""


def _badge(view: RunView, words: Words) -> str:
    marks = {RUNNING: "▶", DONE: "✓", FAILED: "✕", PAUSED: "❚❚"}
    text = words(f"train.state_{view.state}")
    return f'<span class="atelier-badge {view.state}">{marks.get(view.state, "•")} {escape(text)}</span>'


def _queue_row(view: RunView, words: Words) -> str:
    remove = act_button(f"remove {view.name}", words("train.remove"), title=words("train.remove_title"))
    return f'<div class="atelier-queue-row"><b>{escape(view.name)}</b>{_badge(view, words)}{remove}</div>'


def _progress(view: RunView, words: Words) -> str:
    if not view.total and view.doing not in (DRAW, PREPARE, WAIT):
        return ""
    share = view.step / view.total if view.total else 0.0
    parts = []
    if view.doing in (DRAW, PREPARE):
        done, total = view.part
        parts.append(words("train.drawing" if view.doing == DRAW else "train.preparing", done=done, total=total or "…"))
        share = done / total if total else 0.0
    elif view.total:
        parts.append(words("train.step_of", step=f"{view.step:,}", total=f"{view.total:,}"))
    if view.doing == SAMPLE:
        parts.append(words("train.sampling"))
    if view.doing == WAIT:
        parts.append(words("train.waits_for_model"))
    if view.wish in (PAUSE, STOP):
        parts.append(words(f"train.wish_{view.wish}"))
    elif view.state == RUNNING and view.seconds_left is not None and view.doing in ("", SAMPLE):
        parts.append(words("common.left", time=duration(view.seconds_left, words)))
        parts.append(words("train.pace", seconds=f"{view.pace:.2f}"))
    return (
        '<div class="atelier-progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * share:.0f}"><div class="atelier-bar" style="width:{100 * share:.1f}%"></div>'
        f"<span>{escape(' · '.join(parts))}</span></div>"
    )


def _plot(rows: list[tuple[int, float, float]], measured: list[dict[str, Any]], words: Words) -> str:
    """Return the losses of a run, and beneath them its drift where that is measured."""
    if len(rows) < 2:
        return ""
    series = {
        "train.loss_step": [(float(step), loss) for step, loss, _ in rows],
        "train.loss_mean": [(float(step), mean) for step, _, mean in rows],
        "train.loss_steady": [(float(row["step"]), row["steady"]) for row in measured],
        "train.loss_held": [(float(row["step"]), row["held"]) for row in measured if row.get("held") is not None],
    }
    drift = [(float(row["step"]), 100 * row["drift"]) for row in measured]
    loss = _curves({key: points for key, points in series.items() if points}, "train.loss", words)
    return loss + (_curves({"train.drift": drift}, "train.drift", words) if len(drift) > 1 else "")


def _curves(series: Mapping[str, list[tuple[float, float]]], key: str, words: Words) -> str:
    """Return curves of one scale with their legend."""
    unit = f"{words(key)} (%)" if key == "train.drift" else words(key)
    svg = curve_svg(list(series.values()), x_label=words("train.step"), y_label=unit, summary=words(key))
    legend = "".join(
        f'<li><svg viewBox="0 0 28 10"><polyline class="s{n}" points="0,5 28,5"/></svg>{escape(words(name))}</li>'
        for n, name in enumerate(series)
    )
    hint = escape(words(f"{key}_hint"))
    return f'<div class="atelier-plot" title="{hint}">{svg}</div><ul class="atelier-legend">{legend}</ul>'
