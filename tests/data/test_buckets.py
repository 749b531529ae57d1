from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_lora.data.buckets import apply_plan, bucket_sizes, epoch_batches, plan_bucket, plan_fixed
from lib_lora.data.sdxl_sizes import sdxl_sizes
from lib_lora.errors import InputError

SIDES = st.integers(1, 5000)
SIZES = st.tuples(SIDES, SIDES)
STEPS = st.sampled_from([8, 16, 32, 64])


def assert_covers(plan) -> None:
    left, top, right, bottom = plan.crop
    assert left >= 0
    assert top >= 0
    assert right <= plan.resize[0]
    assert bottom <= plan.resize[1]
    assert (right - left, bottom - top) == plan.bucket
    assert abs(left - (plan.resize[0] - right)) <= 1
    assert abs(top - (plan.resize[1] - bottom)) <= 1
    assert 0.0 <= plan.lost < 1.0


def test_sd1_buckets_are_the_published_list() -> None:
    wide = [(448, 576), (384, 640), (320, 704), (320, 768), (256, 832), (256, 896), (256, 960), (256, 1024)]
    assert bucket_sizes(512) == tuple(sorted([*wide, (512, 512), *((b, a) for a, b in wide)]))


def test_the_pocket_model_gets_buckets_with_small_steps() -> None:
    tall = [(64, 192), (64, 224), (64, 256), (96, 160)]
    found = bucket_sizes(128, step=32, min_side=64, max_side=256)
    assert found == tuple(sorted([*tall, (128, 128), *((b, a) for a, b in tall)]))
    assert bucket_sizes(128) == ((128, 128),)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.tuples(st.integers(64, 2048), st.integers(64, 2048)), STEPS)
def test_with_upscale_every_picture_covers_a_bucket_within_the_area(size, resolution, step) -> None:
    plan = plan_bucket(size, resolution, step=step, min_side=step, max_side=2048)
    assert_covers(plan)
    assert plan.bucket[0] % step == 0
    assert plan.bucket[1] % step == 0
    assert plan.bucket[0] * plan.bucket[1] <= resolution[0] * resolution[1]
    assert plan.resize[0] == plan.bucket[0] or plan.resize[1] == plan.bucket[1]


@settings(max_examples=60, deadline=None)
@given(SIZES, STEPS)
def test_with_upscale_no_other_bucket_has_a_nearer_ratio(size, step) -> None:
    options = {"step": step, "min_side": 128, "max_side": 1024}
    chosen = plan_bucket(size, 512, **options).bucket
    if size not in bucket_sizes(512, **options):
        ratio = size[0] / size[1]
        nearest = min(abs(width / height - ratio) for width, height in bucket_sizes(512, **options))
        assert abs(chosen[0] / chosen[1] - ratio) == nearest


