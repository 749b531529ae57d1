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
_SHOUTED = 0.15
"""How much rarer a capital behind another one is: few captions are written in capitals."""
ODD = 3.0
"""What a control, private or unassigned character costs: nobody types one."""


@lru_cache(maxsize=1)
def _lists() -> dict[str, str]:
    lines = Path(__file__).with_name("everyday.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return dict(rows)


@lru_cache(maxsize=1)
def _everyday() -> dict[str, frozenset[str]]:
    return {language: frozenset(letters) for language, letters in _lists().items()}


def cost(text: str, encoding: str) -> float:
    """Return how unlikely it is that a person typed this text in this encoding, 0 for plain ASCII."""
    padded, letter_cost = f" {text} ", _COSTS[encoding]
    return _strangers(text, encoding) + sum(
        ODD if _is_odd(char) else letter_cost(char, beside := padded[at] + padded[at + 2]) + _amid(char, beside)
        for at, char in enumerate(text)
        if char > "\x7f" or _is_odd(char)
    )


def rareness(text: str, encoding: str) -> tuple[float, int]:
    """Return how rare the letters of a text in an alphabet are on average, 0 to 1, and how many are none of it.

    Each alphabet reads another one's bytes as letters, but the frequent ones of one are any of the other. A capital
    inside of a word is none.
    """
    letters, padded = _lists()[ALPHABETS[encoding]], f" {text} "
    found = []
    for at, char in enumerate(text):
        if char > "\x7f":
            place, is_capital = letters.find(char.lower()), char != char.lower()
            is_none = place < 0 or (is_capital and padded[at].islower())
            found.append(1.0 if is_none else place / len(letters) + _SHOUTED * (is_capital and padded[at].isalpha()))
    return sum(found) / max(1, len(found)), found.count(1.0)


def _strangers(text: str, encoding: str) -> int:
    """Return how many letters of a text in a Latin encoding stand outside of the one language that fits it best."""
    languages = LATIN.get(encoding, ())
    beyond = [char for char in text.lower() if char > "\x7f" and char.isalpha()]
    return min((sum(char not in _everyday()[one] for char in beyond) for one in languages), default=0)


def _amid(char: str, beside: str) -> float:
    """Return what a Chinese or Korean letter costs in or at a Latin word, where few people type one."""
    if char <= "\u3400":
        return 0.0
    return (0.0, 0.4, 1.5)[sum(one.isascii() and one.islower() for one in beside)]


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
    if any(char.lower() in _everyday()[one] for one in LATIN["cp1252"]):  # it stands beside others
        return 0.3 if _in_latin(beside) else 1.5
    return 0.8 if char in "’“”–—…€°¿¡«»" else 2.0


def _latin(char: str, beside: str) -> float:
    """Return the cost in an encoding of other Latin letters than Western Europe's, which are less likely than those."""
    if char.isalpha():
        return 0.35 if any(one.isalpha() for one in beside) else 1.5
    return 0.8 if char in "’“”„–—…€°" else 2.0


def _cased(language: str) -> Callable[[str, str], float]:
    """Return the cost of a letter of an alphabet with small and capital letters."""

    def of(char: str, beside: str) -> float:
        known, lower = _everyday()[language], char.lower()
        if lower not in known:
            return 2.0
        alone = _in_latin(beside) or not any(one.lower() in known for one in beside)
        if alone or (char != lower and beside[0] in known):
            return 1.5
        return 0.3 if char != lower and beside[0].lower() in known else 0.1

    return of


def _hebrew(char: str, beside: str) -> float:
    if char not in _everyday()["he"]:
        return 2.0
    return 0.1 if any(one in _everyday()["he"] for one in beside) and not _in_latin(beside) else 1.5


def _in_latin(beside: str) -> bool:
    """Whether a letter stands in a Latin word, where nobody types one of another alphabet."""
    return any(one.isascii() and one.isalpha() for one in beside)


def _thai(char: str, beside: str) -> float:
    """Return the cost in Thai, whose vowel signs and tones stand above and below a letter."""
    if not 0xE01 <= ord(char) <= 0xE5B:
        return 2.0
    hangs = unicodedata.category(char) == "Mn" and not "\u0e01" <= beside[0] <= "\u0e4c"
    if hangs or _in_latin(beside) or not any("\u0e01" <= one <= "\u0e5b" for one in beside):
        return 1.5
    return 0.1 if char in _everyday()["th"] else 0.35


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
    "cp1251": _cased("ru"),
    "koi8_r": _cased("ru"),
    "cp866": _cased("ru"),
    "iso8859_5": _cased("ru"),
    "mac_cyrillic": _cased("ru"),
    "cp1253": _cased("el"),
    "iso8859_7": _cased("el"),
    "cp1250": _latin,
    "iso8859_2": _latin,
    "cp1254": _latin,
    "cp1257": _latin,
    "cp1255": _hebrew,
    "cp874": _thai,
    "utf-16-le": _unicode,
    "utf-16-be": _unicode,
}
OLD = tuple(_COSTS)
"""The encodings that are tried, likelier ones first where two cost the same."""
ALPHABETS = {
    **dict.fromkeys(("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic"), "ru"),
    **dict.fromkeys(("cp1253", "iso8859_7"), "el"),
    "cp1255": "he",
}
"""Encodings of an alphabet of its own, by the language that is mostly written in it."""
LATIN = {
    "cp1252": ("west", "pt", "is", "et"),
    "cp1250": ("pl", "cs", "sk", "hu", "ro", "hr"),
    "iso8859_2": ("pl", "cs", "sk", "hu", "ro", "hr"),
    "cp1254": ("tr",),
    "cp1257": ("lt", "lv", "et"),
}
"""Encodings of Latin letters, with the languages that are written in each; a caption is mostly in one."""
ANYTHING = (*ALPHABETS, *(one for one in LATIN if one != "cp1252"), "cp874", "utf-16-le", "utf-16-be")
"""Those of them that nearly any bytes are text in: they are believed only where the text is a likely one."""
