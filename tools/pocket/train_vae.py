"""Train the pocket model's autoencoder (factor 8, four channels) on glyphs and plain shapes.

python tools/pocket/train_vae.py --work WORK --minutes 4

It stops and goes on at any time.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from architecture import new_vae
from compose import Composer, held_out_pictures, split_glyphs
from muon import Muon, is_matrix
from progress import Average, Training, autocast, clock_of, rate
from torch import Tensor, nn
from torch.nn import functional as F

PEAK = 1e-3
"""Highest learning rate."""

STRUCTURE, KL, SHARP = 0.3, 1e-6, 0.02
"""Shares of 1 - SSIM, of the KL divergence and of the discriminator in the loss, beside L1 and edge L1."""

SHARPEN_FROM = 0.75
"""From this share of the time on a discriminator of patches asks for edges that look like edges."""


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the horizontal and vertical differences of neighboring pixels."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def structure(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean structural similarity (SSIM, Wang et al. 2004) of pictures in [-1, 1], in windows of 7 x 7."""
    window = torch.ones(3, 1, 7, 7, device=one.device) / 49

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=3)

    a, b = mean(one), mean(other)
    spread = mean(one * one) - a**2 + mean(other * other) - b**2
    both = mean(one * other) - a * b
    small, smaller = 0.0036, 0.0004  # (0.03 L)², (0.01 L)² with L = 2
    return ((2 * a * b + smaller) * (2 * both + small) / ((a**2 + b**2 + smaller) * (spread + small))).mean()


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean of `structure` at full, half and quarter size."""
    scores = [structure(one, other)]
    for _ in range(2):
        one, other = F.avg_pool2d(one, 2), F.avg_pool2d(other, 2)
        scores.append(structure(one, other))
    return torch.stack(scores).mean()


def new_discriminator() -> nn.Module:
    """Return a judge of patches (arXiv:1611.07004), 34 pixels wide: real pictures above zero."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2)]
    for inputs, outputs, stride in ((32, 64, 2), (64, 128, 1)):
        layers += [nn.Conv2d(inputs, outputs, 4, stride, 1), nn.GroupNorm(8, outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(128, 1, 4, 1, 1))


@dataclass(frozen=True)
class Learner:
    """The autoencoder, its judge, and what moves them."""

    vae: nn.Module
    judge: nn.Module
    optimizer: torch.optim.Optimizer
    others: torch.optim.Optimizer
    judging: torch.optim.Optimizer
    average: Average

    @classmethod
    def new(cls, device: torch.device) -> Learner:
        """Return untrained ones."""
        vae, judge = new_vae().to(device), new_discriminator().to(device)
        every = list(vae.parameters())
        return cls(
            vae,
            judge,
            Muon([one for one in every if is_matrix(one)], PEAK),
            torch.optim.AdamW([one for one in every if not is_matrix(one)], PEAK, betas=(0.9, 0.99)),
            torch.optim.AdamW(judge.parameters(), 2e-4, betas=(0.5, 0.99)),
            Average(vae),
        )

    def learn(self, x: Tensor, step: int, done: float) -> Tensor:
        """Take one step on pictures in [-1, 1], and return their plain L1."""
        for group in (*self.optimizer.param_groups, *self.others.param_groups):
            group["lr"] = rate(PEAK, step, done)
        with autocast(x.device):
            posterior = self.vae.encode(x).latent_dist
            made = self.vae.decode(posterior.sample()).sample
        made = made.float()
        plain = F.l1_loss(made, x)
        edge = sum(F.l1_loss(a, b) for a, b in zip(edges(made), edges(x), strict=True))
        loss = plain + edge + STRUCTURE * (1 - similarity(made, x)) + KL * posterior.kl().mean() / x.shape[-1] ** 2
        if done >= SHARPEN_FROM:
            loss = loss + SHARP * self._judged(made, x)
        self.vae.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        self.others.step()
        self.average.update(min(0.999, (1 + step) / (20 + step)))
        return plain.detach()

    def _judged(self, made: Tensor, real: Tensor) -> Tensor:
        """Teach the judge (hinge loss), and return what the autoencoder pays for being recognized."""
        with autocast(real.device):
            wrong = F.relu(1 - self.judge(real)).mean() + F.relu(1 + self.judge(made.detach())).mean()
        self.judging.zero_grad()
        wrong.backward()
        self.judging.step()
        with autocast(real.device):
            return -self.judge(made).mean().float()


@torch.no_grad()
def measure(vae: nn.Module, pictures: Tensor) -> dict[str, float]:
    """Return mean L1 and SSIM of the pictures in [-1, 1], encoded and decoded."""
    parts = [vae.decode(vae.encode(part).latent_dist.mode()).sample for part in pictures.split(16)]
    made = torch.cat(parts).clamp(-1, 1)
    return {"l1": round(F.l1_loss(made, pictures).item(), 4), "ssim": round(structure(made, pictures).item(), 4)}


def train(work: Path, minutes: float, device: torch.device, batch: int, seed: int = 7) -> None:
    """Train until the time is over, then write ``vae.pt`` with the averaged weights and ``vae.json``."""
    torch.manual_seed(seed)
    glyphs, held_out = split_glyphs()
    compose, learner = Composer.of(glyphs, device), Learner.new(device)
    training = Training(work / "vae_state.pt", dict(vars(learner)), minutes, clock=clock_of(device))
    if training.load():
        torch.manual_seed(seed + training.step)
    for done in training.steps():
        # Crops and whole pictures in turn: equal work, and GroupNorm sees both sizes.
        crops = training.step % 2 == 0
        x = compose(4 * batch, 64) if crops else compose(batch, 128)
        training.losses.append(learner.learn(x, training.step, done))
    learner.vae.load_state_dict(learner.average.values)
    torch.save({name: value.cpu() for name, value in learner.vae.state_dict().items()}, work / "vae.pt")
    result = measure(learner.vae.eval(), held_out_pictures(held_out).to(device))
    facts = {"seed": seed, "steps": training.step, "minutes": round(training.used, 1), "batch": batch, **result}
    print("vae", json.dumps(facts), flush=True)
    (work / "vae.json").write_text(json.dumps(facts | {"log": training.log}, indent=1), encoding="utf-8")


def main() -> None:
    """Go on with the training in the work folder, or begin it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="whole pictures in a batch (64 on a GPU, 2 on a CPU)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    train(options.work, options.minutes, device, options.batch or (64 if device.type == "cuda" else 2))


if __name__ == "__main__":
    main()
