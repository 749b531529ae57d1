"""Buckets: which size a picture is trained at, how it gets there, and how buckets become batches."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from lib_lora.data.pixels import shrink_by_area
from lib_lora.errors import InputError
from lib_lora.sentences import say

Size = tuple[int, int]  # width, height in pixels
CROP_WARNING = 0.25  # share of a resized picture


@dataclass(frozen=True)
class BucketPlan:
    """How a picture reaches its bucket: resize `size` to `resize`, then cut `crop` (left, top, right, bottom).

    `lost` is the share of the resized picture that the crop cuts away, 0..1. All sizes are (width, height).
    """

    size: Size
    bucket: Size
    resize: Size
    crop: tuple[int, int, int, int]
    lost: float

    @property
    def loses_much(self) -> bool:
        """Whether the crop cuts away more than a quarter, which a person should see before training."""
        return self.lost > CROP_WARNING


@dataclass(frozen=True)
class Batch:
    """Pictures drawn together: one bucket, and their indices in the list that the batches were made of."""

    bucket: Size
    indices: tuple[int, ...]


def bucket_sizes(
    resolution: int | Size, *, step: int = 64, min_side: int = 256, max_side: int = 1024
) -> tuple[Size, ...]:
    """Return all buckets of at most the resolution's area, sorted: the square, and for each side its largest partner.

    A `min_side` above the resolution leaves only the square. Raises InputError if no multiple of `step` fits.
    """
    area = _checked_area(resolution, step=step)
    if not 0 < min_side <= max_side:
        raise InputError(
            "The smallest side must be at least 1 and not above the largest",
            where=say("{low} to {high}", low=min_side, high=max_side),
        )
    square = math.isqrt(area) // step * step
    found = {(square, square)}
    highest = max_side // step * step
    for width in range(-(-min_side // step) * step, highest + 1, step):
        height = min(highest, area // width // step * step)
        if height >= min_side:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def plan_bucket(
    size: Size,
    resolution: int | Size,
    *,
    step: int = 64,
    min_side: int = 256,
    max_side: int = 1024,
    upscale: bool = True,
) -> BucketPlan:
    """Choose the bucket of a picture of `size` and say how it gets there.

    With `upscale`, the bucket of the nearest ratio out of `bucket_sizes` is covered and cropped at the center. Without,
    a picture is only ever made smaller, to the resolution's area, and cut down to whole steps; `min_side` and
    `max_side` then play no part. Raises InputError if a side would be shorter than one step.
    """
    _check_size(size)
    if not upscale:
        return _plan_without_upscale(size, _checked_area(resolution, step=step), step=step)
    sizes = bucket_sizes(resolution, step=step, min_side=min_side, max_side=max_side)
    if size in sizes:
        return _plan(size, bucket=size, resize=size)
    ratio = size[0] / size[1]
    bucket = min(sizes, key=lambda each: (abs(each[0] / each[1] - ratio), -each[0] * each[1]))
    return plan_fixed(size, bucket)


def plan_fixed(size: Size, target: int | Size) -> BucketPlan:
    """Plan for one fixed size (buckets off): scale so that the target is just covered, then crop at the center."""
    _check_size(size)
    target = (target, target) if isinstance(target, int) else target
    _check_size(target)
    (width, height), (to_width, to_height) = size, target
    if width * to_height > to_width * height:
        resize = (max(to_width, _divide(width * to_height, height)), to_height)
    else:
        resize = (to_width, max(to_height, _divide(height * to_width, width)))
    return _plan(size, bucket=target, resize=resize)


def apply_plan(picture: Image.Image, plan: BucketPlan) -> Image.Image:
    """Return the picture as its bucket wants it: Lanczos when it grows, exact area means when it shrinks, then cut.

    Raises InputError if the picture is not of the size that the plan was made for.
    """
    if picture.size != plan.size:
        where = say(
            "{a} x {b} instead of {c} x {d}", a=picture.size[0], b=picture.size[1], c=plan.size[0], d=plan.size[1]
        )
        raise InputError("The picture changed since its bucket was planned", where=where, cure="Start it again.")
    if plan.resize[0] * plan.resize[1] > plan.size[0] * plan.size[1]:
        picture = picture.resize(plan.resize, Image.Resampling.LANCZOS)
    elif plan.resize != plan.size:
        picture = shrink_by_area(picture, plan.resize)
    return picture.crop(plan.crop)


def parts_of(plan: BucketPlan) -> tuple[tuple[int, int, int, int], ...]:
    """Return boxes (left, top, right, bottom) of the bucket's ratio that together hold all of the picture.

    They are as large as the plan's crop, as few as can be, and evenly spread from one end to the other, in px of the
    picture itself. One box where the crop cuts away nothing.
    """
    scales = [plan.resize[axis] / plan.size[axis] for axis in (0, 1)]
    window = [min(plan.size[axis], round(plan.bucket[axis] / scales[axis])) for axis in (0, 1)]
    counts = [-(-plan.size[axis] // window[axis]) for axis in (0, 1)]
    starts = [
        [round((plan.size[axis] - window[axis]) * n / max(1, counts[axis] - 1)) for n in range(counts[axis])]
        for axis in (0, 1)
    ]
    return tuple((x, y, x + window[0], y + window[1]) for y in starts[1] for x in starts[0])


def epoch_batches(
    buckets: Sequence[Size], repeats: Sequence[int], *, batch_size: int, seed: int, epoch: int
) -> tuple[Batch, ...]:
    """Draw one epoch: picture i comes `repeats[i]` times, no batch mixes buckets, each bucket's last may be short.

    The order depends on `seed + epoch` only. The number of batches is the sum over buckets of ⌈draws / batch_size⌉.
    """
    if batch_size < 1:
        raise InputError("The batch size must be at least 1", where=str(batch_size))
    rng = random.Random(seed + epoch)
    draws: dict[Size, list[int]] = {}
    for index, (bucket, count) in enumerate(zip(buckets, repeats, strict=True)):
        draws.setdefault(bucket, []).extend([index] * count)
    batches = []
    for bucket in sorted(draws):
        order = draws[bucket]
        rng.shuffle(order)
        for start in range(0, len(order), batch_size):
            batches.append(Batch(bucket=bucket, indices=tuple(order[start : start + batch_size])))
    rng.shuffle(batches)
    return tuple(batches)


def batch_count(buckets: Sequence[Size], repeats: Sequence[int], *, batch_size: int) -> int:
    """Return how many batches `epoch_batches` draws, without drawing them."""
    draws: Counter[Size] = Counter()
    for bucket, count in zip(buckets, repeats, strict=True):
        draws[bucket] += count
    return sum(-(-count // batch_size) for count in draws.values())


def _plan_without_upscale(size: Size, area: int, *, step: int) -> BucketPlan:
    resize = size if size[0] * size[1] <= area else _shrunk(size, area, step=step)
    bucket = (resize[0] // step * step, resize[1] // step * step) if resize else (0, 0)
    if resize is None or 0 in bucket:
        what = say("The picture would be shorter than one step of {n} pixels", n=step)
        raise InputError(
            what,
            where=say("{width} x {height}", width=size[0], height=size[1]),
            cure="Use a larger picture, or allow enlarging.",
        )
    return _plan(size, bucket=bucket, resize=resize)


def _shrunk(size: Size, area: int, *, step: int) -> Size | None:
    """Resize to about `area`, one side a whole number of steps: the side whose bucket keeps the ratio better."""
    ratio = size[0] / size[1]
    ideal_width, ideal_height = math.sqrt(area * ratio), math.sqrt(area / ratio)
    # Rounding up by half a pixel may exceed the area by a hair; then one step less is the honest choice.
    for less in (0, step):
        width = int(ideal_width + 0.5) // step * step - less
        height = int(ideal_height + 0.5) // step * step - less
        by_width = (width, _divide(width * size[1], size[0]))
        by_height = (_divide(height * size[0], size[1]), height)
        fitting = []
        for resize in (by_height, by_width):  # the first wins a tie
            bucket = (resize[0] // step * step, resize[1] // step * step)
            if min(bucket) > 0 and bucket[0] * bucket[1] <= area:
                fitting.append((abs(bucket[0] / bucket[1] - ratio), resize))
        if fitting:
            return min(fitting, key=lambda each: each[0])[1]
    return None


def _plan(size: Size, *, bucket: Size, resize: Size) -> BucketPlan:
    left, top = (resize[0] - bucket[0]) // 2, (resize[1] - bucket[1]) // 2
    lost = 1.0 - (bucket[0] * bucket[1]) / (resize[0] * resize[1])
    crop = (left, top, left + bucket[0], top + bucket[1])
    return BucketPlan(size=size, bucket=bucket, resize=resize, crop=crop, lost=lost)


def _divide(number: int, by: int) -> int:
    """Divide whole numbers, rounding halves up, free of floating point."""
    return (2 * number + by) // (2 * by)


def _check_size(size: Size) -> None:
    if size[0] < 1 or size[1] < 1:
        raise InputError(
            "A picture needs at least one pixel", where=say("{width} x {height}", width=size[0], height=size[1])
        )


def _checked_area(resolution: int | Size, *, step: int) -> int:
    width, height = (resolution, resolution) if isinstance(resolution, int) else resolution
    if step < 1:
        raise InputError("The bucket step must be at least 1", where=str(step), cure="64 is usual.")
    if width < 1 or height < 1 or width * height < step * step:
        cure = say("Raise the resolution or lower the step.")
        raise InputError(
            "The resolution is smaller than one bucket step",
            where=say("{width} x {height}, {step}", width=width, height=height, step=step),
            cure=cure,
        )
    return width * height
