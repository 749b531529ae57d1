"""Captions: reading them in whatever encoding they were saved, and the processing done at every draw."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_lora.data.files import CAPTION_SUFFIXES, shown
from lib_lora.errors import FileError, InputError

MAX_BYTES = 1 << 20  # no caption is longer; a log file named like one is
DAMAGED = "utf-8 with damage"

_NETWORK_TAG = re.compile(r"<\w+:[^<>]*>")
_WILDCARD = re.compile(r"\{([^{}]*)\}")
_WEIGHT = re.compile(r"(?<!\\)\(([^()]*):\s*[\d.]+\s*\)")
_ESCAPED = re.compile(r"\{\{([^{}]*)\}\}")
_HELD_OPEN, _HELD_CLOSE = "\ue000", "\ue001"  # private characters that stand for plain braces meanwhile


@dataclass(frozen=True)
class CaptionText:
    """A caption's whole text (lines kept, ends trimmed) and the encoding it turned out to be in."""

    text: str
    encoding: str

    @property
    def is_utf8(self) -> bool:
        """Whether the file can be read by every tool as it is."""
        return self.encoding in ("utf-8", "utf-8-sig")


def read_caption(path: Path) -> CaptionText:
    """Read a caption file; raises FileError if its bytes cannot be had or are more than a megabyte."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        what = f"the caption cannot be read ({error.strerror or type(error).__name__})"
        raise FileError(what, where=shown(path), cure="Check that it is a file and may be read.") from error
    if len(data) > MAX_BYTES:
        what = "the file is too long to be a caption (over 1 MB)"
        raise FileError(what, where=shown(path), cure="Give it another ending, or shorten it.")
    return decode_caption(data)


def decode_caption(data: bytes) -> CaptionText:
    """Decode a caption: UTF-8 with BOM, UTF-8, UTF-16, cp932 (Shift-JIS), cp1252 in that order.

    UTF-16 without a BOM is told by its zero bytes, because it would pass as UTF-8. What fits nowhere is read as UTF-8
    with replacement characters and says so.
    """
    for encoding in _candidates(data):
        try:
            return CaptionText(_tidy(data.decode(encoding)), encoding)
        except UnicodeDecodeError:
            continue
    return CaptionText(_tidy(data.decode("utf-8", "replace")), DAMAGED)


def _candidates(data: bytes) -> tuple[str, ...]:
    others = ("utf-8", "cp932", "cp1252")
    if data.startswith(b"\xef\xbb\xbf"):
        return ("utf-8-sig", *others)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16", *others)
    low, high = data[0::2].count(0), data[1::2].count(0)
    if len(data) % 2 == 0 and max(low, high) * 8 >= len(data) > 0:  # commas and spaces suffice in Japanese text
        return ("utf-16-le" if high >= low else "utf-16-be", *others)
    return others


def _tidy(text: str) -> str:
    lines = text.replace("\ufeff", "").replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.strip() for line in lines).strip()


class CaptionIndex:
    """Finds captions by stem; where none fits exactly, in any case and Unicode form (macOS decomposes names)."""

    def __init__(self, files: Iterable[Path], extensions: Sequence[str] = CAPTION_SUFFIXES) -> None:
        """Index the files of one folder; the first of `extensions` that exists wins."""
        self._extensions = extensions
        self._exact = {(path.stem, path.suffix.lower()): path for path in sorted(files, reverse=True)}
        self._folded = {(_folded(stem), suffix): path for (stem, suffix), path in self._exact.items()}

    def find(self, picture: Path) -> tuple[Path, str] | None:
        """Return the caption file of a picture and its ending, or None."""
        for suffix in self._extensions:
            key = (picture.stem, suffix)
            path = self._exact.get(key) or self._folded.get((_folded(picture.stem), suffix))
            if path is not None:
                return path, suffix
        return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def split_tags(text: str, separator: str = ",") -> list[str]:
    """Split a caption into its tags, trimmed, without empty ones."""
    return [tag for tag in (part.strip() for part in text.split(separator)) if tag]


def strip_network_tags(text: str) -> tuple[str, tuple[str, ...]]:
    """Remove `<lora:…>` and its kin; return the rest (no stray commas) and what was removed."""
    found = tuple(_NETWORK_TAG.findall(text))
    if not found:
        return text, ()
    lines = (", ".join(split_tags(_NETWORK_TAG.sub(" ", line))) for line in text.split("\n"))
    return "\n".join(lines).strip(), found


def caption_warnings(text: str, *, embeddings: Collection[str] = ()) -> tuple[str, ...]:
    """Say what in a caption acts differently from what it looks like: networks, embeddings, weights over commas."""
    said = []
    if _NETWORK_TAG.search(text):
        said.append("contains a network tag such as <lora:…>")
    words = {word.casefold() for word in re.findall(r"[\w\-.]+", text)} | {t.casefold() for t in split_tags(text)}
    named = sorted(name for name in embeddings if name.casefold() in words)
    if named:
        said.append(f"contains the name of an embedding ({', '.join(named)})")
    if any("," in match.group(1) for match in _WEIGHT.finditer(text)):
        said.append("has a weight that spans a comma, which shuffling would tear apart")
    return tuple(said)


def truncated_tags(text: str, *, count_tokens: Callable[[str], int], limit: int = 75) -> tuple[str, ...]:
    """Return the tags of the first line that no longer fit into `limit` tokens, counted by the model's tokenizer."""
    tags = split_tags(first_line(text))
    for index in range(len(tags)):
        if count_tokens(", ".join(tags[: index + 1])) > limit:
            return tuple(tags[index:])
    return ()


