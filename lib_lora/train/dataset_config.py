"""sd-scripts' dataset files read: several datasets with their own sizes and batches, subsets with their own rules."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.data.caption_words import check_words
from lib_lora.data.files import shown
from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say
from lib_lora.train import dataset_keys as keys
from lib_lora.train.given_file import place_beside, read_table

Own = tuple[tuple[str, Any], ...]
"""Options that pictures have for themselves, by name."""


ABOVE = frozenset({"image_dir", "is_reg", "conditioning_data_dir"})
"""Keys that only a subset may have."""


TYPES: Mapping[str, type] = {
    "image_dir": str,
    "num_repeats": int,
    "is_reg": bool,
    "class_tokens": str,
    "caption_extension": str,
    **dict.fromkeys(keys.TURNED, bool),
}
"""What no option of the run checks later: keys that are none, and those that are turned round."""


@dataclass(frozen=True)
class Subset:
    """One folder of a dataset.

    Attributes:
        folder: of the pictures.
        repeats: how often an epoch draws each.
        class_tokens: the caption where a picture has none; None: as its folder's name says.
        is_reg: whether these are regularization pictures.
        endings: of caption files, the usual ones where it is empty.
        own: what the file says of the run's options for these pictures.
    """

    folder: Path
    repeats: int = 1
    class_tokens: str | None = None
    is_reg: bool = False
    endings: tuple[str, ...] = ()
    own: Own = ()


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset file: the subsets of each dataset, and what of the file is not followed."""

    datasets: tuple[tuple[Subset, ...], ...]
    notes: tuple[Sentence, ...] = ()


def read_dataset_config(path: Path) -> DatasetConfig:
    """Return what a TOML or JSON file of sd-scripts says.

    Raises:
        FileError: the file cannot be read.
        InputError: it is not what its ending says, or a key in it is unknown, of another type, or of another kind of
            data set; naming the place.
    """
    values = read_table(path, say("The dataset file"))
    return _Reader(path).read(values)


class _Reader:
    """One file on its way to a `DatasetConfig`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: dict[str, None] = {}
        self._notes: list[Sentence] = []

    def read(self, values: Any) -> DatasetConfig:
        top = self._table(values, "")
        unknown = [name for name in top if name not in ("general", "datasets")]
        if unknown:
            raise self._wrong(unknown[0], "", ("general", "datasets"))
        general = self._table(top.get("general", {}), "general")
        self._check(general, "general", keys.ALL - ABOVE)
        datasets = self._list(top.get("datasets"), "datasets")
        made = tuple(self._dataset(one, general, f"datasets[{n + 1}]") for n, one in enumerate(datasets))
        said = [(name, keys.IDLE[name]) for name in self._idle]
        notes = tuple(say("{key} of the dataset file is not followed: {why}", key=name, why=why) for name, why in said)
        return DatasetConfig(made, (*notes, *self._notes))

    def _dataset(self, given: Any, general: Mapping[str, Any], place: str) -> tuple[Subset, ...]:
        table = self._table(given, place)
        own = {name: value for name, value in table.items() if name != "subsets"}
        self._check(own, place, keys.ALL - ABOVE)
        subsets = self._list(table.get("subsets"), f"{place}.subsets")
        above = {**general, **own}
        return self._each_once(self._subset(one, above, f"{place}.subsets[{n + 1}]") for n, one in enumerate(subsets))

    def _each_once(self, subsets: Iterable[Subset]) -> tuple[Subset, ...]:
        """Return the subsets of a dataset without those of a folder that it has already, as sd-scripts does."""
        found: dict[Path, Subset] = {}
        for one in subsets:
            first = found.setdefault(one.folder, one)
            if first is one:
                continue
            if first.is_reg != one.is_reg:
                what = say("The same folder is given for training and for regularization")
                raise self._error(what, str(one.folder))
            self._notes.append(
                say("{folder} is given twice in one dataset: its first subset counts", folder=shown(one.folder))
            )
        return tuple(found.values())

    def _subset(self, given: Any, above: Mapping[str, Any], place: str) -> Subset:
        table = self._table(given, place)
        self._check(table, place, keys.ALL - {*keys.DATASET_OPTIONS, "resolution"})
        values = {**above, **table}
        if values.get("image_dir") in (None, "") or not str(values["image_dir"]).strip():
            raise self._error(say("The option “{name}” is missing", name="image_dir"), place)
        tokens = values.get("class_tokens")
        ending = values.get("caption_extension", "")
        for name, kind in TYPES.items():
            if name in values and type(values[name]) is not kind:
                raise self._error(say("“{value}” is of another type", value=str(values[name])[:60]), f"{place}.{name}")
        check_words(tokens or "", where=self._where(f"{place}.class_tokens"))
        return Subset(
            self._folder(values["image_dir"], f"{place}.image_dir"),
            values.get("num_repeats", 1),
            tokens,
            values.get("is_reg", False),
            (ending if ending.startswith(".") else f".{ending}",) if ending else (),
            self._options(values, place),
        )

    def _options(self, values: Mapping[str, Any], place: str) -> Own:
        found: dict[str, Any] = {}
        for name, value in values.items():
            option = keys.SUBSET_OPTIONS.get(name) or keys.DATASET_OPTIONS.get(name)
            if option:
                found[option] = not value if name in keys.TURNED else value
            elif name == "resolution":
                found |= self._size(value, f"{place}.resolution")
            elif name == "conditioning_data_dir":  # where sd-scripts looks for masks
                found["masks"] = str(self._folder(str(value), f"{place}.{name}"))
            elif name in keys.IDLE and value not in (False, 0, "", None, {}, []):
                self._idle[name] = None
        return tuple(found.items())

    def _size(self, value: Any, place: str) -> dict[str, int]:
        sides = value if isinstance(value, list) else [value, value]
        if len(sides) != 2 or any(type(side) is not int for side in sides):
            raise self._error(say("A resolution is one number of pixels, or width and height"), place)
        return {"resolution": sides[0], "resolution_height": sides[1] if sides[1] != sides[0] else 0}

    def _folder(self, text: str, place: str) -> Path:
        """Return a folder from beside the file, or else from where the program runs, as sd-scripts takes it."""
        beside = place_beside(self._path.parent, text, where=self._where(place))
        return beside if beside.exists() else place_beside(Path(), text, where=self._where(place))

    def _check(self, table: Mapping[str, Any], place: str, allowed: frozenset[str]) -> None:
        for name in table:
            if name in keys.REFUSED:
                raise self._error(
                    say("A data set with {key} is of another kind and cannot be trained here", key=name), place
                )
            if name not in allowed:
                raise self._wrong(name, place, allowed)

    def _wrong(self, name: str, place: str, known: Sequence[str] | frozenset[str]) -> InputError:
        near = difflib.get_close_matches(name, sorted(known), n=3)
        cure = say("Did you mean: {names}?", names=near) if near else say("Known are {names}.", names=sorted(known))
        return InputError("There is no key “{name}” here", name=name[:60], where=self._where(place), cure=cure)

    def _error(self, what: Sentence, place: str) -> InputError:
        return InputError(what, where=self._where(place), cure="Correct it in the file.")

    def _where(self, place: str) -> str:
        return f"{self._path}: {place}" if place else str(self._path)

    def _table(self, value: Any, place: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._error(say("This is no table of names and values"), place)
        return value

    def _list(self, value: Any, place: str) -> Sequence[Any]:
        if not isinstance(value, list) or not value:
            raise self._error(say("There must be one table or more here"), place)
        return value
