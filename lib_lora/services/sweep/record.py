"""What is kept of a sweep, in a folder beside its runs: its options, its table of values, its prompt.

runs/krnk/sweep.json  comparison.png  comparison.csv  comparison.json  pictures/…
runs/krnk_dim4/…      runs/krnk_dim8/…                                    its runs, each a run like any other
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.atomic import make_folder, replace_file
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import Host
from lib_lora.sentences import say
from lib_lora.services.answers import plain
from lib_lora.services.start_check import check_room, check_samples
from lib_lora.services.training_samples import default_prompts
from lib_lora.train.estimate import room_needed
from lib_lora.train.option_files import options_file
from lib_lora.train.options import TrainOptions
from lib_lora.train.sweep_table import SweepTable, run_names, values_text

FILE = "sweep.json"

Reader = Callable[[Mapping[str, Any]], TrainOptions]
"""From a run's values to its options, as the door reads them that the sweep came through."""


@dataclass(frozen=True)
class Sweep:
    """A sweep, and its folder.

    Attributes:
        folder: where its record and its comparison lie; its runs lie beside it.
        values: options that all of its runs share, as they were given.
        table: what differs.
        prompt: of the comparison's pictures, in the form of a sample prompt.
        language: of whoever started it.
    """

    folder: Path
    values: Mapping[str, Any]
    table: SweepTable
    prompt: str = ""
    language: str = "en"

    @property
    def name(self) -> str:
        """Its name, with which the names of its runs begin."""
        return self.folder.name

    @property
    def runs(self) -> dict[str, Mapping[str, Any]]:
        """The name of each run -> the values that are its own."""
        return dict(zip(run_names(self.name, self.table), self.table.rows, strict=True))

    def place(self, run: str) -> Path:
        """Return the folder of one of its runs."""
        return self.folder.parent / run

    def options(self, run: str, read: Reader) -> TrainOptions:
        """Return the options of a run.

        Raises:
            InputError: they cannot be right; the run's values are named.
        """
        row = self.runs[run]
        try:
            return read({**self.values, **row, "name": run})
        except AtelierError as error:
            raise of_run(error, row) from error

    def check(
        self, host: Host, read: Reader, check: Callable[[TrainOptions], None], *, begun: bool = False
    ) -> dict[str, TrainOptions]:
        """Return the options of every run, checked before the first begins; of those that are not there if ``begun``.

        Args:
            host: what will train.
            read: see `Reader`.
            check: refuses what a run's own start would refuse.
            begun: whether runs may be there already.

        Raises:
            InputError: a run could not go well: its values are named; or the disk has no room for all of them.
        """
        made: dict[str, TrainOptions] = {}
        for run, row in self.runs.items():
            if begun and options_file(self.place(run)):
                continue
            options = self.options(run, read)
            try:
                check(options)
            except AtelierError as error:
                raise of_run(error, row) from error
            made[run] = options
        if host.model.layers:  # a WebUI may not have loaded its checkpoint yet
            check_room(self.folder, sum(room_needed(host.model, each) for each in made.values()))
        return made

    def save(self) -> None:
        """Keep the record.

        Raises:
            FileError: the disk refuses.
        """
        row = {"values": self.values, **self.table.to_dict(), "prompt": self.prompt, "language": self.language}
        text = json.dumps(plain(row), ensure_ascii=False, indent=1) + "\n"
        replace_file(make_folder(self.folder) / FILE, text.encode(), what=say("The record of the sweep"))

    def forget(self) -> None:
        """Take the record away of a sweep that was not begun."""
        (self.folder / FILE).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def fresh(folder: Path) -> Path:
    """Return the folder of a new sweep, which `Sweep.save` makes.

    Raises:
        InputError: there is a sweep or a run of this name.
    """
    cure = say("Go on with it, or choose another name; nothing was changed.")
    if (folder / FILE).is_file():
        raise InputError("There is a sweep of this name already", where=str(folder), cure=cure)
    if options_file(folder):
        raise InputError("There is a run of this name already", where=str(folder), cure=cure)
    return folder


def read_sweep(folder: Path) -> Sweep:
    """Return the sweep that is kept in a folder.

    Raises:
        InputError: there is none, or its record is damaged.
    """
    path = folder / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        values, prompt, language = kept["values"], kept["prompt"], kept.get("language", "en")
        if not isinstance(values, dict) or not isinstance(prompt, str):
            raise TypeError
        return Sweep(folder, values, SweepTable.from_dict(kept), prompt, str(language))
    except FileNotFoundError as error:
        cure = say("Choose the folder that has sweep.json.")
        raise InputError("This folder holds no sweep", where=str(folder), cure=cure) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            "The record of the sweep cannot be read",
            where=str(path),
            cure="Its runs are whole. Move this file away; a new sweep needs another name.",
        ) from error


def prompt_for(prompt: str, options: TrainOptions, host: Host) -> str:
    """Return the prompt of a comparison: the given one, the first sample prompt, or trigger and class word.

    Raises:
        InputError: there is none of them, or it could not be rendered.
    """
    usual = (*options.sample_prompts, *default_prompts(options.trigger, options.class_word, ()))
    chosen = prompt.strip() or next(iter(usual), "")
    if not chosen:
        raise InputError(
            "The pictures of the comparison have no prompt",
            where="prompt",
            cure="Give one, or a trigger word.",
        )
    check_samples(host, options, (chosen,))
    return chosen


def of_run(error: AtelierError, row: Mapping[str, Any]) -> InputError:
    """Return an error of one run of a sweep, with the values of that run."""
    return InputError(
        "The run with {values} cannot be: {error}", values=values_text(row), error=error.what, where=error.where,
        cure=error.cure,
    )  # fmt: skip
