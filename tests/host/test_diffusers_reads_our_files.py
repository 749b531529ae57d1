"""A LoRA file of ours in diffusers' own loader: every key is used, and the picture is the same."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

from lib_lora.formats.lora import write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio.sampling import SAMPLERS
from tests.conftest import random_lora


@pytest.fixture(scope="module", params=[False, True], ids=["lora", "locon"])
def written(request, studio, tmp_path_factory):
    lora = random_lora(studio.model, conv=request.param, size=0.1)
    path = write_lora(lora, tmp_path_factory.mktemp("lora") / "ours.safetensors", dtype=torch.float16)
    studio.lora_folders = (path.parent,)
    return path, lora


def test_diffusers_uses_every_key_and_makes_the_same_picture(studio, written):
    path, lora = written
    model = studio.model
    pipe = StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=copy.deepcopy(model.text_encoders[0]),
        tokenizer=model.tokenizer,
        unet=copy.deepcopy(model.unet),
        scheduler=SAMPLERS["euler"](model.prediction_type, model.noise),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    assert isinstance(pipe.scheduler, EulerDiscreteScheduler)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    for prefix, part in (("lora_unet_", pipe.unet), ("lora_te_", pipe.text_encoder)):
        wrapped = {name.split(".lora_A")[0] for name, _ in part.named_parameters() if ".lora_A." in name}
        assert len(wrapped) == sum(key.startswith(prefix) for key in lora.adapters)
    noise = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(5))[None]
    there = pipe("red apple", num_inference_steps=5, guidance_scale=4.0, latents=noise, height=128, width=128)
    here = studio.generate(GenerateRequest("red apple <lora:ours:1>", seed=5, steps=5, cfg_scale=4.0))
    plain = studio.generate(GenerateRequest("red apple", seed=5, steps=5, cfg_scale=4.0))
    one, two, without = (np.asarray(r.images[0], dtype=np.int16) for r in (there, here, plain))
    assert np.abs(two - without).mean() > 1
    assert np.abs(one - two).max() <= 4
