"""Encodings kept on the disk: found by contents, noticed when damaged, never another run's."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from lib_lora.progress import Progress
from lib_lora.train.training_set import prepare


@pytest.fixture
def encoded(model, monkeypatch):
    """Count the pictures that the autoencoder is asked for."""
    asked = []
    whole = type(model).encode_images

    def encode(self, pixels):
        asked.append(len(pixels))
        return whole(self, pixels)

    monkeypatch.setattr(type(model), "encode_images", encode)
    return asked


def test_a_run_that_goes_on_encodes_nothing_again_and_has_the_same_bits(model, options_for, tmp_path, encoded):
    options = options_for(cache_to_disk=True, flip=True)
    first = prepare(model, options, Progress(), cache_folder=tmp_path / "c")
    assert len(encoded) == 8
    again = prepare(model, options, Progress(), cache_folder=tmp_path / "c")
    assert len(encoded) == 8
    for one, two in zip(first.samples, again.samples, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.latents, two.latents, strict=True))
    prepare(model, options_for(flip=True), Progress(), cache_folder=tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_what_latents_come_from_is_in_their_key(model, options_for, tmp_path, pictures, encoded):
    def run(**changes):
        encoded.clear()
        prepare(model, options_for(cache_to_disk=True, **changes), Progress(), cache_folder=tmp_path / "c")
        return len(encoded)

    assert run() == 4
    assert run(batch_size=1, caption_prefix="x") == 0
    assert run(resolution=64) == 4
    assert run(background="black") == 4
    (pictures / "1.png").rename(pictures / "renamed.png")
    assert run() == 0
    Image.new("RGB", (128, 128), "red").save(pictures / "0.png")
    assert run() == 1
    weight = next(model.vae.parameters())
    with torch.no_grad():
        before = weight.clone()
        weight.mul_(1.01)
        try:
            assert run() == 4
        finally:
            weight.copy_(before)


def test_a_damaged_file_is_noticed_said_and_made_anew(model, options_for, tmp_path, encoded):
    options = options_for(cache_to_disk=True)
    whole = prepare(model, options, Progress(), cache_folder=tmp_path / "c")
    files = sorted((tmp_path / "c").iterdir())
    data = bytearray(files[0].read_bytes())
    data[-5] ^= 1
    files[0].write_bytes(bytes(data))
    files[1].write_bytes(b"")
    encoded.clear()
    again = prepare(model, options, Progress(), cache_folder=tmp_path / "c")
    assert len(encoded) == 2
    assert [one for one in again.problems if "damaged" in one and "2" in one]
    for one, two in zip(whole.samples, again.samples, strict=True):
        assert torch.equal(one.latents[0], two.latents[0])
    encoded.clear()
    prepare(model, options, Progress(), cache_folder=tmp_path / "c")
    assert not encoded
