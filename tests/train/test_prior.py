"""Prior preservation: regularization pictures teach what the model itself says, its own text encoder included."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train.batch import draw, noised_of
from lib_lora.train.prior import with_prior
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start


@pytest.fixture
def begun(model, options_for, tmp_path):
    """A training of UNet and text encoder whose LoRA has learned a lot, with regularization pictures."""
    reg = tmp_path / "reg"
    reg.mkdir()
    for number, color in enumerate(("black", "yellow", "pink")):
        Image.new("RGB", (128, 128), color).save(reg / f"{number}.png")
        (reg / f"{number}.txt").write_text(f"{color} square", encoding="utf-8")
    options = options_for(reg_images=str(reg), batch_size=8, repeats=2, text_encoder_ratio=1.0, steps=2)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for adapter in training.lora.adapters.values():
            for parameter in adapter.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return training


def test_the_prior_is_the_models_own_with_its_own_captions(model, begun):
    drawn = draw(begun, begun.next_batches()[0], torch.Generator().manual_seed(1))
    rows = [row for row, item in enumerate(drawn.samples) if item.picture.is_reg]
    others = [row for row in range(len(drawn.samples)) if row not in rows]
    assert rows
    assert others
    with torch.no_grad():  # before anything is attached
        seen = noised_of(begun, drawn)
        cond = model.encode_text([drawn.captions[row] for row in rows])
        wanted = model.predict(seen.latents[rows], seen.timesteps[rows], replace(cond, sizes=drawn.sizes[rows]))
    with attach(model, begun.lora, 1.0, strategy="factors") as begun.attached:
        whole, parted = (with_prior(begun, drawn, parts).prior for parts in ([slice(0, 8)], [slice(0, 4), slice(4, 8)]))
        with torch.no_grad():
            changed = model.predict(
                seen.latents[rows], seen.timesteps[rows], model.encode_text([drawn.captions[row] for row in rows])
            )
    begun.attached = None
    assert (changed - wanted).norm() > 0.1 * wanted.norm()  # the LoRA would have been noticed
    for prior in (whole, parted):
        torch.testing.assert_close(prior[rows], wanted, rtol=1e-3, atol=1e-4)
        assert not prior[others].any()


def test_a_run_without_it_learns_the_pictures(begun):
    begun.options = replace(begun.options, prior_from_model=False)
    drawn = draw(begun, begun.next_batches()[0], torch.Generator().manual_seed(1))
    assert with_prior(begun, drawn, [slice(0, 8)]).prior is None
