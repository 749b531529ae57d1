"""A picture of numbers that are none is said, drawn alone or with others; so is what a prompt of several means."""

from __future__ import annotations

import pytest
import torch

from lib_lora.host.base import GenerateRequest
from lib_lora.host.in_groups import Wish
from lib_lora.host.studio import StudioHost
from lib_lora.host.studio.several import Several
from lib_lora.progress import Progress

REQUEST = GenerateRequest("red apple", seed=1, steps=1, width=64, height=64)
WISHES = [Wish("red apple", 1), Wish("red pear", 2)]


@pytest.fixture
def broken(studio: StudioHost, monkeypatch: pytest.MonkeyPatch) -> StudioHost:
    """A studio whose autoencoder fails for every second picture."""
    decode, count = studio.model.decode, iter(range(99))

    def half(latents: torch.Tensor) -> torch.Tensor:
        pixels = decode(latents)
        return pixels * float("nan") if next(count) % 2 else pixels

    monkeypatch.setattr(studio.model, "decode", half)
    return studio


def test_a_spoilt_picture_of_one_prompt_is_said_and_black(broken: StudioHost) -> None:
    made = broken.generate(GenerateRequest("red apple", seed=1, steps=1, width=64, height=64, batch=2))
    assert [note for note in made.notes if note.startswith("1 picture is no picture")]
    assert made.images[1].getextrema() == ((0, 0),) * 3


def test_a_spoilt_picture_among_several_prompts_is_said(broken: StudioHost) -> None:
    assert Several.of(broken, REQUEST, WISHES) is not None
    (made,) = broken.generate_each(REQUEST, WISHES, Progress())
    assert [note for note in made.notes if note.startswith("1 picture is no picture")]


def test_several_prompts_say_what_each_alone_would(studio: StudioHost) -> None:
    wishes = [Wish("embedding:easy, apple", 1), Wish("embedding:easy, pear", 2)]
    assert Several.of(studio, REQUEST, wishes) is not None
    (made,) = studio.generate_each(REQUEST, wishes, Progress())
    alone = {note for wish in wishes for note in studio.generate(wish.of(REQUEST)).notes}
    assert alone
    assert set(made.notes) == alone