@settings(max_examples=120, deadline=None)
@given(SIZES, st.tuples(st.integers(64, 2048), st.integers(64, 2048)), STEPS)
def test_without_upscale_nothing_grows_and_less_than_a_step_is_cut(size, resolution, step) -> None:
    try:
        plan = plan_bucket(size, resolution, step=step, upscale=False)
    except InputError:
        ideal_short_side = math.sqrt(resolution[0] * resolution[1] * min(size) / max(size))
        assert min(size) < step or ideal_short_side < step + 1
        return
    assert_covers(plan)
    area = resolution[0] * resolution[1]
    assert plan.resize[0] <= size[0]
    assert plan.resize[1] <= size[1]
    assert plan.bucket[0] % step == 0
    assert plan.bucket[1] % step == 0
    assert plan.bucket[0] * plan.bucket[1] <= area
    if size[0] * size[1] <= area:
        assert plan.resize == size
        assert plan.bucket == (size[0] // step * step, size[1] // step * step)
    else:
        assert plan.resize[0] == plan.bucket[0] or plan.resize[1] == plan.bucket[1]
    assert plan.resize[0] - plan.bucket[0] < step
    assert plan.resize[1] - plan.bucket[1] < step


@pytest.mark.parametrize(
    ("size", "resize", "bucket"),
    [
        ((1000, 700), (576, 403), (576, 384)),
        ((1024, 1024), (512, 512), (512, 512)),
        ((300, 200), (300, 200), (256, 192)),
        ((1920, 1080), (683, 384), (640, 384)),
        ((1023, 1024), (512, 512), (512, 512)),
    ],
)
def test_without_upscale_known_sizes(size, resize, bucket) -> None:
    plan = plan_bucket(size, 512, upscale=False)
    assert (plan.resize, plan.bucket) == (resize, bucket)


def test_an_exact_bucket_is_taken_untouched() -> None:
    plan = plan_bucket((832, 256), 512)
    assert (plan.resize, plan.bucket, plan.crop, plan.lost) == ((832, 256), (832, 256), (0, 0, 832, 256), 0.0)


def test_wide_picture_is_covered_and_cropped_at_the_centre() -> None:
    plan = plan_fixed((1000, 500), 256)
    assert plan.resize == (512, 256)
    assert plan.crop == (128, 0, 384, 256)
    assert plan.lost == 0.5
    assert plan.loses_much


# Made with sd-scripts' own functions: bucket, size before it was scaled, and (top, left), straight and mirrored.
SDXL_CROPS = [
    ((832, 1216), (832, 1216), (0, 0), (0, 0)),
    ((832, 1216), (1664, 2432), (0, 0), (0, 0)),
    ((832, 1216), (1000, 1500), (0, 10), (0, 11)),
    ((1024, 1024), (1000, 1500), (0, 170), (0, 171)),
    ((1344, 768), (1920, 1080), (6, 0), (6, 0)),
    ((1216, 832), (1000, 700), (0, 13), (0, 14)),
    ((256, 256), (1000, 500), (64, 0), (64, 0)),
]


@pytest.mark.parametrize(("bucket", "size", "straight", "mirrored"), SDXL_CROPS)
def test_sizes_for_sdxl_are_those_of_sd_scripts(bucket, size, straight, mirrored) -> None:
    plan = plan_fixed(size, bucket)
    height, width, *crop, to_height, to_width = sdxl_sizes(plan)
    assert ((width, height), (to_width, to_height)) == (size, bucket)
    assert tuple(crop) == straight
    assert sdxl_sizes(plan, mirrored=True)[2:4] == mirrored


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": (63, 500), "upscale": False},
        {"size": (9000, 90), "upscale": False, "resolution": 256},
        {"size": (0, 5)},
        {"step": 0},
        {"resolution": 32},
        {"min_side": 900, "max_side": 800},
    ],
)
def test_impossible_sizes_are_refused(arguments) -> None:
    with pytest.raises(InputError):
        plan_bucket(**{"size": (600, 600), "resolution": 512, **arguments})


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(16, 90), st.integers(16, 90)), st.booleans())
def test_a_planned_picture_has_the_size_of_its_bucket(size, upscale) -> None:
    plan = plan_bucket(size, 32, step=8, min_side=16, max_side=64, upscale=upscale)
    flat = apply_plan(Image.new("RGB", size, (10, 200, 30)), plan)
    assert flat.size == plan.bucket
    assert np.all(np.asarray(flat) == (10, 200, 30))


def test_shrinking_takes_area_means_and_growing_takes_lanczos() -> None:
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    means = values.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.array_equal(np.asarray(apply_plan(picture, plan_fixed((32, 32), 16))), np.floor(means + 0.5))
    grown = apply_plan(picture, plan_fixed((32, 32), 48))
    assert np.array_equal(np.asarray(grown), np.asarray(picture.resize((48, 48), Image.Resampling.LANCZOS)))


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="changed"):
        apply_plan(Image.new("RGB", (10, 10)), plan_fixed((11, 10), 8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([(64, 64), (64, 128), (128, 64)]), st.integers(0, 5))), st.integers(1, 7))
def test_batches_never_mix_buckets_and_lose_no_draw(rows, batch_size) -> None:
    buckets, repeats = [row[0] for row in rows], [row[1] for row in rows]
    batches = epoch_batches(buckets, repeats, batch_size=batch_size, seed=3, epoch=1)
    drawn = Counter(index for batch in batches for index in batch.indices)
    assert drawn == Counter({index: count for index, count in enumerate(repeats) if count})
    assert all(buckets[index] == batch.bucket for batch in batches for index in batch.indices)
    totals = Counter()
    for bucket, count in rows:
        totals[bucket] += count
    assert len(batches) == sum(-(-count // batch_size) for count in totals.values())
    assert batches == epoch_batches(buckets, repeats, batch_size=batch_size, seed=3, epoch=1)


def test_epochs_are_shuffled_differently() -> None:
    first, second = (epoch_batches([(8, 8)] * 20, [1] * 20, batch_size=4, seed=0, epoch=e) for e in (1, 2))
    assert first != second
