"""What of a caption is read, and how.

The names are those of sd-scripts where it has the option, without ``_rate`` and ``_n``: `caption_dropout_every_epochs`
is its ``caption_dropout_every_n_epochs``; ``wildcards`` is ``enable_wildcard``, ``max_tokens`` ``max_token_length``.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option


@dataclass(frozen=True)
class CaptionOptions:
    """See `TrainOptions`."""

    class_word: str = option("", "Class word", "What it is in general, e.g. girl; used where a picture has no caption.")
    shuffle_caption: bool = option(
        False, "Shuffle tags", "The order of tags changes every time, so that no tag depends on its place."
    )
    keep_tokens: int = option(
        1, "Keep first tags", "So many tags in front stay in place when tags are shuffled.", low=0, high=1000
    )
    caption_dropout: float = option(0.0, "Empty captions", "Share of steps without a caption, 0 to 1.", low=0, high=1)
    tag_dropout: float = option(0.0, "Tags left out", "Share of tags left out each time, 0 to 1.", low=0, high=1)
    caption_dropout_every_epochs: int = option(
        0, "Empty epochs", "Every so many epochs all captions are empty; 0 is never.", low=0, high=100_000
    )
    token_warmup_steps: float = option(
        0.0,
        "Tags grow over",
        "Captions begin with few tags and have all of them after so many steps; below 1 a share of the run, 0 is off.",
        low=0,
        high=1_000_000,
    )
    token_warmup_min: int = option(1, "Tags at first", "So many tags captions begin with.", low=0, high=1000)
    caption_prefix: str = option(
        "", "Before captions", "Put before every caption with a blank between; a comma must be written with it."
    )
    caption_suffix: str = option(
        "", "After captions", "Put behind every caption with a blank between; a comma must be written with it."
    )
    caption_separator: str = option(",", "Tag separator", "What stands between the tags of a caption.")
    secondary_separator: str = option(
        "",
        "Inner separator",
        "Tags joined by it, as in a;b, are shuffled and left out as one; then it becomes the tag separator.",
    )
    keep_tokens_separator: str = option(
        "", "Keep mark", "Tags before this mark, such as |||, stay in front, and those behind a second one at the end."
    )
    wildcards: bool = option(
        False, "Choices in captions", "{a|b} draws one of them each time, and of several lines one is drawn."
    )
    weighted_captions: bool = option(
        False, "Weights in captions", "(tag:1.2), ((tag)) and [tag] weigh words as in a prompt; else they are letters."
    )
    max_tokens: int = option(
        0, "Longest caption", "Tokens of a caption that are read: 75, 150 or 225; 0 reads all of it.", low=0, high=225
    )
    clip_skip: int = option(
        1, "Clip skip", "Which layer of the text encoder counts, from the end. 2 for many anime models.", low=1, high=32
    )
