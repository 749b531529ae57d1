"""How many ranks stay, as both forms ask for it: a rule, its value, and what can be said beside it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.merge.rank_rule import RULES, RankRule, RuleOptions
from lib_lora.options import Option, find
from lib_lora.ui.compat import event_kw, gr, js_kw, number, update
from lib_lora.ui.option_widget import widget

_CAP, _PARTS = find(RuleOptions, "cap"), find(RuleOptions, "parts")


@dataclass(frozen=True)
class RuleChoice:
    """The widgets' meaning, in one language.

    Attributes:
        words: in that language.
        usual: the rule that is offered first.
        name: what the widgets' element ids have behind ``atelier_workshop_``.
    """

    words: Words
    usual: RankRule
    name: str = "rule"

    def build(self) -> tuple[Any, ...]:
        """Build the widgets in an open row; return rule, value, largest rank and parts, in the order of `read`."""
        words, first = self.words, RULES[self.usual.kind]
        rules = [words.said(one.label) for one in RULES.values()]
        ident = f"atelier_workshop_{self.name}"
        rule = gr.Dropdown(rules, value=words.said(first.label), label=words("workshop.rule"), scale=2, elem_id=ident)
        label, usual = words("workshop.rule_value"), self.usual.value
        value = widget(first, words, value=usual, label=label, scale=2, elem_id=f"{ident}_value")
        cap = widget(_CAP, words, value=0, info=words("workshop.cap_info"), scale=1)
        parts = widget(_PARTS, words, value="", info=words("workshop.parts_info"), lines=1, scale=2)
        return rule, value, cap, parts

    def connect(self, rule: Any, value: Any) -> Any:
        """Let a rule that is chosen show its usual value, and what it means; return the event of the value.

        The page itself puts the value there: the server's answer would come after what a quick hand typed meanwhile.
        """
        rule.input(self.explained, [rule], [value], **event_kw())
        code = f"(label) => ({json.dumps(self.usual_values(), ensure_ascii=False)})[label]"
        return rule.input(None, [rule], [value], **js_kw(code), **event_kw())

    def read(self, label: str, value: Any, cap: Any, parts: str) -> RankRule:
        """Return what the widgets say.

        Raises:
            InputError: one of them cannot be right.
        """
        one, most = self.rule(label), number(cap, 0, int)
        typed = tuple(text for piece in re.split(r"[,、\n]", parts or "") if (text := piece.strip()))
        usual = self.usual_of(one)
        return RankRule(one.name, number(value, usual), cap=most if most > 0 else None, parts=typed)

    def rule(self, label: str) -> Option:
        """Return the rank rule that a dropdown's label stands for."""
        found = (one for one in RULES.values() if self.words.said(one.label) == label)
        return next(found, RULES[self.usual.kind])

    def usual_of(self, one: Option) -> Any:
        """Return the value that a rule starts with."""
        return self.usual.value if one.name == self.usual.kind else one.default

    def usual_values(self) -> dict[str, Any]:
        """Return the value that each rule starts with, by its label."""
        return {self.words.said(one.label): self.usual_of(one) for one in RULES.values()}

    def explained(self, label: str) -> Any:
        """Return what a rank rule means."""
        return update(info=self.words.said(self.rule(label).help))

    def untouched(self) -> tuple[Any, ...]:
        """Return the values as they are at first."""
        return (self.words.said(RULES[self.usual.kind].label), self.usual.value, 0, "")
