"""What is odd about a data set that can be used: tags nearly everywhere, pictures nearly alike, pictures too small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora.data.dataset import Picture
from lib_lora.data.edit_captions import tag_counts
from lib_lora.data.files import Problem
from lib_lora.data.images import load_picture
from lib_lora.data.remarks import grouped
from lib_lora.data.tag_lines import plain_tag, split_tags
from lib_lora.errors import FileError
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import Sentence, say

NEARLY_ALL = 0.9
"""Share of captions from which on a tag teaches nothing apart from the trigger word."""
FEW = 5
"""Below so many captions every tag is in nearly all of them."""
NEAR = 5
"""Bits of 64 by which the prints of two pictures differ at most that look alike: another size, another compression."""


@dataclass(frozen=True)
class Finding:
    """One thing that is odd: a sentence, and the tag or the pictures that it is about.

    Attributes:
        tag: in nearly every caption; taking it away lets the trigger word learn what it names. Empty: about pictures.
        pictures: that look alike, or are too small.
    """

    sentence: Sentence
    tag: str = ""
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Lint:
    """What was found.

    Attributes:
        everywhere: tags with the number of captions that have them.
        alike: groups of pictures that look alike.
        small: pictures whose shorter side is below half of the training size.
        captions: how many there are.
        is_style: what is learned is how pictures are drawn, so that tags belong to all that they show.
        problems: pictures that could not be read.
    """

    everywhere: tuple[tuple[str, int], ...]
    alike: tuple[tuple[Path, ...], ...]
    small: tuple[Path, ...]
    captions: int
    is_style: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was found, the captions first."""
        said = [] if self.is_style else [Finding(self._bound(tag, n), tag=tag) for tag, n in self.everywhere]
        said += [Finding(grouped(say("that look nearly alike"), group), pictures=group) for group in self.alike]
        if self.small:
            said.append(Finding(grouped(say("that are enlarged more than twice"), self.small), pictures=self.small))
        return tuple(said)

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """Everything that was found, and what could not be looked at, one sentence each."""
        return (*(one.sentence for one in self.findings), *(one.sentence for one in self.problems))

    def _bound(self, tag: str, count: int) -> Sentence:
        return say(
            "the tag “{tag}” is in {n} of {all} captions: what it names goes into the tag, not the trigger word",
            tag=tag,
            n=count,
            all=self.captions,
        )


def lint(
    pictures: Sequence[Picture],
    captions: Mapping[Path, str],
    *,
    trigger: str,
    side: int,
    is_style: bool = False,
    progress: Progress = QUIET,
) -> Lint:
    """Return what is odd about pictures and their captions.

    Args:
        pictures: of the data set.
        captions: of each picture, as its file has it.
        trigger: the trigger word, which should be everywhere.
        side: of the training pictures in px; 0 finds none too small.
        is_style: what is learned is a style: a tag in every caption is no fault there.
        progress: told of every picture.

    Raises:
        StoppedError: somebody asked to stop.
    """
    own = {plain_tag(tag).casefold() for tag in split_tags(trigger)}
    texts = [text for text in captions.values() if text]
    counts = tag_counts(texts) if len(texts) >= FEW else []
    everywhere = tuple((t, n) for t, n in counts if n >= NEARLY_ALL * len(texts) and plain_tag(t).casefold() not in own)
    prints: dict[Path, int] = {}
    problems = []
    for done, picture in enumerate(pictures):
        try:
            prints[picture.path] = difference_hash(load_picture(picture.path))
        except FileError as error:
            problems.append(Problem(picture.path, error.what, error.cure))
        progress.passed(done + 1, len(pictures), say("comparing pictures"))
    small = tuple(picture.path for picture in pictures if 2 * min(picture.size) < side)
    alike = _groups(list(prints), list(prints.values()))
    return Lint(everywhere, alike, small, len(texts), is_style, tuple(problems))


def difference_hash(picture: Image.Image) -> int:
    """Return 64 bits that change little with size and compression: whether each of 8 x 8 areas is darker than the next.

    N. Krawetz, “Kind of Like That” (dHash).
    """
    values = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")


def _groups(paths: Sequence[Path], prints: Sequence[int]) -> tuple[tuple[Path, ...], ...]:
    """Return the pictures whose prints are near, each with the first one that it is near to."""
    found: dict[int, list[Path]] = {}
    for at, one in enumerate(prints):
        first = next((other for other in found if (prints[other] ^ one).bit_count() <= NEAR), at)
        found.setdefault(first, []).append(paths[at])
    return tuple(tuple(group) for group in found.values() if len(group) > 1)
