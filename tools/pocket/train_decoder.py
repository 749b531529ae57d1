"""Train the pocket model's decoder alone; what is encoded, and so the UNet, stays as it is. Stop and go on at any time.

python tools/pocket/train_decoder.py --work WORK --minutes 90

It begins with WORK/vae.pt, made by `train_vae`, and replaces it; with ``--shipped`` with the shipped file, into which
it writes the new decoder.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architecture import new_vae
from export import vae_tensors
from pictures import BACKGROUNDS, BIG, SIZE, all_scenes, anything, draw, font_glyphs, glyph, to_array
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from train_vae import edges

from lib_lora.formats.files import read_header, write_tensors

SHIPPED = Path(__file__).resolve().parents[2] / "lib_lora" / "host" / "pocket"
FACTOR = 8
RATE = 2.5e-4
NOISE = 0.03
"""Of the latents' own deviation, added to them: the decoder also sees what a UNet makes, which is never quite right."""

STRUCTURE = 0.2  # share of 1 - SSIM in the loss
HELD_OUT = 64  # glyphs that no training picture shows
SAVE_EVERY, LOG_EVERY, MEASURE_EVERY = 240.0, 100, 500  # seconds, steps, steps


def shipped_vae() -> nn.Module:
    """Return the autoencoder of the shipped checkpoint."""
    vae = new_vae()
    own = vae.state_dict()
    numbered = {name: torch.tensor(float(n)) for n, name in enumerate(own)}
    file, names = load_file(SHIPPED / "pocket.safetensors"), list(own)
    for ldm, number in vae_tensors(numbered).items():
        name = names[int(number)]
        own[name] = file[ldm].float().reshape(own[name].shape)
    vae.load_state_dict(own)
    return vae


def interpolate(vae: nn.Module) -> None:
    """Let the enlarging convolutions, which hand each pixel on four times, interpolate between neighbors instead.

    Each begins as one tap in its middle: a picture of flat squares, of which learning frees itself slowly.
    """
    weights = torch.tensor([0.25, 0.5, 0.25])
    with torch.no_grad():
        for conv in (block.upsamplers[0].conv for block in vae.decoder.up_blocks if block.upsamplers):
            same = torch.eye(conv.weight.shape[0])
            conv.weight[:, :, 1, 1] -= same
            conv.weight += same[:, :, None, None] * weights[:, None] * weights


