"""Train the pocket model's text encoder and UNet on cached latents; stop and go on at any time.

python tools/pocket/train_model.py --work WORK --minutes 5

It needs WORK/vae.pt, made by `train_vae`, and WORK/tokenizer.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shipped
import torch
from architecture import BETAS, load_vae, new_text_encoder, new_unet
from diffusers import DDPMScheduler
from pictures import to_array
from progress import Average, Training, autocast, clock_of, rate
from scenes import draw, training_scenes, weight_of
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

NO_CAPTION = 0.1  # share of empty captions, for classifier-free guidance
PEAK, GO_ON_PEAK, TEXT_SHARE = 1e-3, 4e-4, 0.4
"""Highest learning rate from nothing and from a learned model; what the text encoder gets of it."""

NOISY = 0.75
"""Exponent of the drawn steps: below 1 the noisy ones, where a picture's composition is decided, come more often."""

INNER_ALONE, CUT_FROM = {2: 0.08, 3: 0.42}, 400
"""Share of samples whose outer levels, so many, get neither skip connections nor words, and from which noise step on:
only the inner blocks then know what the picture shows. Otherwise a UNet on 16 x 16 latents leaves them idle. Without
the skips alone it still does: after 900 more steps the shipped model's middle moved its answer by 0.1 %, because the
words come in beside it."""


def cache_latents(work: Path, pairs: int, device: torch.device, scale: float | None = None) -> Mapping[str, Any]:
    """Return latents ``(N, 4, 16, 16)`` times ``scale``, the scale, captions and weights; kept in ``work``.

    Without a scale it is the one that makes their deviation 1.
    """
    path = work / "latents.pt"
    if not path.exists():
        vae, scenes, rows = load_vae(work / "vae.pt").to(device).eval(), training_scenes(pairs), []
        with torch.no_grad(), autocast(device):
            for start in range(0, len(scenes), 64):
                pixels = torch.from_numpy(np.stack([to_array(draw(scene)) for scene in scenes[start : start + 64]]))
                rows.append(vae.encode(pixels.to(device).float() / 127.5 - 1).latent_dist.mode().float().cpu())
        latents = torch.cat(rows)
        scale = scale or round(1 / latents.std().item(), 5)
        kept = {"captions": [s.caption for s in scenes], "weights": torch.tensor([weight_of(s) for s in scenes])}
        torch.save(kept | {"latents": latents * scale, "scale": scale}, path)
    return torch.load(path, weights_only=True)


@dataclass(frozen=True)
class Data:
    """Latents ``(N, 4, 16, 16)``, token ids ``(N, 77)``, those of the empty caption, how often each scene is drawn."""

    latents: Tensor
    ids: Tensor
    empty: Tensor
    weights: Tensor
    noise: DDPMScheduler
    vocabulary: int

    @classmethod
    def of(cls, work: Path, cached: Mapping[str, Any], device: torch.device) -> Data:
        """Tokenize the captions, and take everything to the device."""
        tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")

        def ids(texts: list[str]) -> Tensor:
            padded = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
            return padded.input_ids.to(device)

        noise = DDPMScheduler(1000, *BETAS, "scaled_linear")
        noise.alphas_cumprod = noise.alphas_cumprod.to(device)
        tensors = (cached["latents"].to(device), ids(cached["captions"]), ids([""]), cached["weights"].to(device))
        return cls(*tensors, noise, len(tokenizer))


def teach_words(text: nn.Module, data: Data, steps: int = 500) -> float:
    """Pull each caption towards its picture (InfoNCE, arXiv:2103.00020), so that words mean something from the start.

    The mean over the end token and the padding behind it is the caption's vector: so every padding position, which
    the UNet attends to as well, carries the whole caption.
    """
    device = data.latents.device
    layers = (nn.Conv2d(4, 64, 3, 2, 1), nn.SiLU(), nn.Conv2d(64, 128, 3, 2, 1), nn.SiLU(), nn.Flatten())
    eye = nn.Sequential(*layers, nn.Linear(2048, 128)).to(device)
    temperature = nn.Parameter(torch.tensor(2.0, device=device))
    optimizer = torch.optim.AdamW([*text.parameters(), *eye.parameters(), temperature], lr=1e-3)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 30) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        picked = torch.randperm(len(data.ids), device=device)[:128]
        hidden = text(data.ids[picked]).last_hidden_state
        tail = (data.ids[picked] == data.vocabulary - 1).float()[..., None]
        words = F.normalize((hidden * tail).sum(1) / tail.sum(1), dim=-1)
        scores = words @ F.normalize(eye(data.latents[picked]), dim=-1).T * temperature.exp()
        target = torch.arange(len(picked), device=device)
        loss = (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses[-50:]).mean().item()


