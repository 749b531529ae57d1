"""The form follows: what nobody changed is computed anew, what was changed is marked, and a run can start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.i18n.words import Words
from lib_lora.services import rate_probe
from lib_lora.services.atelier import Atelier
from lib_lora.services.given_options import run_options
from lib_lora.services.picture_folder import Found
from lib_lora.train.sweep_table import SweepTable
from lib_lora.ui import compat
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.train.draft import FREE, Draft, changed_names, same, usual_form
from lib_lora.ui.train.options import NAMES, OptionForm, from_widgets, to_widget
from lib_lora.ui.train.plan_view import changes_html, plan_html

ROUNDS = 3
"""A kind sets an optimizer, an optimizer a rate, both together the steps: so often at most values pull others along."""


class Form:
    """Handlers of the plan and of Train."""

    def __init__(self, atelier: Atelier, words: Words, widgets: OptionForm) -> None:
        self._atelier, self._words, self._widgets = atelier, words, widgets

    def draft(self, found: Found | None, trigger: str, kind: str, steps: Any, name: str, raw: Sequence[Any]) -> Draft:
        """Return what the form says.

        Raises:
            InputError: a field cannot be read.
        """
        values = from_widgets(raw)
        values |= {"steps": compat.number(steps, 0, int), "name": (name or "").strip()}
        return Draft(found, trigger or "", kind, values)

    def refresh(
        self,
        found: Found | None,
        trigger: str,
        kind: str,
        steps: Any,
        name: str,
        before: Mapping[str, Any],
        marked: Sequence[str],
        *raw: Any,
    ) -> list[Any]:
        """Return (plan, changes, steps, name, usual, marked, *options) after anything changed."""
        try:
            draft = self.draft(found, trigger, kind, steps, name, raw)
        except AtelierError as error:
            same_as_before = [compat.update() for _ in range(3 + 2 + len(NAMES))]
            return [error_html(error, self._words), *same_as_before]
        draft, usual, moved = self._follow(draft, before)
        changed = changed_names(draft, usual)
        updates = [self._update(one, draft, moved, one in changed, one in marked) for one in NAMES]
        free = [compat.update(value=draft.values[one]) if one in moved else compat.update() for one in FREE]
        plan = plan_html(self._atelier, draft, usual, self._words)
        return [plan, changes_html(draft, usual, self._words), *free, plain(usual), changed, *updates]

    def _follow(self, draft: Draft, before: Mapping[str, Any]) -> tuple[Draft, dict[str, Any], set[str]]:
        """Give every unchanged value what is usual now; return the draft, the usual values, and what moved."""
        moved: set[str] = set()
        usual = usual_form(self._atelier, draft)
        known = dict(before)
        for _ in range(ROUNDS):
            values = dict(draft.values)
            for one in usual:
                if one in known and same(values.get(one), known[one]) and not same(known[one], usual[one]):
                    values[one] = usual[one]
                    moved.add(one)
            if values == draft.values:
                break
            draft = Draft(draft.found, draft.trigger, draft.kind, values)
            known, usual = usual, usual_form(self._atelier, draft)
        return draft, usual, moved

    def _update(self, name: str, draft: Draft, moved: set[str], changed: bool, was: bool) -> Any:
        more = {"value": to_widget(name, draft.values[name])} if name in moved else {}
        if changed != was:
            more["label"] = self._widgets.label(name, changed=changed)
        return compat.update(**more)

    def train(
        self, found: Found | None, trigger: str, kind: str, steps: Any, name: str, usual: Mapping[str, Any], *raw: Any
    ) -> str:
        """Start a run, or queue it; return a message."""
        try:
            draft = self.draft(found, trigger, kind, steps, name, raw)
            options = draft.options(usual, self._atelier)
            ahead = self._atelier.trainings.queue()
            self._atelier.trainings.start(options, language=self._words.language)
        except AtelierError as error:
            return error_html(error, self._words)
        key = "train.queued" if ahead else "train.started"
        return note_html(self._words(key, name=options.name, n=len(ahead)), kind="good")

    def probe(
        self, found: Found | None, trigger: str, kind: str, steps: Any, name: str, usual: Mapping[str, Any], *raw: Any
    ) -> str:
        """Queue a probe of the run that the form says; return a message where it cannot be."""
        try:
            options = self.draft(found, trigger, kind, steps, name, raw).options(usual, self._atelier)
            rate_probe.submit(self._atelier, options)
        except AtelierError as error:
            return error_html(error, self._words)
        return ""

    def sweep(
        self,
        table: str,
        prompt: str,
        found: Found | None,
        trigger: str,
        kind: str,
        steps: Any,
        name: str,
        usual: Mapping[str, Any],
        *raw: Any,
    ) -> str:
        """Queue a run for every row of a table of values; return a message."""
        try:
            draft = self.draft(found, trigger, kind, steps, name, raw)
            made = self._atelier.sweeps.start(
                str(draft.values["name"]),
                SweepTable.read((table or "").splitlines()),
                draft.given(usual),
                partial(run_options, self._atelier),
                prompt=prompt or "",
                language=self._words.language,
            )
        except AtelierError as error:
            return error_html(error, self._words)
        return note_html(self._words("train.sweep_queued", n=len(made.runs), name=made.sweep.name), kind="good")

    def returned(self, name: str, usual: Mapping[str, Any]) -> dict[str, Any]:
        """Return the widget values that bring an option (``*``: all) back to what is usual."""
        names = (*FREE, *NAMES) if name == "*" else (name,)
        return {one: to_widget(one, usual[one]) for one in names if one in usual}


def plain(usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usual values as plain data, which gradio keeps for each visitor."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
