"""Captions: finding and reading their files, and the processing done at every draw."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_lora.data.decoding import CaptionText, decode_caption
from lib_lora.data.files import CAPTION_SUFFIXES, shown
from lib_lora.data.tag_lines import lines_of, plain_commas, split_tags, strip_network_tags
from lib_lora.errors import FileError, InputError
from lib_lora.sentences import say

MAX_BYTES = 1 << 20  # no caption is longer; a log file named like one is

_WILDCARD = re.compile(r"\{([^{}]+)\}")
_ESCAPED = re.compile(r"\{\{([^{}]*)\}\}")
_HELD_OPEN, _HELD_CLOSE = "\ue000", "\ue001"  # private characters that stand for plain braces meanwhile


def read_caption(path: Path) -> CaptionText:
    """Read a caption file; raises FileError if its bytes cannot be had or are more than a megabyte."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        what = say("The caption cannot be read ({reason})", reason=error)
        raise FileError(what, where=shown(path), cure="Check that it is a file and may be read.") from error
    if len(data) > MAX_BYTES:
        what = say("The file is too long to be a caption (over 1 MB)")
        raise FileError(what, where=shown(path), cure="Give it another ending, or shorten it.")
    return decode_caption(data)


class CaptionIndex:
    """Finds captions by stem; where none fits exactly, in any case and Unicode form (macOS decomposes names)."""

    def __init__(self, files: Iterable[Path], extensions: Sequence[str] = CAPTION_SUFFIXES) -> None:
        """Index the files of one folder; the first of `extensions` that exists wins."""
        self._extensions = extensions
        self._exact = {(path.stem, path.suffix.lower()): path for path in sorted(files, reverse=True)}
        self._folded = {(folded(stem), suffix): path for (stem, suffix), path in self._exact.items()}

    def find(self, picture: Path) -> Path | None:
        """Return the caption file of a picture, or None."""
        for suffix in self._extensions:
            key = (picture.stem, suffix)
            path = self._exact.get(key) or self._folded.get((folded(picture.stem), suffix))
            if path is not None:
                return path
        return None


def folded(name: str) -> str:
    """Return a name without its case and Unicode form: what captions are found by where none fits exactly."""
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class CaptionRules:
    """What is done to a caption each time its picture is drawn, in the order of sd-scripts.

    Rates are 0..1. `warmup_steps` below 1 is a share of all steps, else a count of steps; 0 is off.
    """

    shuffle: bool = False
    keep_tokens: int = 0
    keep_separator: str = ""
    dropout: float = 0.0
    dropout_every_epochs: int = 0
    tag_dropout: float = 0.0
    warmup_min: int = 1
    warmup_steps: float = 0.0
    prefix: str = ""
    suffix: str = ""
    separator: str = ","
    secondary_separator: str = ""
    wildcards: bool = False

    def __post_init__(self) -> None:
        """Check every range."""
        for name in ("dropout", "tag_dropout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError("A rate must lie between 0 and 1", where=name, cure="0.1 means one in ten.")
        for name in ("keep_tokens", "dropout_every_epochs", "warmup_min", "warmup_steps"):
            if not getattr(self, name) >= 0:
                raise InputError("A count must not be negative", where=name, cure="0 switches it off.")
        if not self.separator:
            raise InputError("Tags need a separator", where=say("separator"), cure="Usually a comma.")

    def apply(self, caption: str, rng: random.Random, step: int = 0, *, epoch: int = 1, total_steps: int = 0) -> str:
        """Return the caption for one draw; the same rng state, step and epoch (from 1) give the same text."""
        lines = self._lines(caption)
        if self._drops_all(rng, epoch=epoch):
            return ""
        line = lines[0]
        if self.wildcards:
            line = _fill_wildcards(rng.choice(lines) if len(lines) > 1 else line, rng.choice)
        line = self._process_tags(line, rng, step=step, total_steps=total_steps)
        if self.secondary_separator:
            line = line.replace(self.secondary_separator, self.separator)
        return line

    @property
    def varies(self) -> bool:
        """Whether a draw may have another text than the one before, besides one that is dropped whole."""
        return self.shuffle or self.tag_dropout > 0 or self.warmup_steps > 0 or self.wildcards

    def longest(self, caption: str) -> str:
        """Return the longest text that a caption may become, tags in their order."""
        lines = self._lines(caption)
        if self.wildcards:
            lines = [_fill_wildcards(line, lambda choices: max(choices, key=len)) for line in lines]
        else:
            lines = lines[:1]
        return max(lines, key=len)

    def _lines(self, caption: str) -> list[str]:
        """Return the lines that say something, as they are written, with what stands before and behind each."""
        lines = [line for line in lines_of(strip_network_tags(caption)[0]) if split_tags(line)] or [""]
        lines = [plain_commas(line) for line in lines] if self.separator == "," else lines
        return [" ".join(part for part in (self.prefix, line, self.suffix) if part) for line in lines]

    def _drops_all(self, rng: random.Random, *, epoch: int) -> bool:
        by_chance = self.dropout > 0 and rng.random() < self.dropout
        return by_chance or (self.dropout_every_epochs > 0 and epoch % self.dropout_every_epochs == 0)

    def _process_tags(self, text: str, rng: random.Random, *, step: int, total_steps: int) -> str:
        has_mark = bool(self.keep_separator) and self.keep_separator in text
        if not (self.shuffle or self.tag_dropout or self.warmup_steps or has_mark):
            return text
        if has_mark:
            head, rest = text.split(self.keep_separator, 1)
            rest, _, tail = rest.partition(self.keep_separator)
            fixed, free, last = (split_tags(part, self.separator) for part in (head, rest, tail))
        else:
            tags = split_tags(text, self.separator)
            fixed, free, last = tags[: self.keep_tokens], tags[self.keep_tokens :], []
        free = self._warmed_up(free, step=step, total_steps=total_steps)
        if self.shuffle:
            rng.shuffle(free)
        if self.tag_dropout:
            free = [tag for tag in free if rng.random() >= self.tag_dropout]
        return ", ".join(
            [*fixed, *free, *last]
        )  # whatever separated them, as sd-scripts does: text encoders know commas

    def _warmed_up(self, tags: list[str], *, step: int, total_steps: int) -> list[str]:
        """Keep the first tags only, `warmup_min` at step 0 growing evenly to all of them at the end of the warm-up."""
        steps = int(self.warmup_steps * total_steps) if self.warmup_steps < 1 else self.warmup_steps
        if step >= steps or len(tags) <= self.warmup_min:
            return tags
        return tags[: self.warmup_min + int(step * ((len(tags) - self.warmup_min) / steps))]


def _fill_wildcards(text: str, choose: Callable[[list[str]], str]) -> str:
    """Choose one in each `{a|b}`, inner ones first; `{{plain}}` stands for plain braces."""
    text = _ESCAPED.sub(rf"{_HELD_OPEN}\1{_HELD_CLOSE}", text)
    while _WILDCARD.search(text):
        text = _WILDCARD.sub(lambda match: choose(match.group(1).split("|")), text)
    return text.replace(_HELD_OPEN, "{").replace(_HELD_CLOSE, "}")