def first_line(text: str) -> str:
    """Return the first line that says something, or an empty string."""
    return next((line.strip() for line in text.split("\n") if line.strip()), "")


@dataclass(frozen=True)
class CaptionRules:
    """What is done to a caption each time its picture is drawn, in the order of sd-scripts.

    Rates are 0..1. `warmup_steps` below 1 is a share of all steps, else a count of steps; 0 is off. `replacements` are
    pairs (from, to) applied last; an empty `from` replaces the whole caption.
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
    replacements: tuple[tuple[str, str], ...] = ()
    strip_networks: bool = True

    def __post_init__(self) -> None:
        """Check every range."""
        for name in ("dropout", "tag_dropout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError("a rate must lie between 0 and 1", where=name, cure="0.1 means one in ten.")
        for name in ("keep_tokens", "dropout_every_epochs", "warmup_min", "warmup_steps"):
            if not getattr(self, name) >= 0:
                raise InputError("a count must not be negative", where=name, cure="0 switches it off.")
        if not self.separator:
            raise InputError("tags need a separator", where="separator", cure="Usually a comma.")

    @property
    def is_constant(self) -> bool:
        """Whether every draw of a caption gives the same text, so that its encoding can be cached once."""
        random_parts = (self.shuffle, self.dropout, self.dropout_every_epochs, self.tag_dropout, self.warmup_steps)
        return not any(random_parts) and not self.wildcards

    def apply(self, caption: str, rng: random.Random, step: int = 0, *, epoch: int = 1, total_steps: int = 0) -> str:
        """Return the caption for one draw; the same rng state, step and epoch (from 1) give the same text."""
        text = strip_network_tags(caption)[0] if self.strip_networks else caption
        lines = [line for line in text.split("\n") if line.strip()] or [""]
        lines = [" ".join(part for part in (self.prefix, line.strip(), self.suffix) if part) for line in lines]
        if self._drops_all(rng, epoch=epoch):
            return ""
        line = _fill_wildcards(rng.choice(lines), rng) if self.wildcards else lines[0]
        line = self._process_tags(line, rng, step=step, total_steps=total_steps)
        if self.secondary_separator:
            line = line.replace(self.secondary_separator, self.separator)
        for old, new in self.replacements:
            line = line.replace(old, new) if old else new
        return line

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
        return f"{self.separator} ".join([*fixed, *free, *last])

    def _warmed_up(self, tags: list[str], *, step: int, total_steps: int) -> list[str]:
        """Keep the first tags only, `warmup_min` at step 0 growing evenly to all of them at the end of the warm-up."""
        steps = self.warmup_steps * total_steps if self.warmup_steps < 1 else self.warmup_steps
        if step >= steps or len(tags) <= self.warmup_min:
            return tags
        return tags[: self.warmup_min + int(step * (len(tags) - self.warmup_min) / steps)]


def _fill_wildcards(text: str, rng: random.Random) -> str:
    """Draw one of the choices of each `{a|b}`, inner ones first; `{{plain}}` stands for plain braces."""
    text = _ESCAPED.sub(rf"{_HELD_OPEN}\1{_HELD_CLOSE}", text)
    while _WILDCARD.search(text):
        text = _WILDCARD.sub(lambda match: rng.choice(match.group(1).split("|")), text)
    return text.replace(_HELD_OPEN, "{").replace(_HELD_CLOSE, "}")
