"""What one order may ask for at most, wherever it comes from: terminal, page, REST."""

from __future__ import annotations

from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest

SIDE = 4096
STEPS = 1000
LARGEST_SEED = 2**32 - 1
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
    check_prompt(request.prompt, "prompt")
    check_prompt(request.negative, "negative")
    width, height = request.width or native_side, request.height or native_side
    if max(width, height) > SIDE or request.steps > STEPS:
        raise InputError(
            f"A picture of {width} x {height} px in {request.steps} steps is too large an order",
            where="size",
            cure=f"At most {SIDE} px a side and {STEPS} steps.",
        )
    most = min(PIXELS // (width * height), WORK // (width * height * max(1, request.steps)))
    if pictures > most:
        raise InputError(
            f"{pictures} pictures of {width} x {height} px are too large an order",
            where="size",
            cure=f"At most {most} pictures of this size and these steps: take fewer seeds, blocks or ranges.",
        )


def check_prompt(text: str, where: str) -> None:
    """Refuse a prompt that is no prompt any more.

    Raises:
        InputError: with how many characters it has and may have.
    """
    if len(text) > LETTERS:
        what = f"A prompt of {len(text)} characters is too long"
        raise InputError(what, where=where, cure=f"At most {LETTERS} characters.")
