"""Masks of pictures: what they weigh, and that a masked run learns the subject and not the background."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from lib_lora.data.buckets import plan_bucket
from lib_lora.data.masks import MaskFolder, mask_weights, overlaid
from lib_lora.errors import InputError
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.services.start_check import check_pictures
from lib_lora.train.loss import noised
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import one_step
from lib_lora.train.training import start
from lib_lora.train.training_set import prepare


@pytest.fixture
def masked(pictures, tmp_path):
    """Masks for two of the four pictures: the left half is learned."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("0", "1"):
        mask = Image.new("L", (64, 64), 0)
        ImageDraw.Draw(mask).rectangle((0, 0, 31, 63), fill=255)
        mask.save(folder / f"{name}.png")
    return folder


def test_weights_are_the_mean_of_the_pixels_below_each_latent_with_a_floor():
    mask = Image.new("L", (16, 16), 0)
    ImageDraw.Draw(mask).rectangle((0, 0, 11, 15), fill=255)
    plan = plan_bucket((16, 16), 16, step=8, min_side=8, max_side=16)
    assert mask_weights(mask, plan, step=8, floor=0).tolist() == [[1, 0.5], [1, 0.5]]
    assert mask_weights(mask, plan, step=8, floor=0.6).min() == np.float32(0.6)


def test_masks_turn_with_the_mirrored_picture_and_pictures_without_are_said(model, options_for, masked):
    made = prepare(model, options_for(masks=str(masked), flip=True, mask_floor=0.25), Progress())
    by_name = {item.picture.path.stem: item for item in made.samples}
    straight, mirrored = by_name["1"].masks
    assert straight.shape == by_name["1"].latents[0].shape[1:]
    half = straight.shape[1] // 2
    assert straight[:, :half].min() > 0.9  # a mask of half the size is softened at its edge
    assert straight[:, half + 1 :].eq(0.25).all()
    assert torch.equal(mirrored, straight.flip(-1))
    assert by_name["2"].masks is None
    (said,) = [one for one in made.problems if "without a mask" in one]
    assert "2.png" in said
    assert "3.png" in said


def test_a_changed_mask_is_other_data(model, options_for, masked):
    options = options_for(masks=str(masked))
    before = prepare(model, options, Progress()).fingerprint
    Image.new("L", (64, 64), 255).save(masked / "0.png")
    assert prepare(model, options, Progress()).fingerprint != before


def test_transparency_is_background_or_mask(model, options_for, pictures):
    picture = Image.new("RGBA", (128, 128), (200, 30, 30, 0))
    ImageDraw.Draw(picture).rectangle((0, 0, 63, 127), fill=(200, 30, 30, 255))
    picture.save(pictures / "1.png")

    def of(**changes):
        made = prepare(model, options_for(**changes), Progress())
        return next(item for item in made.samples if item.picture.path.stem == "1")

    plain, black, mask = of(), of(background="black"), of(alpha_mask=True)
    assert plain.masks is None
    assert not torch.allclose(plain.latents[0], black.latents[0])
    assert torch.equal(plain.latents[0], mask.latents[0])
    assert 0.4 < float(mask.masks[0].mean()) < 0.6


def test_masks_that_cannot_be_used_are_refused_early(model, options_for, masked, tmp_path):
    with pytest.raises(InputError, match="folder of masks"):
        check_pictures(options_for(masks=str(tmp_path / "gone")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no picture"):
        check_pictures(options_for(masks=str(tmp_path / "empty")))
    Image.new("L", (64, 32)).save(masked / "0.png")
    with pytest.raises(InputError, match="same shape"):
        prepare(model, options_for(masks=str(masked)), Progress())


def test_a_mask_is_found_by_name_and_nearest_folder(tmp_path):
    for place in ("a", "b"):
        (tmp_path / "masks" / place).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "masks" / place / "X.PNG")
    found = MaskFolder(tmp_path / "masks").find(tmp_path / "pictures" / "b" / "x.jpg")
    assert found is not None
    assert found.parent.name == "b"


def test_what_is_left_out_is_veiled_in_the_preview():
    mask = Image.new("L", (4, 4), 0)
    mask.putpixel((0, 0), 255)
    shown = overlaid(Image.new("RGB", (4, 4), "white"), mask)
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    assert shown.getpixel((3, 3)) != (255, 255, 255)


@pytest.fixture
def striped(tmp_path):
    """Pictures whose left half is one subject and whose right half is one background, with masks of the left."""
    pictures, masks = tmp_path / "striped", tmp_path / "left"
    pictures.mkdir()
    masks.mkdir()
    for number in range(2):
        picture = Image.new("RGB", (128, 128), (20, 160, 40))
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, 0, 63, 127), fill=(200, 60, 30))
        for top in range(4 * number, 128, 16):
            draw.rectangle((64, top, 127, top + 6), fill=(230, 230, 20))
            draw.rectangle((0, top, 63, top + 6), fill=(40, 40, 200))
        picture.save(pictures / f"{number}.png")
        mask = Image.new("L", (128, 128), 0)
        ImageDraw.Draw(mask).rectangle((0, 0, 63, 127), fill=255)
        mask.save(masks / f"{number}.png")
    return pictures, masks


def halves(model, training, attached):
    """Return the error on the left and on the right half at fixed noise, with the LoRA on or off."""
    clean = torch.stack([item.latents[0] for item in training.data.samples])
    sums = torch.zeros(2)
    context = attach(model, training.lora, 1.0, strategy="factors") if attached else torch.no_grad()
    with context, torch.no_grad():
        cond = model.encode_text([item.caption for item in training.data.samples])
        for seed, level in enumerate((250, 450, 650, 850)):
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
            steps = torch.full((len(clean),), level)
            alphas = training.alphas_cumprod
            seen = noised(clean, noise, steps, alphas_cumprod=alphas, prediction_type=model.prediction_type)
            error = (model.predict(seen.latents, steps, cond) - seen.target).pow(2)
            sums += torch.stack([half.mean() for half in error.chunk(2, dim=-1)])
    return sums / 4


def test_a_masked_run_learns_the_subject_and_not_the_background(model, options_for, striped, tmp_path):
    pictures, masks = striped
    usual = {
        "images": str(pictures), "optimizer": "AdamW", "learning_rate": 4e-3, "network": "locon", "dim": 8,
        "conv_dim": 8, "steps": 24, "batch_size": 2, "scheduler": "constant", "text_encoder_ratio": 0,
    }  # fmt: skip
    fallen = {}
    for name, more in {"plain": {}, "masked": {"masks": str(masks)}}.items():
        options = options_for(**usual, **more)
        training = start(model, options, RunFolder.create(tmp_path / name, options), Progress())
        before = halves(model, training, attached=False)
        with attach(model, training.lora, 1.0, strategy="factors") as training.attached:
            for _ in range(training.total):
                one_step(training)
        fallen[name] = 1 - halves(model, training, attached=True) / before
    assert fallen["plain"].min() > 0.1
    assert fallen["masked"][0] > 0.8 * fallen["plain"][0]
    assert fallen["masked"][1] < 0.5 * fallen["plain"][1]
