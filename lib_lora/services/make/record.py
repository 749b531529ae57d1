"""What is kept of an order: its options, and the result of every step that is over.

runs/krnk/make.json  pictures/  proof/  report.html      the order
runs/krnk_run/…      runs/krnk_usual/…                   its trainings, each a run like any other
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lib_lora.atomic import make_folder, replace_file
from lib_lora.data.folder import check_folder
from lib_lora.errors import InputError
from lib_lora.sentences import packed, say, unpacked
from lib_lora.services.answers import plain
from lib_lora.services.given_data import is_dataset_file
from lib_lora.services.make.options import MakeOptions
from lib_lora.train.option_files import options_file
from lib_lora.train.options import check_name

FILE = "make.json"
PICTURES, PLAN, TRAIN, USUAL, CHOOSE, BLOCKS, WEIGHTS, SHRINK, PROOF, LABEL, REPORT = STEPS = (
    "pictures", "plan", "train", "usual", "choose", "blocks", "weights", "shrink", "proof", "label", "report",
)  # fmt: skip
"""What an order goes through, in this order."""
RUNS = {TRAIN: "run", USUAL: "usual"}
"""The steps that are trainings, and how the names of their runs end."""


@dataclass(frozen=True)
class Make:
    """An order, its folder, and what its steps came to.

    Attributes:
        folder: where everything of it lies but its trainings, which lie beside it.
        options: as they were given.
        language: of whoever ordered it.
        results: of each step that is over, as plain values; sentences are packed.
        seconds: that each step took.
    """

    folder: Path
    options: MakeOptions
    language: str = "en"
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name, which is the LoRA's."""
        return self.folder.name

    @property
    def steps(self) -> tuple[str, ...]:
        """Its steps, in their order."""
        return STEPS if self.options.compare else tuple(step for step in STEPS if step != USUAL)

    @property
    def next_step(self) -> str:
        """The first step that is not over; empty where all are."""
        return next((step for step in self.steps if step not in self.results), "")

    def run(self, step: str) -> str:
        """Return the name of the run that a step trains."""
        return f"{self.name}_{RUNS[step]}"

    def run_folder(self, step: str) -> Path:
        """Return the folder of the run that a step trains."""
        return self.folder.parent / self.run(step)

    def notes(self, step: str) -> list[str]:
        """Return what a step says to people."""
        return [text for text in map(unpacked, self.results.get(step, {}).get("notes", ())) if text]

    def with_result(self, step: str, result: Mapping[str, Any], seconds: float) -> Make:
        """Return it with what a step came to, kept on the disk.

        Raises:
            FileError: the disk refuses.
        """
        made = replace(
            self, results={**self.results, step: told(result)}, seconds={**self.seconds, step: round(seconds, 1)}
        )
        made.save()
        return made

    def changed(self, **options: Any) -> Make:
        """Return it with other options, for the steps that are still to come; what they decide is planned anew.

        Raises:
            InputError: the trainings have begun, or a value cannot be right.
        """
        begun = TRAIN in self.results or options_file(self.run_folder(TRAIN))
        if begun:
            cure = say("Make another one under another name, or let this one end.")
            raise InputError("The training has begun, so its plan stands", where=self.name, cure=cure)
        kept = {step: result for step, result in self.results.items() if step == PICTURES}
        made = replace(self, options=replace(self.options, **options), results=kept)
        made.save()
        return made

    def save(self) -> None:
        """Keep the record.

        Raises:
            FileError: the disk refuses.
        """
        row = {
            "options": asdict(self.options),
            "language": self.language,
            "results": self.results,
            "seconds": self.seconds,
        }
        text = json.dumps(plain(row), ensure_ascii=False, indent=1) + "\n"
        replace_file(make_folder(self.folder) / FILE, text.encode(), what=say("The record of the order"))


def told(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's result as JSON holds it: of its notes the templates too."""
    return {**result, "notes": [packed(text) for text in result.get("notes", ())]}


def new_make(options: MakeOptions, runs: Path, *, language: str = "en") -> Make:
    """Return a new order; nothing is written yet.

    Raises:
        InputError: its name, or that of one of its runs, is taken or cannot be one; or no folder has pictures.
    """
    check_name(options.called)
    if is_dataset_file(Path(options.images)):
        cure = say("Give the folder.")
        raise InputError("This is a dataset file, and a folder is wanted", option="images", cure=cure)
    check_folder(Path(options.images), is_reg=False)
    made = Make(runs / options.called, options, language)
    cure = say("Go on with it, or choose another name; nothing was changed.")
    if any(made.folder.glob("*.json")):
        raise InputError("There is something of this name already", where=str(made.folder), cure=cure)
    for step in RUNS:
        if options_file(made.run_folder(step)):
            raise InputError("There is a run of this name already", where=str(made.run_folder(step)), cure=cure)
    return made


def read_make(folder: Path) -> Make:
    """Return the order that is kept in a folder.

    Raises:
        InputError: there is none, or its record is damaged.
    """
    path = folder / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        results, seconds = kept["results"], kept["seconds"]
        if not isinstance(results, dict) or not all(isinstance(one, dict) for one in results.values()):
            raise TypeError
        return Make(folder, MakeOptions(**kept["options"]), str(kept["language"]), results, dict(seconds))
    except FileNotFoundError as error:
        cure = say("Choose the folder that has make.json.")
        raise InputError("In this folder no LoRA is being made", where=str(folder), cure=cure) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            "The record of this order cannot be read",
            where=str(path),
            cure="Its runs and pictures are whole. Move this file away; a new order needs another name.",
        ) from error
