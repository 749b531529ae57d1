"""Limits of a training follow from the model that is loaded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lib_lora.data.sdxl_sizes import sdxl_sizes
from lib_lora.errors import InputError
from lib_lora.train.options import from_mapping
from lib_lora.train.training_set import bucket_limits, plan_for


def model(side: int) -> SimpleNamespace:
    return SimpleNamespace(native_side=side, pixels_per_latent=8)


def options(**changes):
    return from_mapping({"images": "x", "name": "y", **changes}, where="test")


@pytest.mark.parametrize(
    ("side", "resolution", "limits"),
    [
        (512, 0, (256, 1024)),
        (768, 0, (256, 1536)),
        (1024, 0, (256, 2048)),
        (128, 0, (64, 256)),
        (512, 1536, (256, 1536)),
    ],
)
def test_bucket_limits_follow_the_side_that_the_model_was_made_for(side, resolution, limits):
    assert bucket_limits(model(side), options(resolution=resolution)) == limits


@pytest.mark.parametrize("size", [(832, 1216), (1216, 832), (640, 1536), (1024, 1024), (1344, 768), (512, 2048)])
def test_a_picture_of_a_usual_sdxl_size_stays_as_it_is(size):
    plan = plan_for(size, model(1024), options())
    assert (plan.resize, plan.bucket, plan.lost) == (size, size, 0.0)
    assert sdxl_sizes(plan) == (size[1], size[0], 0, 0, size[1], size[0])


def test_a_small_model_keeps_its_finer_steps_and_a_step_that_cuts_latents_is_refused():
    assert plan_for((96, 160), model(128), options()).bucket == (96, 160)
    with pytest.raises(InputError, match="bucket step of 60 px"):
        plan_for((512, 512), model(512), options(bucket_step=60))
