"""Prompts in the studio: emphasis, BREAK, prompt editing, alternation and AND, as pictures and as conditioning."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lib_lora.host.base import Conditioning, GenerateRequest
from lib_lora.host.prompt.schedule import Moment
from lib_lora.host.studio.guidance import Guidance, Scheduled
from lib_lora.host.studio.text import emphasized

REQUEST = GenerateRequest("red apple", seed=3, steps=4)


def picture(studio, prompt, **changes):
    made = studio.generate(replace(REQUEST, prompt=prompt, **changes))
    return np.asarray(made.images[0], dtype=np.int16)


def encoded(model, text):
    (made,) = model.encode_prompts([text], [1])
    return made.tokens


def test_words_without_signs_are_what_a_caption_is(model):
    for text in ("red apple, blue background", "", "a, " * 100 + "cat"):
        assert torch.equal(encoded(model, text), model.encode_text([text]).tokens)


def test_emphasis_multiplies_the_states_of_its_words_and_keeps_the_mean(model):
    plain, strong = encoded(model, "red apple"), encoded(model, "red (apple:1.5)")
    weights = torch.ones(1, 77, 1)
    weights[0, 2] = 1.5  # the start, red, apple
    wanted = plain * weights
    wanted = wanted * (plain.mean() / wanted.mean())
    torch.testing.assert_close(strong, wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(strong, plain, atol=1e-2)
    torch.testing.assert_close(encoded(model, "((red)) [apple] (cat)"), encoded(model, r"(red:1.21) [apple] (cat:1.1)"))
    assert torch.equal(encoded(model, r"\(red\)"), model.encode_text(["(red)"]).tokens)


def test_break_begins_a_new_chunk(model):
    made = encoded(model, "red apple BREAK cat")
    parts = torch.cat([model.encode_text([text]).tokens for text in ("red apple", "cat")], dim=1)
    torch.testing.assert_close(made, parts)


def test_the_texts_of_a_schedule_share_one_mean():
    states = torch.tensor([1.0, 3.0]).reshape(2, 1, 1).expand(2, 77, 4)
    weights = torch.ones(2, 1, 77)
    weights[0] = 2.0
    made = emphasized(states, weights, torch.tensor([0.5, 0.5]), copies=1)
    # the mean of both is 2 before and 2.5 after: what the WebUI brings back is the mean of the whole batch
    assert made[:, 0, 0].tolist() == pytest.approx([2 * 2 / 2.5, 3 * 2 / 2.5])


def test_prompt_editing_renders_its_texts_one_after_the_other(studio):
    assert np.array_equal(picture(studio, "[red:blue:9] apple"), picture(studio, "red apple"))
    assert np.array_equal(picture(studio, "[red:blue:0] apple"), picture(studio, "blue apple"))
    edited = picture(studio, "[red:blue:1] apple")
    assert not np.array_equal(edited, picture(studio, "red apple"))
    assert not np.array_equal(edited, picture(studio, "blue apple"))
    assert np.array_equal(edited, picture(studio, "[red:blue:0.25] apple"))
    assert not np.array_equal(picture(studio, "[red|blue] apple"), edited)
    assert np.array_equal(picture(studio, "[red|red] apple"), picture(studio, "red apple"))


def test_a_second_order_sampler_counts_its_calls(studio):
    """Share and number mean the denoiser's calls, two a step, as in the WebUI."""
    four, half = (picture(studio, f"[red:blue:{when}] apple", sampler="heun") for when in ("4", "0.5"))
    assert np.array_equal(four, half)


def test_a_weight_of_nothing_and_of_one_with_and(studio):
    alone = picture(studio, "red apple")
    assert np.abs(picture(studio, "red apple AND blue cat:0") - alone).max() <= 1
    assert np.abs(picture(studio, "red apple:0.5 AND red apple:0.5") - alone).max() <= 1
    assert np.abs(picture(studio, "red apple AND blue cat") - alone).max() > 8
    assert np.abs(picture(studio, "red apple:2") - picture(studio, "red apple", cfg_scale=8.0)).max() <= 1


def test_and_is_a_word_in_the_negative_prompt(studio):
    one, two = (picture(studio, "red apple", negative=text) for text in ("cat AND dog", "cat and dog"))
    assert np.array_equal(one, two)


def scheduled(value, *, length=77, weight=1.0):
    return Scheduled((Moment(9, ""),), (Conditioning(torch.full((1, length, 2), value)),), weight)


@pytest.mark.parametrize(("apart", "calls"), [(False, [9]), (True, [3, 3, 3])])
def test_guidance_is_the_weighted_sum_of_differences(apart, calls):
    seen = []

    def predict(latents, timesteps, cond):
        seen.append(len(latents))
        assert len(cond.tokens) == len(timesteps) == len(latents)
        return latents * 0 + cond.tokens[:, 0, :1].reshape(-1, 1, 1, 1)

    latents = torch.zeros(3, 4, 2, 2)
    prompts = (scheduled(5.0, weight=0.5), scheduled(2.0, weight=-1.0))
    guidance = Guidance(predict, scheduled(1.0), prompts, scale=4.0, apart=apart)
    assert torch.all(guidance(latents, torch.tensor(1), 0) == 1 + 4 * (0.5 * (5 - 1) - 1 * (2 - 1)))
    assert seen == calls


def test_a_longer_prompt_does_not_lengthen_the_negative_one():
    seen = []

    def predict(latents, timesteps, cond):
        seen.append(tuple(cond.tokens.shape))
        return latents

    guidance = Guidance(predict, scheduled(1.0), (scheduled(2.0, length=154), scheduled(2.0)), scale=4.0)
    guidance(torch.zeros(3, 4, 2, 2), torch.tensor(1), 0)
    assert seen == [(3, 77, 2), (6, 154, 2)]


def test_each_text_of_a_schedule_is_encoded_once(model):
    asked = []

    def encode(texts, counts):
        asked.append((texts, counts))
        return model.encode_prompts(texts, counts)

    made = Scheduled.of("[a|b] cat", 20, encode)
    assert asked == [(("a cat", "b cat"), (10, 10))]
    assert len(made.conditions) == 20


def test_analysis_and_emphasis_meet(studio, lora, tmp_path):
    """Per-picture weights in the text encoder go with per-token weights of the prompt."""
    from lib_lora.blocks.layouts import full_layout
    from lib_lora.blocks.weights import BlockWeights
    from lib_lora.formats.lora import write_lora

    write_lora(lora, tmp_path / "one.safetensors")
    host = replace(studio, lora_folders=(tmp_path,))
    weights = [BlockWeights.uniform(full_layout("sd1"), value) for value in (0.0, 1.0)]
    prompt = "[red:blue:2] (apple:1.4) AND cat:0.3 "
    order = replace(REQUEST, prompt=prompt + "<lora:one:1:XYZ>", sweep=tuple(weights))
    together = [np.asarray(image, dtype=np.int16) for image in host.generate(order).images]
    single = partial(picture, host)
    for image, alone in zip(together, (single(prompt), single(prompt + "<lora:one:1>")), strict=True):
        assert np.abs(image - alone).max() <= 1
