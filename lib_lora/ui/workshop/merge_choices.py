"""What Merge asks below its rows: how to combine, what to keep, and the precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.merge.method import DENSITY, METHODS, SIDES, MethodOptions
from lib_lora.merge.rank_rule import RULES, RankRule
from lib_lora.merge.spec import MergeSpec
from lib_lora.options import Option, find
from lib_lora.ui.compat import event_kw, gr, number, update
from lib_lora.ui.option_widget import widget
from lib_lora.ui.workshop.rule_choice import RuleChoice

PRECISIONS = ("same", *find(MergeSpec, "precision").choices)
KEPT = ("exact", "compress")
FIRST = next(RankRule(one.name, one.default) for one in RULES.values())
"""The rule that is offered first."""
_DENSITY, _SEED = find(MethodOptions, "density"), find(MethodOptions, "seed")


@dataclass(frozen=True)
class Widgets:
    """The rows to show and hide, and all that is chosen, in the order that `Choices.read` takes it."""

    method_row: Any
    kept: gr.Radio
    rule: tuple[Any, ...]
    precision: gr.Dropdown
    method: gr.Dropdown
    density: gr.Number
    seed: gr.Number
    side: gr.Dropdown

    @property
    def values(self) -> tuple[Any, ...]:
        """All that is chosen."""
        return (self.kept, *self.rule, self.precision, self.method, *self.numbers)

    @property
    def numbers(self) -> tuple[Any, ...]:
        """What only some methods ask for."""
        return (self.density, self.seed, self.side)


COUNT = 10
"""Values that are chosen."""


class Choices:
    """What is chosen, in one language."""

    def __init__(self, words: Words) -> None:
        self.words, self.rules = words, RuleChoice(words, FIRST)

    def read(self, values: Sequence[Any]) -> tuple[RankRule | None, Any, MethodOptions]:
        """Return the rule of ranks, the precision and the method; what a method does not ask for does not count.

        Raises:
            InputError: one of them cannot be right.
        """
        kept, rule_label, value, cap, parts, precision, label, density, seed, side = values
        rule = self.rules.read(rule_label, value, cap, parts) if kept == "compress" else None
        method, more = self.key("join", METHODS, label), {}
        if method in DENSITY:
            more["density"] = number(density, DENSITY[method])
        if method == "dare":
            more["seed"] = number(seed, 0, int)
        if method == "project":
            more["side"] = self.key("side", SIDES, side)
        return rule, self.precision(precision), MethodOptions(method, **more)

    def precision(self, label: str) -> Any:
        """Return what a dropdown's label stands for; None: as it was."""
        chosen = self.key("precision", PRECISIONS, label)
        return None if chosen == PRECISIONS[0] else chosen

    def key(self, prefix: str, keys: Sequence[str], label: str) -> str:
        """Return what a dropdown's label stands for; gradio 3 would show the keys themselves at first."""
        return next((key for key in keys if self.words(f"workshop.{prefix}_{key}") == label), keys[0])

    def explained(self, label: str) -> list[Any]:
        """Return the updates that show what a method means and what it asks for."""
        method = self.key("join", METHODS, label)
        return [
            update(info=self.words(f"workshop.join_{method}_info")),
            update(visible=method in DENSITY or method == "project"),
            update(visible=method in DENSITY, **({"value": DENSITY[method]} if method in DENSITY else {})),
            update(visible=method == "dare"),
            update(visible=method == "project"),
        ]

    def untouched(self) -> tuple[Any, ...]:
        """Return the values as they are at first."""
        labels = [self.words(f"workshop.{key}") for key in ("precision_same", "join_sum", "side_shared")]
        return (KEPT[0], *self.rules.untouched(), *labels[:2], None, 0, labels[2])

    def build(self) -> Widgets:
        """Build the widgets; the method's numbers and the rule stay hidden until they are asked for."""
        words = self.words
        with gr.Row():
            method = self.dropdown("join", METHODS, find(MethodOptions, "method"), "join", scale=2)
            kept = gr.Radio(
                list(zip(self._labels("method", KEPT), KEPT, strict=True)),
                value=KEPT[0],
                label=words("workshop.method"),
                scale=2,
                elem_id="atelier_workshop_method",
            )
            precision = self.dropdown("precision", PRECISIONS, find(MergeSpec, "precision"), "precision")
        with gr.Row(visible=False) as method_row:
            density = widget(
                _DENSITY,
                words,
                info=words("workshop.density_info"),
                scale=1,
                visible=False,
                elem_id="atelier_workshop_density",
            )
            seed = widget(_SEED, words, value=0, info=words("workshop.seed_info"), scale=1, visible=False)
            side = self.dropdown("side", SIDES, find(MethodOptions, "side"), "side", scale=2, visible=False)
        with gr.Row(visible=False) as rule_row:
            rule = self.rules.build()
        made = Widgets(method_row, kept, rule, precision, method, density, seed, side)
        kept.change(lambda chosen: update(visible=chosen == "compress"), [kept], [rule_row], **event_kw())
        return made

    def _labels(self, prefix: str, keys: Sequence[str]) -> list[str]:
        return [self.words(f"workshop.{prefix}_{key}") for key in keys]

    def dropdown(self, prefix: str, keys: Sequence[str], one: Option, ident: str, **more: Any) -> Any:
        """Build a dropdown of keys by their words; ``ident`` is its element id behind ``atelier_workshop_``."""
        labels = self._labels(prefix, keys)
        known = {
            "scale": 1,
            "min_width": 160,
            "label": self.words.said(one.label),
            "elem_id": f"atelier_workshop_{ident}",
        }
        if prefix == "join":
            known["info"] = self.words("workshop.join_sum_info")
        return gr.Dropdown(labels, value=labels[0], **(known | more))
