"""Text from bytes of unknown encoding: UTF-8, UTF-16 and UTF-32, and what Japanese and Western editors saved before.

Old encodings do not say what they are, and most bytes are text in several of them. So each way of reading is judged by
what it would make a person have typed: kana and everyday kanji cost nothing much, half-width katakana, rare kanji and
signs of no keyboard cost a lot.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

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
_OLD = ("cp932", "euc_jp", "cp1252")


@dataclass(frozen=True)
class CaptionText:
    """A caption's whole text (lines kept, ends trimmed) and the encoding it turned out to be in."""

    text: str
    encoding: str

    @property
    def is_utf8(self) -> bool:
        """Whether the file can be read by every tool as it is."""
        return self.encoding in ("utf-8", "utf-8-sig")

    @property
    def is_damaged(self) -> bool:
        """Whether characters were lost in reading, so that the file must not be written again from this text."""
        return self.encoding == DAMAGED


def decode_caption(data: bytes) -> CaptionText:
    """Decode a caption: by its mark, as UTF-16 without one, UTF-8, ISO-2022-JP, else the likeliest old encoding.

    The old ones are Shift_JIS (cp932), EUC-JP and cp1252. UTF-8 of which a few bytes are broken, and what is text in no
    encoding at all, is read with replacement characters and says so.
    """
    for encoding in _candidates(data):
        text = _decoded(data, encoding)
        if text is not None and not (encoding == "utf-8" and _is_chance_utf8(text, data)):
            return CaptionText(_tidy(text), encoding)
    read = {encoding: text for encoding in _OLD if (text := _decoded(data, encoding)) is not None}
    damaged = data.decode("utf-8", "replace")
    if not read or _is_mostly_utf8(damaged):
        return CaptionText(_tidy(damaged), DAMAGED)
    encoding = min(read, key=lambda each: _cost(read[each], each))
    return CaptionText(_tidy(read[encoding]), encoding)


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
    """Return whether a few kanji of EUC-JP merely look like UTF-8: as letters that no keyboard has."""
    if not _ODD_LETTERS.search(text) or any(char >= "\u0800" for char in text):
        return False
    japanese = _decoded(data, "euc_jp")
    return japanese is not None and all(_letter_cost(char, "", "euc_jp") <= 0.1 for char in japanese if char > "\x7f")


def _is_mostly_utf8(damaged: str) -> bool:
    """Return whether whole characters outweigh the broken places: of three bytes, hardly any comes out by chance."""
    whole = sum(char >= "\u0800" and char != "\ufffd" for char in damaged)
    return whole >= max(2, 2 * len(re.findall("\ufffd+", damaged)))


def _cost(text: str, encoding: str) -> float:
    """Return how unlikely it is that a person typed this, 0 for plain ASCII."""
    padded = f" {text} "
    return sum(
        _letter_cost(char, padded[at] + padded[at + 2], encoding) for at, char in enumerate(text) if char > "\x7f"
    )


def _letter_cost(char: str, beside: str, encoding: str) -> float:
    code = ord(char)
    if encoding == "cp1252":
        if 0xC0 <= code <= 0xFF and char not in "×÷":  # a letter of a Western word stands beside others
            return 0.3 if any(one.isascii() and one.isalpha() for one in beside) else 1.5
        return 0.8 if char in "’“”–—…€°" else 2.0
    if 0xFF61 <= code <= 0xFF9F:
        return 0.6  # half-width katakana: what a kanji of EUC-JP, two of them, would be in Shift_JIS
    if 0x3000 <= code <= 0x30FF or 0xFF01 <= code <= 0xFF5E:
        return 0.0  # kana, Japanese punctuation, full-width letters
    if 0x4E00 <= code <= 0x9FFF:
        return 0.1 if _is_everyday(char) else 1.0
    return 3.0 if 0xE000 <= code <= 0xF8FF else 1.0  # private use, else signs


def _is_everyday(kanji: str) -> bool:
    """Return whether a kanji is of JIS X 0208's first level: rows 16 to 47."""
    try:
        return 0xB0 <= kanji.encode("euc_jp")[0] <= 0xCF
    except UnicodeEncodeError:
        return False


def _tidy(text: str) -> str:
    lines = text.replace("\ufeff", "").replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.strip() for line in lines).strip()
