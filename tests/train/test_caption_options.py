"""What the options say of captions, as a training reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib_lora.data.dataset import Picture
from lib_lora.errors import InputError
from lib_lora.host.caption_layout import CaptionLayout
from lib_lora.progress import Progress
from lib_lora.train.captions import full_caption
from lib_lora.train.gradients import batch_loss
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from lib_lora.train.training_set import prepare

PICTURE = Picture(Path("a.png"), "", 1, (128, 128), False, "")


def read(options_for, caption, **changes):
    return full_caption(replace(PICTURE, caption=caption), options_for(**changes))


def test_the_trigger_stands_in_front_of_every_line_that_may_be_drawn(options_for):
    assert read(options_for, "hat\ncat") == "krnk, hat"
    assert read(options_for, "hat\n\nkrnk, cat", wildcards=True) == "krnk, hat\nkrnk, cat"
    assert read(options_for, "", wildcards=True, class_word="girl") == "krnk, girl"
    assert read(options_for, "hat; cat", caption_separator=";") == "krnk; hat; cat"


def test_weights_multiply_the_states_of_their_words_as_in_sd_scripts(model):
    """Without the WebUI's return to the old mean: sd-scripts multiplies and leaves it at that."""
    with torch.no_grad():
        plain = model.encode_text(["red apple", "cat"])
        made = model.encode_text(["red (apple:1.5)", "[cat]"], 1, CaptionLayout(weighted=True))
        letters = model.encode_text(["red (apple:1.5)"])
    weights = torch.ones(2, 77, 1)
    weights[0, 2], weights[1, 1] = 1.5, 1 / 1.1
    torch.testing.assert_close(made.tokens, plain.tokens * weights, rtol=1e-4, atol=1e-5)
    assert letters.tokens.shape == plain.tokens[:1].shape
    assert not torch.allclose(letters.tokens, made.tokens[:1], atol=1e-2)


def test_long_captions_are_laid_out_as_prompts_are_and_cut_where_the_option_says(model):
    long = ", ".join(["red apple"] * 60)
    with torch.no_grad():
        whole = model.encode_text([long]).tokens
        (prompt,) = model.encode_prompts([long], [1])
        cut = model.encode_text([long], 1, CaptionLayout(longest=150)).tokens
    assert torch.equal(whole, prompt.tokens)  # a chunk ends behind a comma
    assert whole.shape[1] == 3 * 77
    assert torch.equal(cut, whole[:, : 2 * 77])


def test_what_is_cut_off_is_said_with_the_file(model, options_for, pictures):
    (pictures / "1.txt").write_text(", ".join(["red apple"] * 40), encoding="utf-8")
    (pictures / "2.txt").write_text("a {b|" + "red " * 90 + "}", encoding="utf-8")
    said = prepare(model, options_for(max_tokens=75, wildcards=True), Progress()).problems
    (cut,) = [one for one in said if "cut off" in one]
    assert all(name in cut for name in ("1.png", "2.png"))
    assert not [one for one in said if "braces" in one]
    said = prepare(model, options_for(max_tokens=225, wildcards=True), Progress()).problems
    assert not [one for one in said if "cut off" in one]


def test_a_weight_that_is_no_number_is_refused_with_its_picture(model, options_for, pictures):
    (pictures / "1.txt").write_text("(red:1.2.3) apple", encoding="utf-8")
    with pytest.raises(InputError, match=r"1\.2\.3") as caught:
        prepare(model, options_for(weighted_captions=True), Progress())
    assert "1.png" in str(caught.value.where)
    assert prepare(model, options_for(), Progress()).samples


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"caption_prefix": "best,", "caption_suffix": ", end"}, "best, krnk, green circle, white background , end"),
        ({"caption_dropout_every_epochs": 1}, ""),
        ({"token_warmup_steps": 4, "keep_tokens": 1}, "krnk, green circle"),
        ({"secondary_separator": " "}, "krnk,,green,circle,,white,background"),
    ],
)
def test_the_rules_reach_the_text_encoder(model, options_for, tmp_path, changes, seen, monkeypatch):
    options = options_for(batch_size=1, shuffle_caption=False, text_encoder_ratio=0, **changes)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    asked = []
    whole = training.captions.encode
    monkeypatch.setattr(training.captions, "encode", lambda captions: asked.extend(captions) or whole(captions))
    (item,) = [one for one in training.data.samples if one.picture.path.stem == "1"]
    training.next_batches()
    batch_loss(training, [item], torch.Generator().manual_seed(0))
    assert asked == [seen]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 100},
        {"caption_separator": " "},
        {"secondary_separator": ","},
        {"keep_tokens_separator": "|,|"},
        {"caption_prefix": "a\nb"},
        {"caption_suffix": "<lora:x:1>"},
        {"wildcards": True, "keep_tokens_separator": "{}"},
    ],
)
def test_captions_options_that_cannot_be_followed_are_refused_early(options_for, wrong):
    with pytest.raises(InputError):
        options_for(**wrong)
