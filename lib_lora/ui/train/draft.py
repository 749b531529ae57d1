"""What the form says, what it would usually say, and the options that come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.services.atelier import Atelier
from lib_lora.services.given_data import check_dataset_file, data_options, is_dataset_file
from lib_lora.services.given_loras import allowed_loras
from lib_lora.services.given_presets import with_presets
from lib_lora.services.picture_folder import Found
from lib_lora.services.run_plan import free_name, plan_of
from lib_lora.services.training_samples import default_prompts
from lib_lora.train.options import TrainOptions, epochs_are_meant, from_mapping, usual_values
from lib_lora.train.recipes import facts_of
from lib_lora.ui.train.options import NAMES

FREE = ("steps", "name")
"""What is computed but stands in the open."""


@dataclass(frozen=True)
class Draft:
    """The form at one moment; ``values`` has every option behind "more", and steps and name."""

    found: Found | None
    trigger: str
    kind: str
    values: Mapping[str, Any]

    def options(self, usual: Mapping[str, Any], atelier: Atelier) -> TrainOptions:
        """Return the options of the run.

        Raises:
            InputError: there are no pictures yet, a value cannot be right, or a folder may not be used.
        """
        if self.found is None:
            raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
        values = {name: self.values[name] for name in NAMES}
        if epochs_are_meant([name for name in (*FREE, *NAMES) if not same(self.values.get(name), usual.get(name))]):
            values["repeats"] = 1
        if is_dataset_file(self.found.folder):
            check_dataset_file(atelier.folders, self.found.folder)
        values |= data_options(self.found.folder)
        values |= {"name": self.values["name"], "trigger": self.trigger.strip()}
        for name in ("reg_images", "masks"):
            if values[name]:
                values[name] = str(atelier.folders.allowed(values[name], where=name))
        values |= allowed_loras(values, atelier.folders)
        # Steps that were computed follow from epochs and repeats; written down they would fix both.
        steps = self.values["steps"]
        values |= {"kind": self.kind, "steps": 0 if steps == usual.get("steps") else int(steps)}
        return with_presets(from_mapping(values, where=""), atelier.host)

    def given(self, usual: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that somebody chose, without what follows from them: a sweep changes some of them.

        Raises:
            InputError: there are no pictures yet.
        """
        if self.found is None:
            raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
        changed = changed_names(self, usual)
        chosen = {name: self.values[name] for name in changed if name != "steps"}
        if "steps" in changed:
            chosen["steps"] = int(self.values["steps"])
        named = {"name": self.values["name"], "trigger": self.trigger.strip(), "kind": self.kind}
        own = {"sample_prompts": self.values["sample_prompts"], **data_options(self.found.folder), **named}
        return chosen | {name: value for name, value in own.items() if value != ""}


def usual_form(atelier: Atelier, draft: Draft) -> dict[str, Any]:
    """Return what every widget would say if nobody had changed it, given what stands in the open."""
    facts = facts_of(atelier.host.model)
    arguments = draft.values.get("optimizer_args")
    optimizer = str(draft.values.get("optimizer") or "")
    usual = usual_values(draft.kind, optimizer=optimizer, arguments=arguments, model=facts)
    # An optimizer of one's own choice is a change; what follows from it is not.
    usual["optimizer"] = usual_values(draft.kind, model=facts)["optimizer"]
    captions = list(draft.found.captions.values()) if draft.found else []
    class_word = str(draft.values.get("class_word") or "")
    usual["sample_prompts"] = default_prompts(draft.trigger.strip(), class_word, captions)
    usual["name"] = free_name(atelier, draft.trigger)
    usual["steps"] = _usual_steps(atelier, draft, usual)
    return {name: usual[name] for name in (*NAMES, *FREE)}


def _usual_steps(atelier: Atelier, draft: Draft, usual: Mapping[str, Any]) -> int:
    """Return the steps that epochs and repeats make; the recipe's goal while there are no pictures."""
    if draft.found is None:
        return int(usual["target_steps"])
    values = {name: draft.values[name] for name in NAMES if name in draft.values}
    if epochs_are_meant([name for name in values if not same(values[name], usual.get(name))]):
        values["repeats"] = 1
    try:
        options = from_mapping(values | data_options(draft.found.folder) | {"name": "x", "kind": draft.kind}, where="")
    except AtelierError:
        return int(usual["target_steps"])  # the plan says what is wrong
    return plan_of(atelier, draft.found, options).steps


def changed_names(draft: Draft, usual: Mapping[str, Any]) -> list[str]:
    """Return the names whose value is not the usual one."""
    return [name for name in (*FREE, *NAMES) if not same(draft.values.get(name), usual[name])]


def same(one: Any, other: Any) -> bool:
    """Whether two values of an option mean the same; lists and tuples, whole floats and integers do."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return one == other
