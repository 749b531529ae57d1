"""A tagger of the WD14 kind: an ONNX model that gives each of its tags a probability, and the list of those tags.

The picture stands in the middle of a white square of the model's side, blue before red. A model with the channels last
(WD14 v1 to v3) takes 0 to 255; one with the channels first (the form in which timm has the same models) takes -1 to 1.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora.data.files import shown
from lib_lora.data.onnx_model import OnnxModel, open_model, sigmoid_where_needed, squared
from lib_lora.data.tag_lines import split_tags
from lib_lora.errors import FileError, InputError
from lib_lora.sentences import say
from lib_lora.walk import list_folder

LIST = "selected_tags.csv"
SIDE = 448
"""Side of the picture in px where the model takes any."""
GENERAL, CHARACTERS = frozenset("0"), frozenset("34")
"""Categories of Danbooru: general; copyright and character. Artists (1), meta (5) and ratings (9) are never written."""

_WORD = re.compile(r"[^\W_]{2}")


@dataclass(frozen=True)
class TagRules:
    """Which tags of a tagger are taken, and how they are written.

    Attributes:
        general, character: the least probability, above which a tag is taken; 1 takes none.
        underscores: whether they stay as the list has them.
        exclude: tags that are never taken, ``*`` for any letters; blank or underscore, capital or small is the same.
    """

    general: float = 0.35
    character: float = 0.85
    underscores: bool = False
    exclude: str = ""

    def excluded(self) -> Callable[[str], bool]:
        """Return a test of tags that are left out."""
        patterns = [re.compile(translate(plain(tag).replace("[", "[[]"))) for tag in split_tags(self.exclude)]
        return lambda tag: any(pattern.match(plain(tag)) for pattern in patterns)

    def written(self, name: str) -> str:
        """Return a tag of the list as a caption has it; faces such as >_< keep their underscore."""
        return name if self.underscores or not _WORD.search(name) else name.replace("_", " ")


class Tagger:
    """A tagger's model and its list of tags."""

    def __init__(self, model: OnnxModel, names: Sequence[str], kinds: Sequence[str]) -> None:
        self._model, self._names, self._kinds = model, names, kinds

    @classmethod
    def open(cls, place: Path) -> Tagger:
        """Open a tagger.

        Args:
            place: the folder with the model and `LIST`, or the model's file.

        Raises:
            AtelierError: onnxruntime is not installed.
            FileError: a file is missing or cannot be read.
            InputError: model and list do not belong together, or several models are in the folder.
        """
        path = _model_in(place)
        names, kinds = _read_list(path.with_name(LIST))
        model = open_model(path)
        count = model.outputs[0][-1] if model.outputs and model.outputs[0] else None
        if isinstance(count, int) and count != len(names):
            raise _unequal(path, count, len(names))
        return cls(model, names, kinds)

    def probabilities(self, picture: Image.Image) -> np.ndarray:
        """Return the probability of each tag of the list, (n,), 0 to 1.

        Args:
            picture: RGB of any size.

        Raises:
            InputError: the model gives another number of values than the list has tags.
            FileError: the model cannot work.
        """
        side = self._model.size[0] if self._model.size else SIDE
        values = np.asarray(squared(picture, side), dtype=np.float32)[:, :, ::-1]
        found = self._model.run(values if self._model.channels_last else values / 127.5 - 1)[0].reshape(-1)
        if len(found) != len(self._names):
            raise _unequal(self._model.path, len(found), len(self._names))
        return sigmoid_where_needed(found)

    def tags(self, picture: Image.Image, rules: TagRules) -> list[tuple[str, float]]:
        """Return the tags of a picture with their probabilities: characters before the others, the surest first."""
        excluded, rows = rules.excluded(), []
        for name, kind, share in zip(self._names, self._kinds, self.probabilities(picture), strict=True):
            least = rules.character if kind in CHARACTERS else rules.general if kind in GENERAL else 1.0
            if share > least and not excluded(name):
                rows.append((kind in GENERAL, -float(share), rules.written(name)))
        return list({tag: -share for _, share, tag in sorted(rows)}.items())


def plain(tag: str) -> str:
    """Return a tag without what does not tell it from others: underscores, capitals, backslashes before brackets."""
    return tag.replace("_", " ").replace("\\", "").strip().casefold()


def _model_in(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise FileError("There is no such folder", where=shown(place), cure="Give the folder of the tagger's files.")
    found = [path for path in list_folder(place).files if path.suffix.lower() == ".onnx"]
    named = [path for path in found if path.name.lower() == "model.onnx"] or found
    if not named:
        cure = say("Put the tagger's .onnx file and its {list} there.", list=LIST)
        raise FileError("There is no model in the folder", where=shown(place), cure=cure)
    if len(named) > 1:
        names = [shown(path.name) for path in named[:5]]
        cure = say("Give the file itself: {names}.", names=names)
        raise InputError("There are several models in the folder", where=shown(place), cure=cure)
    return named[0]


def _read_list(path: Path) -> tuple[list[str], list[str]]:
    """Return names and categories of a list with the columns ``name`` and ``category``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row["name"], row["category"].strip()) for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        cure = say("Put it beside the model: it comes from the same place.")
        raise FileError("The tagger's list of tags is missing", where=shown(path), cure=cure) from error
    except (OSError, UnicodeDecodeError, KeyError, AttributeError, csv.Error) as error:
        cure = say("It has the columns name and category. Get it again from where the model comes from.")
        raise FileError("The tagger's list of tags cannot be read", where=shown(path), cure=cure) from error
    return [name for name, _ in rows], [kind for _, kind in rows]


def _unequal(path: Path, values: int, tags: int) -> InputError:
    return InputError(
        "The model tells {values} tags, and its list has {tags}",
        values=values,
        tags=tags,
        where=shown(path),
        cure="Take model and list from the same place.",
    )
