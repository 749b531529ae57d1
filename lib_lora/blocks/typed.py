"""What keyboards and web pages put into a text: full-width signs, and characters that nobody sees."""

from __future__ import annotations

import re

_HALF = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0x3001: 0x2C, 0x301C: 0x7E}
_HALF |= dict.fromkeys([*range(0x2010, 0x2015), 0x2212], 0x2D)  # dashes that editors put in place of -
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF]
)
"""Zero-width spaces, marks of direction, soft hyphens, byte order marks; joiners, which emoji need, are not in it."""


def half_width(text: str) -> str:
    """Return ``text`` with full-width ASCII, 、 and 〜 in half width, dashes as -; all else and all places stay."""
    return text.translate(_HALF)


def without_invisible(text: str) -> str:
    """Return ``text`` without the characters that nobody sees and that mean nothing."""
    return text.translate(_INVISIBLE)


def as_words(text: str) -> str:
    """Return a caption's text as a prompt that means these letters: brackets weigh words there, unless escaped."""
    return re.sub(r"(?<!\\)[()\[\]]", r"\\\g<0>", text)


def without_comments(prompt: str) -> str:
    """Return a prompt with spaces in place of its comments, from ``#`` to the end of a line, as the WebUI has them."""
    return re.sub(r"#[^\n]*", lambda comment: " " * len(comment.group()), prompt)