class InnerAlone:
    """Keeps skip connections and words from the outer levels for the samples that are picked."""

    def __init__(self, unet: nn.Module) -> None:
        self.levels: Tensor | None = None
        self.empty: Tensor | None = None
        for blocks in (unet.down_blocks, reversed(unet.up_blocks)):
            for level, block in enumerate(blocks):
                block.register_forward_pre_hook(partial(self._keep, level), with_kwargs=True)

    def pick(self, steps: Tensor, empty: Tensor) -> None:
        """Decide for a batch with these noise steps; ``empty`` ``(1, 77, width)`` stands in the place of the words."""
        drawn = torch.rand(len(steps), device=steps.device)
        self.levels, self.empty = torch.zeros_like(steps), empty
        for levels, share in INNER_ALONE.items():
            self.levels[(drawn >= 0) & (drawn < share)] = levels
            drawn -= share
        self.levels[steps < CUT_FROM] = 0

    def _keep(self, level: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if self.levels is None or self.empty is None:
            return args, kwargs
        kept = self.levels <= level
        skips, words = kwargs.get("res_hidden_states_tuple"), kwargs.get("encoder_hidden_states")
        if skips is not None:
            kwargs = kwargs | {"res_hidden_states_tuple": tuple(s * kept[:, None, None, None] for s in skips)}
        if words is not None:
            empty = self.empty.to(words.dtype)
            kwargs = kwargs | {"encoder_hidden_states": torch.where(kept[:, None, None], words, empty)}
        return args, kwargs


@dataclass(frozen=True)
class Learner:
    """The two networks, their averages, and what moves them."""

    unet: nn.Module
    text: nn.Module
    optimizer: torch.optim.Optimizer
    average_unet: Average
    average_text: Average

    @classmethod
    def new(cls, vocabulary: int, device: torch.device) -> Learner:
        """Return untrained networks."""
        unet, text = new_unet().to(device), new_text_encoder(vocabulary).to(device)
        groups = [{"params": unet.parameters()}, {"params": text.parameters()}]
        optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99), weight_decay=0.01)
        return cls(unet, text, optimizer, Average(unet), Average(text))

    def begin_with(self, start: Mapping[str, Any]) -> None:
        """Take over the weights of another model of this shape."""
        for part, average, name in ((self.unet, self.average_unet, "unet"), (self.text, self.average_text, "text")):
            part.load_state_dict(start[name])
            average.load_state_dict(part.state_dict())

    def learn(self, loss: Tensor, step: int, done: float, peak: float = PEAK) -> None:
        """Take one step."""
        for group, share in zip(self.optimizer.param_groups, (1, TEXT_SHARE), strict=True):
            group["lr"] = share * rate(peak, step, done)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*self.unet.parameters(), *self.text.parameters()], 1.0)
        self.optimizer.step()
        for average in (self.average_unet, self.average_text):
            average.update(min(0.999, (1 + step) / (20 + step)))


def training_loss(learner: Learner, inner: InnerAlone, data: Data, batch: int) -> Tensor:
    """Return the velocity loss (arXiv:2202.00512) of one random batch.

    The squared error of the velocity is that of the picture times SNR + 1; as in min-SNR (arXiv:2303.09556) that weight
    stops growing at 6, so that the noisy steps, where a picture's shape is decided, keep their share.
    """
    device = data.latents.device
    picked = torch.multinomial(data.weights, batch, replacement=True)
    caption = torch.where((torch.rand(batch, device=device) < NO_CAPTION)[:, None], data.empty, data.ids[picked])
    steps = (torch.rand(batch, device=device) ** NOISY * 1000).long().clamp(max=999)
    eps = torch.randn(batch, 4, 16, 16, device=device)
    noisy = data.noise.add_noise(data.latents[picked], eps, steps)
    with autocast(device):
        inner.pick(steps, learner.text(data.empty).last_hidden_state)
        predicted = learner.unet(noisy, steps, learner.text(caption).last_hidden_state).sample
    alpha = data.noise.alphas_cumprod[steps]
    weight = 1 / (1 - alpha)  # SNR + 1
    target = data.noise.get_velocity(data.latents[picked], eps, steps)
    return ((predicted.float() - target).pow(2).mean((1, 2, 3)) * weight.clamp(max=6) / weight).mean()


def train(work: Path, minutes: float, device: torch.device, batch: int, pairs: int, seed: int = 11) -> None:
    """Train until the time is over, then write ``model.pt`` with the averaged weights and the history."""
    torch.manual_seed(seed)
    path = work / shipped.START
    start = torch.load(path, weights_only=True) if path.exists() else None
    cached = cache_latents(work, pairs, device, start and start["scale"])
    data = Data.of(work, cached, device)
    learner = Learner.new(data.vocabulary, device)
    training = Training(work / "model_state.pt", dict(vars(learner)), minutes, clock=clock_of(device))
    if training.load():
        torch.manual_seed(seed + training.step)
    elif start is not None:
        learner.begin_with(start)
    else:
        training.log.append({"step": 0, "words_loss": round(teach_words(learner.text, data), 3)})
        learner.average_text.load_state_dict(learner.text.state_dict())
    inner, peak = InnerAlone(learner.unet), PEAK if start is None else GO_ON_PEAK
    for done in training.steps():
        loss = training_loss(learner, inner, data, batch)
        learner.learn(loss, training.step, done, peak)
        training.losses.append(loss.detach())
    facts = {"scale": cached["scale"], "seed": seed, "step": training.step, "batch": batch}
    facts |= {"minutes": round(training.used, 1), "scenes": len(data.ids), "log": training.log}
    weights = {"average_unet": learner.average_unet.values, "average_text": learner.average_text.values}
    torch.save(weights | facts, work / "model.pt")
    (work / "model.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def main() -> None:
    """Go on with the training in the work folder, or begin it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="512 on a GPU, 32 on a CPU")
    parser.add_argument("--pairs", type=int, help="pictures of two things: 24000 on a GPU, 3000 on a CPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    batch, pairs = (512, 24000) if device.type == "cuda" else (32, 3000)
    train(options.work, options.minutes, device, options.batch or batch, options.pairs or pairs)


if __name__ == "__main__":
    main()
