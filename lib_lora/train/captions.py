"""Captions in a training: the trigger word in front, the rules and the layout that the options say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lib_lora.data.captions import CaptionRules
from lib_lora.data.dataset import Picture
from lib_lora.data.tag_lines import CaptionReading, lines_of, plain_commas, split_tags, trained_line
from lib_lora.errors import InputError
from lib_lora.host.base import Conditioning, LoadedModel
from lib_lora.host.caption_layout import CaptionLayout
from lib_lora.host.prompt.emphasis import PromptError, read_emphasis
from lib_lora.train.options import TrainOptions


def full_caption(picture: Picture, options: TrainOptions) -> str:
    """Return what is trained of a caption, trigger word in front; without a caption the trigger and its class word.

    It is one line, or with choices each line that says something.
    """
    lines = lines_of(picture.caption) if options.wildcards else [trained_line(picture.caption)]
    return "\n".join(_with_trigger(line, picture, options) for line in lines or [""])


def _with_trigger(line: str, picture: Picture, options: TrainOptions) -> str:
    text = plain_commas(line) if options.caption_separator == "," else line
    if picture.is_reg:
        return text
    joint = f"{options.caption_separator} "
    if not text or text == options.class_word:
        return joint.join(part for part in (options.trigger, options.class_word) if part)
    tags = split_tags(text, options.caption_separator)
    return joint.join([*(one for one in split_tags(options.trigger) if one not in tags), text])


def rules_of(options: TrainOptions) -> CaptionRules:
    """Return what the options say about captions."""
    return CaptionRules(
        shuffle=options.shuffle_caption,
        keep_tokens=options.keep_tokens,
        keep_separator=options.keep_tokens_separator,
        dropout=options.caption_dropout,
        dropout_every_epochs=options.caption_dropout_every_epochs,
        tag_dropout=options.tag_dropout,
        warmup_min=options.token_warmup_min,
        warmup_steps=options.token_warmup_steps,
        prefix=options.caption_prefix,
        suffix=options.caption_suffix,
        separator=options.caption_separator,
        secondary_separator=options.secondary_separator,
        wildcards=options.wildcards,
    )


def layout_of(options: TrainOptions) -> CaptionLayout:
    """Return how the options have captions turned into tokens."""
    return CaptionLayout(weighted=options.weighted_captions, longest=options.max_tokens)


def reading_of(options: TrainOptions) -> CaptionReading:
    """Return what of a caption is more than letters."""
    return CaptionReading(weights=options.weighted_captions, choices=options.wildcards)


def encode_captions(model: LoadedModel, options: TrainOptions, captions: Sequence[str]) -> Conditioning:
    """Return the conditioning of captions as the options have them read."""
    return model.encode_text(captions, options.clip_skip, layout_of(options))


def caption_lengths(model: LoadedModel, options: TrainOptions, pictures: Sequence[Picture]) -> list[int]:
    """Return the places that the tokens of each picture's longest caption need.

    Raises:
        InputError: a weight in a caption is no number.
    """
    layout = layout_of(options)
    own = [replace(options, **dict(picture.own)) if picture.own else options for picture in pictures]
    pairs = zip(pictures, own, strict=True)
    longest = [rules_of(one).longest(full_caption(picture, one)) for picture, one in pairs]
    try:
        return model.count_tokens(longest, layout)
    except PromptError as error:
        raise InputError(error.what, where=_place(pictures, longest), cure=error.cure) from error


def _place(pictures: Sequence[Picture], captions: Sequence[str]) -> str:
    """Return the first picture whose caption cannot be read."""
    for picture, caption in zip(pictures, captions, strict=True):
        try:
            read_emphasis(caption)
        except PromptError:
            return str(picture.path)
    return ""
