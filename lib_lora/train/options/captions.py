"""What of a caption is read, and how."""

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
    clip_skip: int = option(
        1, "Clip skip", "Which layer of the text encoder counts, from the end. 2 for many anime models.", low=1, high=32
    )
