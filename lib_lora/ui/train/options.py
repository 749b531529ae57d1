"""Every training option as a widget, grouped and explained; what differs from the recipe is marked."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.options import auto_or_number, options_of
from lib_lora.train.options import SUBJECTS, TrainOptions, parse_argument, split_arguments
from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.option_widget import shown, widget

ELSEWHERE = ("images", "dataset_config", "name", "trigger", "kind", "steps")
"""Options that stand in the open, not behind "more"."""
ROOM = "atelier_train_more"
"""Where all of them stand: the accordion's id."""


def _groups() -> dict[str, tuple[str, ...]]:
    """Return subject -> names of its options, without those that stand elsewhere."""
    groups = {
        subject: tuple(one.name for one in options_of(holder) if one.name not in ELSEWHERE)
        for subject, holder in SUBJECTS.items()
    }
    return {subject: names for subject, names in groups.items() if names}


GROUPS = _groups()
NAMES = tuple(name for group in GROUPS.values() for name in group)


KNOWN = {one.name: one for one in options_of(TrainOptions)}


class OptionForm:
    """The widgets behind "more"; made inside an open Blocks."""

    def __init__(self, words: Words, usual: dict[str, Any]) -> None:
        self.words = words
        self.components: dict[str, Any] = {}
        gr.HTML(_search(words))
        for group, names in GROUPS.items():
            # Not gradio's accordion: gradio 6 builds what is in one when it is opened; a search would find nothing.
            gr.HTML(_heading(group, words), elem_classes="atelier-fold-frame")
            with gr.Column(elem_id=_room_of(group), elem_classes="atelier-fold"):
                self._draw(names, usual)

    def _draw(self, names: Sequence[str], usual: dict[str, Any]) -> None:
        for start in range(0, len(names), 3):
            with gr.Row(elem_classes="atelier-options"):
                for name in names[start : start + 3]:
                    self.components[name] = widget(
                        KNOWN[name],
                        self.words,
                        value=to_widget(name, usual[name]),
                        elem_id=f"atelier_train_{name}_option",  # a WebUI presses what ends in _skip
                        interactive=True,
                    )

    @property
    def inputs(self) -> list[Any]:
        """The widgets, in the order of `NAMES`."""
        return [self.components[name] for name in NAMES]

    def label(self, name: str, *, changed: bool) -> str:
        """Return an option's label, marked where its value is not the usual one."""
        label = self.words.said(KNOWN[name].label)
        return f"● {label} · {self.words('train.changed')}" if changed else label


def _room_of(group: str) -> str:
    """Return the id of what a group's heading opens."""
    return f"atelier_train_group_{group}"


def _heading(group: str, words: Words) -> str:
    """Return the button that opens a group; `javascript/atelier_options.js` works it and writes what was changed."""
    title = f'{escape(words(f"train.group.{group}"))}<span class="atelier-count"></span>'
    return (
        f'<h4 class="atelier-group"><button type="button" class="atelier-fold-head" aria-expanded="false" '
        f'aria-controls="{_room_of(group)}" data-group="{group}">{title}</button></h4>'
    )


def _search(words: Words) -> str:
    """Return the field that `javascript/atelier_options.js` looks for options with; the server hears nothing of it."""
    label, only = escape(words("train.find_option")), escape(words("train.only_changed"))
    nothing, unchanged = escape(words("train.find_nothing")), escape(words("train.nothing_changed"))
    return (
        f'<div class="atelier-find" data-room="{ROOM}" data-nothing="{nothing}" data-unchanged="{unchanged}">'
        f'<input type="search" aria-label="{label}" placeholder="{label}">'
        f'<label><input type="checkbox"> {only}</label><p class="atelier-none" role="status"></p></div>'
    )


def changed_by_group(changed: Sequence[str], words: Words) -> dict[str, str]:
    """Return what a group's heading says of its options that differ from what is usual; not of one without any."""
    counts = {group: sum(name in changed for name in names) for group, names in GROUPS.items()}
    return {group: words("train.n_changed", n=count) for group, count in counts.items() if count}


def to_widget(name: str, value: Any) -> Any:
    """Return an option's value as its widget holds it."""
    return shown(KNOWN[name], value)


def from_widget(name: str, raw: Any) -> Any:
    """Return what a widget holds as the option's value.

    Raises:
        InputError: an argument of the optimizer is not ``name=value``, or a number or “auto” is neither.
    """
    one = KNOWN[name]
    if one.kind is bool:
        return bool(raw)
    if one.kind in (int, float) and not one.auto:
        value = compat.number(raw, 0.0)
        return int(value) if one.kind is int and value == int(value) else value
    text = "" if raw is None else str(raw).strip()
    if one.auto:
        return auto_or_number(text, name)
    if one.kind is dict:
        return dict(parse_argument(part) for part in split_arguments(text))
    if one.kind is tuple:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return tuple(line for line in lines if name != "sample_prompts" or not line.startswith("#"))
    return text


def from_widgets(raw: Sequence[Any]) -> dict[str, Any]:
    """Return the options of all widgets behind "more", in the order of `NAMES`."""
    return {name: from_widget(name, value) for name, value in zip(NAMES, raw, strict=True)}
