"""Text from bytes of unknown encoding: UTF-8, UTF-16 and UTF-32, and what editors of many countries saved before."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lib_lora.data.old_encodings import ALPHABETS, ANYTHING, OLD, cost, rareness
from lib_lora.sentences import say

DAMAGED = say("utf-8 with damage")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SHIFTS = (b"\x1b$B", b"\x1b$@", b"\x1b(J")
"""Escapes by which ISO-2022-JP, mail's encoding, changes its alphabet."""
_ODD_LETTERS = re.compile("[\u0180-\u036f\u0700-\u07ff]")
_CONTROLS = re.compile("[\x01-\x08\x0e-\x1f]")
_CLEAR = 0.2
"""By so much of a letter's cost the likeliest reading must be better than the next one to be certain."""
_RARER, _FEW = 0.1, 0.4
"""By so much rarer, and more where there are few letters, those of a wrong alphabet are at least."""
_LIKELY = 0.5
"""What a letter of a likely reading costs on average at most."""


@dataclass(frozen=True)
class CaptionText:
    """A caption's whole text, lines kept, ends trimmed.

    Attributes:
        text: what it says.
        encoding: what it turned out to be in.
        rivals: other encodings in which it would be another text that is as likely.
        is_likely: whether a person may have typed it.
    """

    text: str
    encoding: str
    rivals: tuple[str, ...] = ()
    is_likely: bool = True

    @property
    def is_certain(self) -> bool:
        """Whether the text is one that somebody may have typed, and no other encoding is as likely."""
        return self.is_likely and not self.rivals

    @property
    def is_utf8(self) -> bool:
        """Whether the file can be read by every tool as it is."""
        return self.encoding in ("utf-8", "utf-8-sig")

    @property
    def is_damaged(self) -> bool:
        """Whether characters were lost in reading, so that the file must not be written again from this text."""
        return self.encoding == DAMAGED


def decode_caption(data: bytes) -> CaptionText:
    """Decode a caption: by its mark, as UTF-16 full of zeros, UTF-8, ISO-2022-JP, else the likeliest old encoding.

    Those are `old_encodings.OLD`: of Japan, China, Taiwan, Korea, Thailand, Russia, Greece, Israel, Europe and Turkey,
    and UTF-16 without a mark.
    UTF-8 of which a few bytes are broken, and what is text in no encoding at all, is read with replacement characters
    and says so.
    """
    for encoding in _candidates(data):
        text = _decoded(data, encoding)
        if text is not None and not (encoding == "utf-8" and _is_chance_utf8(text, data)):
            return CaptionText(_tidy(text), encoding)
    damaged = data.decode("utf-8", "replace")
    costs = _costs(data)
    if not costs or _is_mostly_utf8(damaged):
        return CaptionText(_tidy(damaged), DAMAGED)
    best, *others = sorted(costs, key=lambda each: costs[each])
    text = data.decode(best)
    letters = _letters(text)
    near = tuple(each for each in others if costs[each] - costs[best] < _CLEAR * letters)
    return CaptionText(_tidy(text), best, rivals=near, is_likely=costs[best] <= _LIKELY * letters)


def _costs(data: bytes) -> dict[str, float]:
    """Return what each old encoding that can read the bytes costs; of two that read the same text the first counts."""
    read: dict[str, str] = {}
    for encoding in OLD:
        text = _decoded(data, encoding)
        if text is not None and text not in read.values():
            read[encoding] = text
    found = {encoding: cost(text, encoding) for encoding, text in read.items() if not _is_rarer(encoding, read)}
    return {
        name: found[name] for name in found if name not in ANYTHING or found[name] <= _LIKELY * _letters(read[name])
    }


def _is_rarer(encoding: str, read: Mapping[str, str]) -> bool:
    """Whether another alphabet reads the same bytes as letters that come clearly more often, or wholly as its own."""
    if encoding not in ALPHABETS:
        return False
    rare = {each: rareness(text, each) for each, text in read.items() if each in ALPHABETS}
    own, none = rare[encoding]
    likelier = min(average for average, _ in rare.values())
    alike = [rare[each][1] for each in rare if ALPHABETS[each] == ALPHABETS[encoding]]
    return own - likelier > _RARER + _FEW / _letters(read[encoding]) or none > min(alike)


def _letters(text: str) -> int:
    return sum(char > "\x7f" for char in text) or 1


def _candidates(data: bytes) -> tuple[str, ...]:
    """Return the encodings that are right wherever they can be read at all."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding, "utf-8"
    low, high = data[0::2].count(0), data[1::2].count(0)
    if len(data) % 2 == 0 and max(low, high) * 8 >= len(data) > 0:  # commas and spaces suffice in Japanese text
        return ("utf-16-le" if high >= low else "utf-16-be", "utf-8")
    return ("iso2022_jp", "utf-8") if any(shift in data for shift in _SHIFTS) else ("utf-8",)


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_chance_utf8(text: str, data: bytes) -> bool:
    """Return whether letters of an old encoding merely look like UTF-8: as letters or signs that no keyboard has."""
    if _CONTROLS.search(text):
        return len(data) % 2 == 0
    if not _ODD_LETTERS.search(text) or any(char >= "\u0800" for char in text):
        return False
    return min(_costs(data).values(), default=1.0) <= 0.1


def _is_mostly_utf8(damaged: str) -> bool:
    """Return whether whole characters outweigh the broken places: of three bytes, hardly any comes out by chance."""
    whole = sum(char >= "\u0800" and char != "\ufffd" for char in damaged)
    return whole >= max(2, 2 * len(re.findall("\ufffd+", damaged)))


def _tidy(text: str) -> str:
    lines = text.replace("\ufeff", "").replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.strip() for line in lines).strip()
