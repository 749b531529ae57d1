"""One training step, loss and gradients, against the formulas written out on modules that our loader never saw."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib_lora.host.studio.checkpoint import load_checkpoint
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train.gradients import batch_loss
from lib_lora.train.options import from_mapping
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.host.small_checkpoints import TOKENIZER, write_checkpoint

SEED = 5
CAPTIONS = ("red circle, white background", "a cat")
SIZES = ((150, 100), (131, 131))
"""Pictures of other ratios than the bucket's."""
CROPS = {((150, 100), 0): (21, 0), ((150, 100), 1): (21, 0), ((131, 131), 0): (0, 0), ((131, 131), 1): (0, 0)}
"""(top, left) of a picture in a square of 128 px, straight and mirrored, as sd-scripts counts."""


@pytest.fixture(params=["sd1", "sd2", "sdxl"])
def step(request, tmp_path):
    """A run on a small random model with a batch of two, and the plain modules that its file was made of."""
    path, unet, texts = write_checkpoint(tmp_path, request.param)
    loaded = load_checkpoint(path, tokenizer=TOKENIZER)
    model = DiffusersModel(loaded, device=torch.device("cpu"), dtype=torch.float32)
    for number, (size, caption) in enumerate(zip(SIZES, CAPTIONS, strict=True)):
        values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "pictures" / f"{number}.png")
        (tmp_path / "pictures" / f"{number}.txt").write_text(caption, encoding="utf-8")
    values = {"images": str(tmp_path / "pictures"), "name": "t", "kind": "concept", "network": "locon", "dim": 4}
    values |= {"conv_dim": 4, "alpha": 2.0, "conv_alpha": 2.0, "steps": 1, "batch_size": 2, "repeats": 1}
    values |= {"bucket_step": 128, "flip": True, "seed": SEED, "text_encoder_ratio": 1.0, "shuffle_caption": False}
    options = from_mapping(values, where="test")
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    return SimpleNamespace(family=request.param, training=training, unet=unet, texts=texts)


def padded(tokenizer, caption: str, pad: int) -> list[int]:
    words = tokenizer(caption, add_special_tokens=False).input_ids
    row = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
    return row + [pad] * (77 - len(row))


def encoded(step, captions):
    """Return tokens and pooled vector by the definitions of the three families."""
    tokenizer = step.training.model.tokenizer
    end = tokenizer.eos_token_id
    ends, zeros = (torch.tensor([padded(tokenizer, text, pad) for text in captions]) for pad in (end, 0))
    if step.family != "sdxl":
        return step.texts[0](ends if step.family == "sd1" else zeros).last_hidden_state, None
    first = step.texts[0](ends, output_hidden_states=True).hidden_states[-2]
    out = step.texts[1](zeros, output_hidden_states=True)
    at = [row.tolist().index(end) for row in zeros]
    pooled = torch.stack([out.last_hidden_state[row, place] for row, place in enumerate(at)])
    return torch.cat([first, out.hidden_states[-2]], dim=-1), step.texts[1].text_projection(pooled)


def plain_loss(step, batch):
    """Return the loss of the batch by the formula: noise to √ᾱ z + √(1−ᾱ) ε, the UNet's mean squared error on ε."""
    generator = torch.Generator().manual_seed(1)
    faces = [int(torch.randint(2, (1,), generator=generator)) for _ in batch]
    clean = torch.stack([item.latents[face] for item, face in zip(batch, faces, strict=True)])
    noise = torch.randn(clean.shape, generator=generator)
    timesteps = torch.randint(0, 1000, (2,), generator=generator)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha = torch.cumprod(1 - betas, 0).float()[timesteps].reshape(-1, 1, 1, 1)
    tokens, pooled = encoded(step, [item.caption for item in batch])
    extra = None
    if pooled is not None:
        sizes = [item.picture.size for item in batch]
        crops = [CROPS[size, face] for size, face in zip(sizes, faces, strict=True)]
        ids = [[h, w, *crop, 128, 128] for (w, h), crop in zip(sizes, crops, strict=True)]
        extra = {"text_embeds": pooled, "time_ids": torch.tensor(ids, dtype=torch.float32)}
    seen = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    out = step.unet(seen, timesteps, tokens, added_cond_kwargs=extra).sample
    weight = torch.clamp(5.0 * (1 - alpha) / alpha, max=1.0).flatten()  # min-SNR-γ, γ = 5
    return ((out - noise).pow(2).mean(dim=(1, 2, 3)) * weight).mean()


def module_of(step, layer: nn.Module) -> nn.Module:
    """Return the plain module that stands where a loaded layer stands."""
    model = step.training.model
    for ours, plain in zip((model.unet, *model.text_encoders), (step.unet, *step.texts), strict=True):
        for path, module in ours.named_modules():
            if module is layer:
                return plain.get_submodule(path)
    raise AssertionError("a layer of no network")


def test_a_step_is_the_formula(step):
    training = step.training
    with attach(training.model, training.lora, 1.0, strategy="factors") as attached:
        training.attached = attached
        (batch,) = training.next_batches()
        loss = batch_loss(training, batch, torch.Generator().manual_seed(1))
        loss.backward()
    for network in (step.unet, *step.texts):
        network.requires_grad_(True).eval()
    expected = plain_loss(step, batch)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    moved = set()
    for key, adapter in training.lora.adapters.items():
        slope = module_of(step, training.model.layers[key]).weight.grad
        if slope is None:  # SDXL reads the last layer but one of its first encoder
            assert step.family == "sdxl"
            assert adapter.up.grad is None
            continue
        # W + s·up·down with up = 0, so the gradient of up is s·(dL/dW)·downᵀ.
        along = adapter.scale() * slope.flatten(1) @ adapter.down.detach().flatten(1).T
        torch.testing.assert_close(adapter.up.grad.flatten(1), along, rtol=1e-3, atol=1e-6)
        if along.abs().max() > 0:
            moved.add(key.split("_text_")[0].split("_down_")[0])
    assert moved >= ({"lora_te1", "lora_te2"} if step.family == "sdxl" else {"lora_te"})
