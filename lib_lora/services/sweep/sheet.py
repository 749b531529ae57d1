"""The grid of a comparison: the model without LoRA, every run, the best one marked; in the language of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from PIL import Image

from lib_lora.analysis.comparison import Cell, Comparison, draw_comparison
from lib_lora.analysis.grid import draws_japanese
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.picture_file import whole_picture
from lib_lora.sentences import Sentence, say
from lib_lora.services.jobs.job import FAILED, RUNNING, STOPPED, WAITING
from lib_lora.services.jobs.run_state import INTERRUPTED, PAUSED
from lib_lora.services.sweep.compared import BASE, WITHOUT, Compared
from lib_lora.services.sweep.facts import NOT_BEGUN, RunFacts
from lib_lora.train.sweep_table import shown, values_text

ACROSS = 6
"""Cells of one line where no option has columns of its own."""
ENDED_AT = {
    RUNNING: say("training"),
    WAITING: say("waiting"),
    PAUSED: say("paused"),
    STOPPED: say("stopped"),
    FAILED: say("failed"),
    INTERRUPTED: say("interrupted"),
}

Tell = Callable[[str], str]
"""From a sentence to its text in the grid's language."""


def picture_name(language: str) -> str:
    """Return the name of the grid's file in a language."""
    return "comparison.png" if language == "en" else f"comparison.{language}.png"


def grid_of(made: Compared, language: str = "en") -> Image.Image:
    """Return the labeled grid: the first option's values as columns, those of the others as rows.

    It is in English where this machine has no font for the language.
    """
    if language == "ja" and not draws_japanese():
        language = "en"
    tell = partial(sentence_in_words, language=language)
    table, request = made.sweep.table, made.request
    axes = list(table.axes.items())
    cells = {one.run: _cell(made, one, tell, headed=not axes) for one in made.facts}
    base = _base(made, tell)
    steps = say("{n} {n:step|steps}", n=request.steps)
    how = say("seed {seed}, {steps}, {sampler}, CFG {cfg:g}", seed=request.seed, steps=steps,
              sampler=request.sampler, cfg=request.cfg_scale)  # fmt: skip
    whole = Comparison(made.sweep.name, f"{request.prompt} · {tell(how)}", tell(made.verdict.text), [])
    if not axes:
        each = [replace(base, head=tell(WITHOUT)), *cells.values()]
        return draw_comparison(replace(whole, cells=[each[at : at + ACROSS] for at in range(0, len(each), ACROSS)]))
    by_row: dict[str, list[Cell | None]] = {}
    for one in made.facts:
        rest = ", ".join(f"{name} {shown(one.values[name])}" for name, _ in axes[1:])
        by_row.setdefault(rest, [None if by_row else base]).append(cells[one.run])
    columns = [tell(WITHOUT), *(f"{axes[0][0]} {shown(value)}" for value in axes[0][1])]
    rows = list(by_row) if len(axes) > 1 else []
    return draw_comparison(replace(whole, cells=list(by_row.values()), columns=columns, rows=rows))


def _base(made: Compared, tell: Tell) -> Cell:
    kept = made.pictures.get(BASE)
    first = next((one for one in made.facts if one.before is not None), None)
    facts = [say("steady {loss:.4f}", loss=first.before)] if first else []
    remark = made.remarks.get(BASE, "")
    return Cell(kept and whole_picture(kept), tuple(map(tell, facts)), warning=tell(remark))


def _cell(made: Compared, one: RunFacts, tell: Tell, *, headed: bool) -> Cell:
    head = values_text(one.values) if headed else ""
    if one.error is not None:
        return Cell(None, (), head, tell(say("failed: {error}", error=one.error.what)))
    if not one.finished:
        return Cell(None, (tell(state_of(one)),), head)
    kept, remark = made.pictures.get(one.run), made.remarks.get(one.run, "")
    mark = tell(say("best")) if one.run == made.verdict.run else ""
    return Cell(kept and whole_picture(kept), tuple(map(tell, facts_lines(one))), head, tell(remark), mark)


def state_of(one: RunFacts) -> Sentence:
    """Return how far a run is that is not finished."""
    if one.state == NOT_BEGUN:
        return say("not begun")
    return say("{state} at step {n}", state=ENDED_AT.get(one.state, one.state), n=one.steps)


def facts_lines(one: RunFacts) -> tuple[Sentence, ...]:
    """Return the facts of a finished run in short lines, as they stand below its picture."""
    losses = [
        say("steady {loss:.4f}", loss=one.steady) if one.steady is not None else None,
        say("loss {loss:.4f}", loss=one.loss) if one.loss is not None else None,
    ]
    drifted = [
        say("held out {loss:.4f}", loss=one.held) if one.held is not None else None,
        say("drift {percent:.1f} %", percent=100 * one.drift) if one.drift is not None else None,
    ]
    size = say("{size:.2f} MB", size=one.bytes / 1e6) if one.bytes else None
    cost = [say("{n} {n:step|steps}", n=one.steps), _time(one.seconds), size]
    return tuple(say("{facts: · }", facts=kept) for kept in map(_known, (losses, drifted, cost)) if kept)


def _known(facts: Sequence[Sentence | None]) -> list[Sentence]:
    return [each for each in facts if each is not None]


def _time(seconds: float | None) -> Sentence | None:
    if seconds is None:
        return None
    return say("{n:.0f} s", n=seconds) if seconds < 120 else say("{n:.0f} min", n=seconds / 60)
