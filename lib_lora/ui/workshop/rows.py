"""The table of Merge: a row of widgets for each LoRA, as many in sight as are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lib_lora.blocks.tokens import format_number
from lib_lora.errors import InputError
from lib_lora.i18n.words import Words
from lib_lora.merge.spec import Ingredient
from lib_lora.options import options_of
from lib_lora.services import files as file_work
from lib_lora.services.atelier import Atelier
from lib_lora.services.file_facts import lora_path
from lib_lora.services.ingredients import rows_of_prompt as rows_as_written
from lib_lora.ui.compat import dropdown, gr, number, update
from lib_lora.ui.option_widget import widget

MOST = 8
FIELDS = ("strength", "blocks", "te", "unet")
KNOWN = {one.name: one for one in options_of(Ingredient)}
WIDTH = 1 + len(FIELDS)
"""Values of a row: its LoRA, and `FIELDS`."""
EMPTY = (None, *(KNOWN[name].default for name in FIELDS))


@dataclass(frozen=True)
class Rows:
    """The widgets: a line (to show and hide), its five values, and its button to take it out."""

    lines: tuple[Any, ...]
    values: tuple[tuple[Any, ...], ...]
    removers: tuple[gr.Button, ...]

    @property
    def inputs(self) -> list[Any]:
        """All value widgets, row after row."""
        return [widget for row in self.values for widget in row]

    @property
    def outputs(self) -> list[Any]:
        """What `shown_rows` updates: the lines, then all values."""
        return [*self.lines, *self.inputs]


def build_rows(atelier: Atelier, words: Words) -> Rows:
    """Build the rows; the first is in sight."""

    def draw(name: str) -> Any:
        return widget(KNOWN[name], words, info=False, scale=1, min_width=90)

    names, presets = file_work.names(atelier), file_work.presets(atelier)
    lines, values, removers = [], [], []
    for index in range(MOST):
        with gr.Row(visible=index == 0, elem_classes=["atelier-merge-row"]) as line:
            row = (
                dropdown(
                    names,
                    value=None,
                    label=words("workshop.row_lora", n=index + 1),
                    scale=4,
                    min_width=180,
                    elem_id=f"atelier_workshop_row{index + 1}",
                ),
                draw("strength"),
                dropdown(
                    presets,
                    value=KNOWN["blocks"].default,
                    label=words.said(KNOWN["blocks"].label),
                    scale=3,
                    min_width=150,
                    elem_id=f"atelier_workshop_row{index + 1}_blocks",
                ),
                draw("te"),
                draw("unet"),
            )
            label = words("workshop.remove_row", n=index + 1)
            removers.append(gr.Button(label, size="sm", scale=0, min_width=110, elem_classes=["atelier-small"]))
        lines.append(line)
        values.append(row)
    return Rows(tuple(lines), tuple(values), tuple(removers))


def row_of(name: str, blocks: str) -> tuple[Any, ...]:
    """Return the values of a row with one LoRA and its block weights."""
    return (name, *(blocks if field == "blocks" else KNOWN[field].default for field in FIELDS))


def split(flat: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the values of all rows, row by row."""
    return [tuple(flat[start : start + WIDTH]) for start in range(0, MOST * WIDTH, WIDTH)]


def shown_rows(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the updates that show these rows, one at least."""
    full = [*rows, *([EMPTY] * MOST)][:MOST]
    count = max(1, len(rows))
    lines = [update(visible=index < count) for index in range(MOST)]
    return lines + [update(value=value) for row in full for value in row]


def used_rows(flat: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows in which a LoRA is chosen."""
    return [row for row in split(flat) if row[0]]


def ingredients(atelier: Atelier, flat: Sequence[Any]) -> tuple[Ingredient, ...]:
    """Return what the rows say.

    Raises:
        InputError: a file went away.
    """
    found = []
    for name, *values in used_rows(flat):
        given = {key: value for key, value in zip(FIELDS, values, strict=True) if value not in (None, "")}
        found.append(Ingredient(file_work.file_of(atelier, name), **given))
    return tuple(found)


def rows_of_prompt(atelier: Atelier, prompt: str) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Return a row for every LoRA tag of a prompt, and what of the tags a file cannot hold, as ``name: start, stop``.

    Raises:
        InputError: no tag, too many, or one that cannot be right.
    """
    found = rows_as_written(prompt, partial(lora_path, atelier), atelier.host.presets)
    if len(found) > MOST:
        raise InputError(
            "The prompt has {n} LoRAs, the table {rows} rows", n=len(found), rows=MOST, cure="Take some out."
        )
    rows = [(one.name, *(getattr(one.row, field) for field in FIELDS)) for one in found]
    lost = {one.name: (*one.lost, *(["other"] if one.row.other is not None else [])) for one in found}
    return rows, [f"{name}: {', '.join(items)}" for name, items in lost.items() if items]


def row_text(row: Sequence[Any]) -> str:
    """Return a row in a few words, for a job's title."""
    return f"{row[0]} {format_number(number(row[1], KNOWN['strength'].default))}"
