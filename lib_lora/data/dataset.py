"""The data set as values: pictures, the folders that they came from, and what a person should know of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_lora.data.files import CAPTION_SUFFIXES, Problem


@dataclass(frozen=True)
class Picture:
    """One usable picture: `size` is upright (width, height).

    `digest` is the SHA-256 of the file; `flip` is what the folder's name says about mirroring, None if nothing. `own`
    are options of the run that the picture has for itself; pictures of another `dataset` are never in its batch.
    """

    path: Path
    caption: str
    repeats: int
    size: tuple[int, int]
    is_reg: bool
    digest: str
    flip: bool | None = None
    own: tuple[tuple[str, Any], ...] = ()
    dataset: int = 0


@dataclass(frozen=True)
class FolderUse:
    """One folder as it is used: its repeats, class tokens, number of usable pictures, and endings of captions."""

    path: Path
    repeats: int
    class_tokens: str
    pictures: int
    endings: tuple[str, ...] = CAPTION_SUFFIXES


@dataclass(frozen=True)
class FolderScan:
    """A scanned data set: what will be trained, what cannot be, and what a person should know.

    `problems` are files that cannot be used; `warnings` say what else is not trained though somebody may think so, and
    `notices` the rest. `unread` counts pictures of kinds that cannot be read here, by ending. `numbered`: folders
    are named with the repeats of training pictures.
    """

    pictures: tuple[Picture, ...]
    problems: tuple[Problem, ...]
    notices: tuple[str, ...]
    folders: tuple[FolderUse, ...]
    numbered: bool = False
    unread: tuple[tuple[str, int], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Everything that a person should know, the most important first, one sentence or line each."""
        return (*(each.sentence for each in self.problems), *self.warnings, *self.notices)

    @property
    def train(self) -> tuple[Picture, ...]:
        """The pictures of the subject."""
        return tuple(picture for picture in self.pictures if not picture.is_reg)

    @property
    def reg(self) -> tuple[Picture, ...]:
        """The regularization pictures, as often as their folders say; `shown` balances them."""
        return tuple(picture for picture in self.pictures if picture.is_reg)

    def shown(self, times: int = 1) -> tuple[Picture, ...]:
        """Return the pictures of a run, `repeats` being how often an epoch shows each.

        A run shows training pictures `times` as often as their folders say. Regularization pictures are balanced
        against all of these draws, in each dataset for itself, as sd-scripts does.
        """
        train = tuple(replace(picture, repeats=picture.repeats * times) for picture in self.train)
        balanced: list[Picture] = []
        for number in sorted({picture.dataset for picture in self.reg}):
            draws = sum(picture.repeats for picture in train if picture.dataset == number)
            balanced += balance_regularization([one for one in self.reg if one.dataset == number], draws=draws)
        return (*train, *balanced)

    def fingerprint(self) -> str:
        """Return 64 hex digits that change when any picture, caption, repeat or flip does; names do not matter."""
        rows = sorted(
            json.dumps(
                [each.digest, each.caption, each.repeats, each.is_reg, each.flip]
                + ([each.dataset, each.own] if each.own or each.dataset else [])
            )
            for each in self.pictures
        )
        return hashlib.sha256("\n".join(rows).encode("utf-8")).hexdigest()


def balance_regularization(pictures: Sequence[Picture], *, draws: int) -> tuple[Picture, ...]:
    """Return the regularization pictures that are needed, with repeats that reach `draws`.

    Pictures are taken in order with their own repeats; if they do not suffice, each in turn gets one more.
    """
    taken: list[Picture] = []
    total = 0
    for picture in pictures:
        if total >= draws:
            break
        taken.append(picture)
        total += picture.repeats
    missing = max(0, draws - total)
    more, rest = divmod(missing, len(taken)) if taken else (0, 0)
    balanced = (replace(p, repeats=p.repeats + more + (index < rest)) for index, p in enumerate(taken))
    return tuple(balanced)
