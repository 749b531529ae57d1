"""Train the pocket model's text encoder and UNet on cached latents; stop and go on at any time.

python tools/pocket/train_model.py --work WORK --minutes 90

A finished model learns on, with a new schedule, by `--again`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from architecture import BETAS, PREDICTION, new_text_encoder, new_unet, new_vae
from diffusers import DDPMScheduler
from pictures import BIG, all_scenes, draw, to_array
from torch.nn import functional as F
from transformers import CLIPTokenizer

BATCH = 32
NO_CAPTION = 0.1  # share of empty captions, for classifier-free guidance
PEAK = 1e-3
SCENES = all_scenes()


def cache_latents(work: Path) -> tuple[torch.Tensor, float]:
    """Return the latents of every scene ``(N, 4, 16, 16)``, scaled to unit deviation, and that scale."""
    path = work / "latents.pt"
    if not path.exists():
        vae = new_vae()
        vae.load_state_dict(torch.load(work / "vae.pt", weights_only=True))
        vae.eval()
        rows = []
        with torch.no_grad():
            for start in range(0, len(SCENES), 32):
                pixels = np.stack([to_array(draw(scene)) for scene in SCENES[start : start + 32]])
                rows.append(vae.encode(torch.from_numpy(pixels).float() / 127.5 - 1).latent_dist.mode())
        latents = torch.cat(rows)
        scale = round(1 / latents.std().item(), 5)
        torch.save({"latents": latents * scale, "scale": scale}, path)
    cached = torch.load(path, weights_only=True)
    return cached["latents"], cached["scale"]


def tokenize(work: Path) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return the token ids of every caption ``(N, 77)``, those of the empty one, and the vocabulary's size."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")

    def ids(texts: list[str]) -> torch.Tensor:
        return tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids

    return ids([scene.caption for scene in SCENES]), ids([""]), len(tokenizer)


def teach_words(
    text: torch.nn.Module, ids: torch.Tensor, latents: torch.Tensor, end: int, steps: int = 500
) -> list[float]:
    """Pull each caption towards its picture (InfoNCE, arXiv:2103.00020), so that words mean something from the start.

    The mean over the end token and the padding behind it is the caption's vector: so every padding position, which
    the UNet attends to as well, carries the whole caption.
    """
    eye = torch.nn.Sequential(
        torch.nn.Conv2d(4, 64, 3, 2, 1),
        torch.nn.SiLU(),
        torch.nn.Conv2d(64, 128, 3, 2, 1),
        torch.nn.SiLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(2048, 128),
    )
    temperature = torch.nn.Parameter(torch.tensor(2.0))
    optimizer = torch.optim.AdamW([*text.parameters(), *eye.parameters(), temperature], lr=1e-3)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 30) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        picked = torch.randperm(len(ids))[:128]
        hidden = text(ids[picked]).last_hidden_state
        tail = (ids[picked] == end).float()[..., None]
        words = F.normalize((hidden * tail).sum(1) / tail.sum(1), dim=-1)
        seen = F.normalize(eye(latents[picked]), dim=-1)
        scores = words @ seen.T * temperature.exp()
        target = torch.arange(len(picked))
        loss = (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"words {step + 1} {np.mean(losses[-50:]):.3f}", flush=True)
    return losses


class Average:
    """Exponential moving average of parameters."""

    def __init__(self, modules: list[torch.nn.Module]):
        self.modules = modules
        self.values = [{k: v.detach().clone() for k, v in m.state_dict().items()} for m in modules]

    def update(self, decay: float) -> None:
        """Move every average a share of ``1 - decay`` towards the present value."""
        for module, values in zip(self.modules, self.values, strict=True):
            for key, value in module.state_dict().items():
                if value.is_floating_point():
                    values[key].lerp_(value, 1 - decay)


@dataclass(frozen=True)
class Data:
    """Latents ``(N, 4, 16, 16)``, token ids ``(N, 77)``, those of the empty caption, how often each scene is drawn."""

    latents: torch.Tensor
    ids: torch.Tensor
    empty: torch.Tensor
    weights: torch.Tensor
    noise: DDPMScheduler


def training_loss(unet: torch.nn.Module, text: torch.nn.Module, data: Data) -> torch.Tensor:
    """Return the velocity loss (arXiv:2202.00512) of one random batch.

    The squared error of the velocity is that of the picture times SNR + 1; as in min-SNR (arXiv:2303.09556) that weight
    stops growing at 6, so that the noisy steps, where a picture's shape is decided, keep their share.
    """
    picked = torch.multinomial(data.weights, BATCH)
    caption = torch.where((torch.rand(BATCH) < NO_CAPTION)[:, None], data.empty, data.ids[picked])
    steps = torch.randint(0, 1000, (BATCH,))
    eps = torch.randn(BATCH, 4, 16, 16)
    noisy = data.noise.add_noise(data.latents[picked], eps, steps)
    predicted = unet(noisy, steps, text(caption).last_hidden_state).sample
    alpha = data.noise.alphas_cumprod[steps]
    weight = 1 / (1 - alpha)  # SNR + 1
    target = data.noise.get_velocity(data.latents[picked], eps, steps)
    return ((predicted - target).pow(2).mean((1, 2, 3)) * weight.clamp(max=6) / weight).mean()


@dataclass
class State:
    """Everything that changes while training, and that a later start needs to go on."""

    unet: torch.nn.Module
    text: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: Average
    step: int = 0
    minutes: float = 0.0
    phase: dict[str, float] = field(default_factory=lambda: {"peak": PEAK, "from_step": 0, "from_minute": 0.0})
    log: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def new(cls, vocabulary: int) -> State:
        """Return untrained networks."""
        unet, text = new_unet(), new_text_encoder(vocabulary)
        groups = [{"params": unet.parameters()}, {"params": text.parameters()}]
        optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99), weight_decay=0.01)
        return cls(unet, text, optimizer, Average([unet, text]))

    def load(self, path: Path) -> None:
        """Go on from a saved state."""
        saved = torch.load(path, weights_only=True)
        for name in ("unet", "text", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.average.values = [saved["average_unet"], saved["average_text"]]
        self.step, self.minutes, self.log = saved["step"], saved["minutes"], saved["log"]
        self.phase = saved.get("phase", self.phase)

    def begin_again(self, peak: float) -> None:
        """Start a new learning-rate schedule on what is learned so far."""
        self.phase = {"peak": peak, "from_step": self.step, "from_minute": self.minutes}
        self.log.append({"step": self.step, "peak": peak, "beta_end": BETAS[1], "prediction": PREDICTION})

    def save(self, path: Path, **facts: float) -> None:
        """Save everything, and the history as JSON beside it."""
        what = {name: getattr(self, name).state_dict() for name in ("unet", "text", "optimizer")}
        what |= {"average_unet": self.average.values[0], "average_text": self.average.values[1]}
        history = {"step": self.step, "minutes": self.minutes, "log": self.log, "batch": BATCH, **facts}
        history["phase"] = self.phase
        torch.save(what | history, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
        path.with_suffix(".json").write_text(json.dumps(history))


def train(state: State, data: Data, path: Path, *, minutes: float, **facts: float) -> None:
    """Train until the phase's schedule of ``minutes`` is over; what earlier starts of it used counts."""
    start, saved_at, recent = time.time() - state.minutes * 60, time.time(), []
    done = 0.0
    while done < 1:
        state.minutes = (time.time() - start) / 60
        done = min(1.0, (state.minutes - state.phase["from_minute"]) / minutes)
        warm = min(1, (state.step - state.phase["from_step"] + 1) / 100)
        rate = state.phase["peak"] * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        state.optimizer.param_groups[0]["lr"], state.optimizer.param_groups[1]["lr"] = rate, 0.4 * rate
        loss = training_loss(state.unet, state.text, data)
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*state.unet.parameters(), *state.text.parameters()], 1.0)
        state.optimizer.step()
        state.step += 1
        state.average.update(min(0.999, (1 + state.step) / (20 + state.step)))
        recent.append(loss.item())
        if state.step % 100 == 0:
            state.log.append({"step": state.step, "loss": round(float(np.mean(recent)), 4)})
            print(f"{state.step} loss {np.mean(recent):.4f} {state.minutes:.1f} min", flush=True)
            recent = []
        if time.time() - saved_at > 240 or done >= 1:
            saved_at = time.time()
            state.save(path, **facts)


def main() -> None:
    """Train for a time, saving everything needed to go on every few minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="length of the learning-rate schedule")
    parser.add_argument("--again", type=float, metavar="RATE", help="begin a new schedule with this peak rate")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    latents, scale = cache_latents(options.work)
    ids, empty, vocabulary = tokenize(options.work)
    weights = torch.tensor([scene.share * (0.55 if scene.width == BIG else 0.09) for scene in SCENES])
    data = Data(latents, ids, empty, weights, DDPMScheduler(1000, *BETAS, "scaled_linear"))
    state, path = State.new(vocabulary), options.work / "model.pt"
    if path.exists():
        state.load(path)
        if options.again:
            torch.manual_seed(options.seed + state.step)
            state.begin_again(options.again)
    else:
        words = teach_words(state.text, ids, latents, vocabulary - 1)
        state.log.append({"step": 0, "words_loss": round(float(np.mean(words[-50:])), 3)})
        state.average = Average([state.unet, state.text])
    train(state, data, path, minutes=options.minutes, scale=scale, seed=options.seed)


if __name__ == "__main__":
    main()
