"""Options of captions, pictures, regularization and loss that contradict each other, or that nothing could follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_lora.errors import InputError
from lib_lora.host.clip_chunks import CHUNK
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions

LENGTHS = (0, CHUNK, 2 * CHUNK, 3 * CHUNK)
"""Tokens that captions can be cut at, 0 for none: whole passes of a text encoder, as other trainers have them."""


def check_captions(options: TrainOptions) -> None:
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


def check_pictures(options: TrainOptions) -> None:
    """Refuse them.

    Raises:
        InputError: naming the options.
    """
    beside = [name for name in ("images", "reg_images") if getattr(options, name)]
    if options.dataset_config and beside:
        raise InputError(
            "The dataset file says which folders are trained",
            where=", ".join(["dataset_config", *beside]),
            cure="Leave out the folders, or the dataset file.",
        )
    if options.resolution_height and not options.resolution:
        raise InputError(
            "A height needs a width beside it", where="resolution_height", cure="Give resolution as well, or neither."
        )
    if options.bucket_min and options.bucket_max and options.bucket_min > options.bucket_max:
        raise InputError(
            "The shortest side of a bucket is longer than the longest",
            where="bucket_min, bucket_max",
            cure="Leave out both for the usual ones.",
        )


def prompts_of(options: TrainOptions) -> tuple[str, ...]:
    """Return what is drawn, in turn."""
    return tuple(filter(None, map(str.strip, options.reg_prompts))) or (options.class_word.strip(),)


def check_regularization(options: TrainOptions) -> None:
    """Refuse wishes for drawn pictures that contradict others.

    Raises:
        InputError: naming the options.
    """
    if not options.reg_count:
        return
    if options.dataset_config:
        raise InputError(
            "The dataset file says which regularization pictures there are",
            where="dataset_config, reg_count",
            cure="Leave out reg_count, and give the file a subset with is_reg.",
        )
    if not any(prompts_of(options)):
        raise InputError(
            "Nothing says what the regularization pictures show",
            where="reg_count",
            cure="Give reg_prompts or class_word, such as: girl.",
        )


def check_loss(options: TrainOptions) -> None:
    """Refuse what cannot go together.

    Raises:
        InputError: naming the options and what would do.
    """
    if options.min_timestep >= options.max_timestep:
        raise InputError(
            "No timestep lies between {low} and {high}",
            low=options.min_timestep,
            high=options.max_timestep,
            where="min_timestep, max_timestep",
            cure="Make max_timestep the larger one; for a single timestep it is one more.",
        )
    if options.adaptive_noise_scale and not options.noise_offset:
        raise InputError(
            "The adaptive noise offset adds to a noise offset, and there is none",
            where="adaptive_noise_scale",
            cure="Set noise_offset too, such as 0.05, or leave this at 0.",
        )
