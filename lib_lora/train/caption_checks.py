"""Options of captions that contradict each other, or that no caption could follow."""

from __future__ import annotations

from lib_lora.errors import InputError
from lib_lora.host.clip_chunks import CHUNK
from lib_lora.sentences import say
from lib_lora.train.options.captions import CaptionOptions

LENGTHS = (0, CHUNK, 2 * CHUNK, 3 * CHUNK)
"""Tokens that captions can be cut at, 0 for none: whole passes of a text encoder, as other trainers have them."""


def check_captions(options: CaptionOptions) -> None:
    """Refuse them.

    Raises:
        InputError: naming the option.
    """
    if options.max_tokens not in LENGTHS:
        raise InputError(
            "Captions cannot be cut at {n} tokens",
            n=options.max_tokens,
            where="max_tokens",
            cure=say("Choose one of: {names}.", names=LENGTHS),
        )
    if not options.caption_separator.strip():
        raise InputError("Tags need a separator", where="caption_separator", cure="Usually a comma.")
    if options.secondary_separator and options.secondary_separator == options.caption_separator:
        raise InputError(
            "The inner separator is the tag separator itself",
            where="secondary_separator",
            cure="Give another sign, such as a semicolon.",
        )
    mark, separator = options.keep_tokens_separator, options.caption_separator
    if mark and (separator in mark or mark in separator):
        raise InputError(
            "The keep mark “{mark}” and the tag separator are one in the other",
            mark=mark,
            where="keep_tokens_separator",
            cure="Give another mark, such as |||.",
        )
    if options.wildcards and mark and "{" in mark + separator:
        raise InputError(
            "A brace separates tags, and choices are written in braces",
            where="wildcards",
            cure="Give another mark, such as |||.",
        )
