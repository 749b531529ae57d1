"""The demo draws many captions in one pass; each picture is the one that `generate` draws alone."""

from __future__ import annotations

import numpy as np

from lib_lora.demo import settings as use
from lib_lora.demo.regularization import draw_each
from lib_lora.host.base import GenerateRequest
from lib_lora.progress import QUIET
from tests.told import Told

CAPTIONS = ["red apple, blue background", "cat face, white background"]


def test_a_pass_of_captions_draws_what_generate_draws(studio, monkeypatch):
    monkeypatch.setattr(use, "REGULARIZATION_STEPS", 3)
    for number, picture in draw_each(studio, CAPTIONS, QUIET):
        request = GenerateRequest(CAPTIONS[number], seed=number, steps=3, cfg_scale=use.CFG, sampler="euler")
        alone = studio.generate(request).images[0]
        assert np.abs(np.asarray(picture, int) - np.asarray(alone, int)).max() <= 1


def test_drawing_ends_where_it_is_told_to(studio, monkeypatch):
    monkeypatch.setattr(use, "REGULARIZATION_STEPS", 1)
    progress = Told(stop_at=1)
    assert list(draw_each(studio, CAPTIONS, progress)) == []
