"""What one order may ask for at most beside the bounds of each option, wherever it comes from."""

from __future__ import annotations

from lib_lora.errors import InputError
from lib_lora.host.request import GenerateRequest
from lib_lora.sentences import say

PIXELS = 4_000_000_000
"""Pixels of all pictures of an order together: they are kept until it ends, 12 GB of them."""
LETTERS = 10_000
"""Characters of a prompt: some 40 chunks of tokens."""
WORK = 10**13
"""Pixels times steps: weeks on a fast GPU."""


def check_order(request: GenerateRequest, pictures: int, *, native_side: int) -> None:
    """Refuse an order that could not end, or for which no memory is enough.

    Args:
        request: size and steps of each picture.
        pictures: how many.
        native_side: side in pixels where the request names none.

    Raises:
        InputError: it is too large; the cure says how many pictures of this size and these steps are not.
    """
    check_prompt(request.prompt, say("prompt"))
    check_prompt(request.negative, say("negative"))
    width, height = request.width or native_side, request.height or native_side
    size = say("{width} x {height}", width=width, height=height)
    most = min(PIXELS // (width * height), WORK // (width * height * max(1, request.steps)))
    if pictures > most:
        raise InputError(
            say("{n} pictures of {size} px are too large an order", n=pictures, size=size),
            where=say("size"),
            cure="At most {n} pictures of this size and these steps: take fewer seeds, blocks or ranges.",
            n=most,
        )


def check_prompt(text: str, where: str) -> None:
    """Refuse a prompt that is no prompt any more.

    Raises:
        InputError: with how many characters it has and may have.
    """
    if len(text) > LETTERS:
        what = say("A prompt of {n} characters is too long", n=len(text))
        raise InputError(what, where=where, cure="At most {n} characters.", n=LETTERS)
