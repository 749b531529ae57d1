"""What SDXL is told of a picture beside its caption: how large it was, and what was cut from it."""

from __future__ import annotations

from lib_lora.data.buckets import BucketPlan


def sdxl_sizes(plan: BucketPlan, *, mirrored: bool = False) -> tuple[int, int, int, int, int, int]:
    """Return SDXL's size conditions: original height, width, crop top, left, target height, width.

    Top and left are counted as sd-scripts counts them, with which most of today's SDXL models were made: the margin
    that the whole picture would leave if it were fitted *into* the bucket. (The paper, arXiv:2307.01952, section
    2.2, counts what is cut from the picture that covers it.) Both are 0 where the picture has the bucket's ratio.
    """
    (width, height), (across, down) = plan.size, plan.bucket
    ratio = width / height
    inner = (down * ratio, down) if across / down > ratio else (across, across / ratio)
    left, top = (across - inner[0]) // 2, (down - inner[1]) // 2
    left = across - (left + inner[0]) if mirrored else left
    return height, width, int(top), int(left), down, across
