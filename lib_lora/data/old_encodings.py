"""What old encodings can say, and how likely it is that a person typed it.

They do not say what they are, and most bytes are text in several of them. So each way of reading is judged letter by
letter: what captions of its language are mostly written with costs nothing, other letters of its first level a little,
rare letters, half-width katakana and signs of no keyboard a lot.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

FIRST, RARE, SIGN = 0.3, 1.0, 1.0
"""What a letter of an encoding's first level costs (level 1 of JIS, GB 2312 and Big5, and all of KS X 1001's Hangul),
one of any other level, and a sign that is no letter."""
ODD = 3.0
"""What a control, private or unassigned character costs: nobody types one."""


@lru_cache(maxsize=1)
def _everyday() -> dict[str, frozenset[str]]:
    lines = Path(__file__).with_name("everyday.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return {language: frozenset(letters) for language, letters in rows}


def cost(text: str, encoding: str) -> float:
    """Return how unlikely it is that a person typed this text in this encoding, 0 for plain ASCII."""
    padded, letter_cost = f" {text} ", _COSTS[encoding]
    return sum(
        ODD if _is_odd(char) else letter_cost(char, beside := padded[at] + padded[at + 2]) + _amid(char, beside)
        for at, char in enumerate(text)
        if char > "\x7f" or _is_odd(char)
    )


def _amid(char: str, beside: str) -> float:
    """Return what a Chinese or Korean letter costs in the middle of a Latin word, where nobody types one."""
    return 1.5 if char > "\u3400" and beside.isascii() and beside.isalpha() else 0.0


def _is_odd(char: str) -> bool:
    return char not in "\t\n\r\x0b\x0c\0" and unicodedata.category(char) in ("Cc", "Co", "Cn", "Cs")


def _japanese(char: str, beside: str = "") -> float:
    code = ord(char)
    if 0xFF61 <= code <= 0xFF9F:
        return 0.6  # half-width katakana: what a kanji of EUC-JP, two of them, would be in Shift_JIS
    if _is_kana(code) or _is_wide(code):
        return 0.0
    return _letter(char, "ja", "euc_jp", 0xB0, 0xCF)


def _chinese(char: str, beside: str = "") -> float:
    return _wide_or(char, _letter(char, "zh-hans", "gb2312", 0xB0, 0xD7))


def _traditional(char: str, beside: str = "") -> float:
    return _wide_or(char, _letter(char, "zh-hant", "big5", 0xA4, 0xC6))


def _korean(char: str, beside: str = "") -> float:
    return _wide_or(char, _letter(char, "ko", "euc_kr", 0xB0, 0xC8))


def _western(char: str, beside: str) -> float:
    if 0xC0 <= ord(char) <= 0xFF and char not in "×÷":  # a letter of a Western word stands beside others
        return 0.3 if any(one.isascii() and one.isalpha() for one in beside) else 1.5
    return 0.8 if char in "’“”–—…€°" else 2.0


def _cyrillic(char: str, beside: str) -> float:
    lower = char.lower()
    if lower not in _everyday()["ru"]:
        return 2.0
    alone = not any(one.lower() in _everyday()["ru"] for one in beside)
    return 1.5 if alone or (char != lower and beside[0].lower() in _everyday()["ru"]) else 0.1


def _unicode(char: str, beside: str = "") -> float:
    """Return the cost in UTF-16: the least that the letter has in any language, which it is no chance to hit."""
    if char.isalpha() and ord(char) < 0x600:
        return 0.2 if any(one.isalpha() and ord(one) < 0x600 for one in beside) else 1.0
    if 0xE00 <= ord(char) <= 0xE7F:
        return 0.2
    return 0.1 + min(_japanese(char), _chinese(char), _traditional(char), _korean(char))


def _letter(char: str, language: str, encoding: str, lowest: int, highest: int) -> float:
    if char in _everyday()[language]:
        return 0.0
    try:
        data = char.encode(encoding)
    except UnicodeEncodeError:
        return RARE
    if not char.isalpha():
        return SIGN
    return FIRST if len(data) == 2 and lowest <= data[0] <= highest else RARE


def _wide_or(char: str, letter: float) -> float:
    """Return the cost where kana are another language's."""
    code = ord(char)
    if _is_kana(code):
        return 0.0 if code < 0x3041 else RARE
    return 0.0 if _is_wide(code) else letter


def _is_kana(code: int) -> bool:
    return 0x3000 <= code <= 0x30FF  # with the punctuation before them


def _is_wide(code: int) -> bool:
    return 0xFF01 <= code <= 0xFF5E


_COSTS: dict[str, Callable[[str, str], float]] = {
    "cp932": _japanese,
    "euc_jp": _japanese,
    "gb18030": _chinese,
    "cp950": _traditional,
    "cp949": _korean,
    "cp1252": _western,
    "cp1251": _cyrillic,
    "utf-16-le": _unicode,
    "utf-16-be": _unicode,
}
OLD = tuple(_COSTS)
"""The encodings that are tried, likelier ones first where two cost the same."""
ANYTHING = ("cp1251", "utf-16-le", "utf-16-be")
"""Those of them that nearly any bytes are text in: they are believed only where the text is a likely one."""
