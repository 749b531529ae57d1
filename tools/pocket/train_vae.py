"""Train the pocket model's autoencoder (factor 8, four channels) on glyphs and plain shapes.

python tools/pocket/train_vae.py --out WORK --steps 2000
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from architecture import new_vae
from pictures import all_scenes, anything, draw, font_glyphs, to_array
from torch.nn import functional as F

PEAK = 6e-4
"""Highest learning rate; more destroys the start that `new_vae` builds."""


def build_pictures(count: int, seed: int) -> torch.Tensor:
    """Return ``count`` pictures as uint8 ``(count, 3, 128, 128)``: half from the set, half anything at all."""
    rng = random.Random(seed)
    glyphs = font_glyphs()
    scenes = all_scenes()
    rows = [to_array(draw(rng.choice(scenes)) if n % 2 else anything(rng, glyphs)) for n in range(count)]
    return torch.from_numpy(np.stack(rows))


def batch_of(pictures: torch.Tensor, step: int, generator: torch.Generator) -> torch.Tensor:
    """Return eight 64 px crops or two whole pictures in turn: equal work, and GroupNorm sees both sizes."""
    count, side = (8, 64) if step % 2 else (2, 128)
    rows = []
    for index in torch.randint(len(pictures), (count,), generator=generator).tolist():
        top, left = torch.randint(128 - side + 1, (2,), generator=generator).tolist()
        rows.append(pictures[index, :, top : top + side, left : left + side])
    return torch.stack(rows).float() / 127.5 - 1


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the horizontal and vertical differences of neighboring pixels."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def loss_of(vae: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return L1 + edge L1 + a little KL, and the plain L1."""
    posterior = vae.encode(x).latent_dist
    y = vae.decode(posterior.sample()).sample
    plain = F.l1_loss(y, x)
    edge = sum(F.l1_loss(a, b) for a, b in zip(edges(y), edges(x), strict=True))
    return plain + edge + 1e-6 * posterior.kl().mean() / x.shape[-1] ** 2, plain.item()


def main() -> None:
    """Train, then save the averaged weights and what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start", type=Path, help="weights of an earlier, shorter training to go on from")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    pictures = build_pictures(4000, options.seed)
    vae = new_vae()
    if options.start:
        vae.load_state_dict(torch.load(options.start, weights_only=True))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, options.steps, pct_start=0.1)
    average = torch.optim.swa_utils.AveragedModel(vae, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995))
    log, recent, start = [], [], time.time()
    for step in range(options.steps):
        loss, plain = loss_of(vae, batch_of(pictures, step, generator))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(vae)
        recent.append(plain)
        if (step + 1) % 50 == 0:
            log.append({"step": step + 1, "l1": round(float(np.mean(recent)), 4)})
            print(f"{step + 1} l1 {np.mean(recent):.4f} {time.time() - start:.0f}s", flush=True)
            recent = []
        if (step + 1) % 500 == 0 or step + 1 == options.steps:
            torch.save(average.module.state_dict(), options.out / "vae.pt")
    earlier = options.start.with_suffix(".json") if options.start else None
    summary = {
        "before": json.loads(earlier.read_text()) if earlier and earlier.exists() else None,
        "seed": options.seed,
        "steps": options.steps,
        "minutes": round((time.time() - start) / 60, 1),
        "log": log,
    }
    (options.out / "vae.json").write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
