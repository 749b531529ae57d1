from __future__ import annotations

import pytest
import torch

from lib_lora.progress import Progress
from lib_lora.train import network
from lib_lora.train.fixed_captions import FixedCaptions
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.conftest import same

LONG = ", ".join(f"tag number {n}" for n in range(40))  # more than one chunk of 75 tokens
TEXTS = ["krnk, red circle", LONG, ""]


@pytest.fixture
def counted(model, monkeypatch):
    """Return the list of caption lists that the text encoder was asked for."""
    asked: list[list[str]] = []
    whole = type(model).encode_text

    def encode(self, captions, *how):
        asked.append(list(captions))
        return whole(self, captions, *how)

    monkeypatch.setattr(type(model), "encode_text", encode)
    return asked


def test_kept_encodings_equal_fresh_ones(model):
    kept = FixedCaptions(model, clip_skip=1)
    with torch.no_grad():
        fresh = model.encode_text(TEXTS)
        alone = [model.encode_text([text]).tokens for text in TEXTS]
    for _ in range(2):  # the second time from what was kept
        made = kept.encode(TEXTS).tokens
        torch.testing.assert_close(made, fresh.tokens, atol=1e-5, rtol=1e-5)
        for row, one in zip(made, alone, strict=True):
            assert same(row[: one.shape[1]], one[0])


def test_a_caption_is_encoded_in_the_runs_precision_whoever_asks_first(model, options_for, tmp_path):
    options = options_for(text_encoder_ratio=0, precision="bf16")
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    made = training.captions.encode(["red circle"]).tokens  # outside of a step
    with torch.no_grad():
        plain = model.encode_text(["red circle"]).tokens
        with training.computing():
            wanted = model.encode_text(["red circle"]).tokens
    assert not torch.equal(plain.float(), wanted.float())
    assert same(made, wanted)


def test_a_caption_is_encoded_once(model, counted):
    kept = FixedCaptions(model, clip_skip=1)
    kept.encode(["a", "b"])
    kept.encode(["b", "a", "a"])
    assert counted == [["a"], ["b"]]


def test_memory_is_bounded_and_the_oldest_goes_first(model, counted):
    size = 77 * model.encode_text(["a"]).tokens.shape[-1] * 4
    kept = FixedCaptions(model, clip_skip=1, limit=2 * size)
    counted.clear()
    for text in ("a", "b", "a", "c", "a", "b"):
        kept.encode([text])
    assert counted == [["a"], ["b"], ["c"], ["b"]]


@pytest.mark.parametrize("prior", [False, True])
def test_training_with_kept_captions_equals_training_without(
    model, options_for, pictures, tmp_path, counted, monkeypatch, prior
):
    reg = {"reg_images": str(pictures.parent / "reg")} if prior else {}
    if prior:
        (pictures.parent / "reg").mkdir()
        (pictures.parent / "reg" / "a.png").write_bytes((pictures / "0.png").read_bytes() + b"\0")
    options = options_for(steps=5, batch_size=1, text_encoder_ratio=0, optimizer="AdamW", learning_rate=1e-3, **reg)

    def trained(name):
        training = start(model, options, RunFolder.create(tmp_path / name, options), Progress())
        counted.clear()
        run(training, Progress())
        return network.parameters_of(training.lora)

    kept = trained("kept")
    assert len(counted) <= 4 + (1 if prior else 0)  # four captions, however many steps
    monkeypatch.setattr(FixedCaptions, "encode", lambda self, captions: model.encode_text(captions))
    without = trained("without")
    assert len(counted) >= 5
    assert all(same(kept[name], without[name]) for name in kept)


def test_a_trained_text_encoder_is_asked_at_every_step(model, options_for, tmp_path, counted):
    options = options_for(steps=3, optimizer="AdamW", learning_rate=1e-3)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    counted.clear()
    run(training, Progress())
    assert len(counted) == 3