def structure(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean structural similarity (SSIM, Wang et al. 2004) of pictures in [-1, 1], in windows of 7 x 7."""
    window = torch.ones(3, 1, 7, 7) / 49

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=3)

    a, b = mean(one), mean(other)
    spread = mean(one * one) - a**2 + mean(other * other) - b**2
    both = mean(one * other) - a * b
    small, smaller = 0.0036, 0.0004  # (0.03 L)², (0.01 L)² with L = 2
    return ((2 * a * b + smaller) * (2 * both + small) / ((a**2 + b**2 + smaller) * (spread + small))).mean()


def held_out(glyphs: list[str], rng: random.Random) -> np.ndarray:
    """Draw each glyph big on a background of the set; return uint8 ``(N, 3, 128, 128)``."""
    rows = []
    for text in glyphs:
        picture, drawn = Image.new("RGB", (SIZE, SIZE), rng.choice(list(BACKGROUNDS.values()))), glyph(text, BIG)
        picture.paste(drawn, ((SIZE - drawn.width) // 2, (SIZE - drawn.height) // 2), drawn)
        rows.append(to_array(picture))
    return np.stack(rows)


def pictures_and_latents(vae: nn.Module, path: Path, count: int) -> dict[str, Tensor]:
    """Return training pictures ``x`` with latents ``z`` and held-out ones ``tx``, ``tz``; kept in ``path``."""
    if not path.exists():
        rng = random.Random(5)
        glyphs = font_glyphs()
        rng.shuffle(glyphs)
        scenes, rest = all_scenes(), glyphs[HELD_OUT:]
        rows = [to_array(draw(rng.choice(scenes)) if n % 2 else anything(rng, rest)) for n in range(count)]
        sets = {"": torch.from_numpy(np.stack(rows)), "t": torch.from_numpy(held_out(glyphs[:HELD_OUT], rng))}
        with torch.no_grad():
            latents = {f"{k}z": torch.cat([_encoded(vae, part) for part in x.split(16)]) for k, x in sets.items()}
        torch.save(latents | {f"{k}x": x for k, x in sets.items()}, path)
    return torch.load(path, weights_only=True)


def _encoded(vae: nn.Module, pixels: Tensor) -> Tensor:
    return vae.encode(pixels.float() / 127.5 - 1).latent_dist.mode()


def batch_of(data: dict[str, Tensor], step: int) -> tuple[Tensor, Tensor]:
    """Return pictures and noisy latents: eight 64 px crops, or every third step two whole pictures."""
    generator = torch.Generator().manual_seed(step)
    count, side = (8, 8) if step % 3 else (2, 16)
    x, z = [], []
    for index in torch.randint(len(data["x"]), (count,), generator=generator).tolist():
        top, left = torch.randint(17 - side, (2,), generator=generator).tolist()
        z.append(data["z"][index, :, top : top + side, left : left + side])
        rows, columns = (slice(FACTOR * at, FACTOR * (at + side)) for at in (top, left))
        x.append(data["x"][index, :, rows, columns])
    deviation = data["z"].std((0, 2, 3), keepdim=True)
    latents = torch.stack(z)
    noise = torch.randn(latents.shape, generator=generator)
    return torch.stack(x).float() / 127.5 - 1, latents + NOISE * deviation * noise


class Decoder(nn.Module):
    """The half of an autoencoder that is trained."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Return pictures ``(N, 3, 8 h, 8 w)`` of latents ``(N, 4, h, w)``."""
        return self.decoder(self.post_quant_conv(latents))


@torch.no_grad()
def measure(decoder: nn.Module, data: dict[str, Tensor]) -> dict[str, float]:
    """Return L1 and SSIM on the held-out glyphs."""
    made = torch.cat([decoder(part) for part in data["tz"].split(8)]).clamp(-1, 1)
    real = data["tx"].float() / 127.5 - 1
    return {"l1": round(F.l1_loss(made, real).item(), 4), "ssim": round(structure(made, real).item(), 4)}


def loss_of(decoder: nn.Module, x: Tensor, z: Tensor) -> tuple[Tensor, float]:
    """Return L1 + edge L1 + structure, and the plain L1."""
    made = decoder(z)
    plain = F.l1_loss(made, x)
    edge = sum(F.l1_loss(a, b) for a, b in zip(edges(made), edges(x), strict=True))
    return plain + edge + STRUCTURE * (1 - structure(made, x)), plain.item()


def train(vae: nn.Module, data: dict[str, Tensor], work: Path, minutes: float) -> None:
    """Train until the time is over; a state that is there goes on."""
    decoder = Decoder(vae)
    average = torch.optim.swa_utils.AveragedModel(
        decoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimizer = torch.optim.AdamW(decoder.parameters(), RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    parts, path = {"decoder": decoder, "average": average, "optimizer": optimizer}, work / "decoder.pt"
    step, log, recent = 0, [], []
    if path.exists():
        saved = torch.load(path, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, log = saved["step"], saved["log"]
    began = saved_at = time.time()
    while (done := (time.time() - began) / 60 / minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        loss, plain = loss_of(decoder, *batch_of(data, step))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(decoder)
        recent.append(plain)
        step += 1
        if step % LOG_EVERY == 0:
            log.append({"step": step, "l1": round(sum(recent) / len(recent), 4)})
            log[-1] |= {"held_out": measure(average, data)} if step % MEASURE_EVERY == 0 else {}
            print(json.dumps(log[-1]), flush=True)
            recent = []
        if time.time() - saved_at > SAVE_EVERY:
            saved_at = time.time()
            torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step, "log": log}, path)
    torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step, "log": log}, path)
    decoder.load_state_dict(average.module.state_dict())
    torch.save(vae.state_dict(), work / "vae.pt")
    own = {"decoder_only": True, "steps": step, "minutes": round(minutes, 1), **measure(decoder, data), "log": log}
    path = work / "vae.json"
    before = path.read_text(encoding="utf-8") if path.exists() else "null"
    path.write_text(json.dumps(own | {"before": json.loads(before)}, indent=1), encoding="utf-8")


def write_into(folder: Path, vae: nn.Module, history: dict[str, Any]) -> None:
    """Put the decoder into the checkpoint of ``folder``, and what was done into the history beside it."""
    file, told = folder / "pocket.safetensors", folder / "training.json"
    tensors = load_file(file)
    starts = ("first_stage_model.decoder.", "first_stage_model.post_quant_conv.")
    tensors |= {
        name: tensor.half().contiguous()
        for name, tensor in vae_tensors(vae.state_dict()).items()
        if name.startswith(starts)
    }
    write_tensors(file, tensors, read_header(file).metadata, overwrite=True)
    whole = json.loads(told.read_text(encoding="utf-8"))
    whole["autoencoder"] = history | {"before": whole["autoencoder"]}
    told.write_text(json.dumps(whole, indent=1), encoding="utf-8")


def main() -> None:
    """Go on with the training in the work folder, or begin it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--shipped", action="store_true", help="begin with the shipped autoencoder, interpolating")
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    vae = shipped_vae()
    if not options.shipped:
        vae.load_state_dict(torch.load(options.work / "vae.pt", weights_only=True))
    data = pictures_and_latents(vae, options.work / "pictures.pt", options.pictures)
    if options.shipped:
        interpolate(vae)
    train(vae, data, options.work, options.minutes)
    if options.shipped:
        write_into(SHIPPED, vae, json.loads((options.work / "vae.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
