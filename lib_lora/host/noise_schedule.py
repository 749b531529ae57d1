"""How much of a picture is left at each timestep, and what a checkpoint says of the schedule that it was made on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import AtelierError
from lib_lora.formats.header import read_header
from lib_lora.sentences import say

NOISE, VELOCITY = "epsilon", "v_prediction"
ALMOST_NOTHING = 2.0**-24
"""What stands for ᾱ = 0 while sampling, since samplers divide by it: 4096 times more noise than picture."""

IN_VAIN = say(
    "the checkpoint or the WebUI says zero terminal SNR, but the model predicts noise, which "
    "teaches nothing where no picture is left: its plain schedule is used"
)


@dataclass(frozen=True)
class Schedule:
    """The noise schedule of a model.

    Attributes:
        plain: ᾱ ``(timesteps,)``, the share of the picture's variance in the noised one, as the model's betas give it.
        zero_terminal: whether the model was made on the schedule that `zero_terminal_snr` returns.
        notes: what a person should know of how the model is used.
    """

    plain: Tensor
    zero_terminal: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, plain: Tensor, prediction_type: str, *, marked: bool, notes: Iterable[str] = ()) -> Schedule:
        """Return the schedule of a model; ``marked``: its checkpoint or its host says that it ends in pure noise."""
        velocity, said = prediction_type == VELOCITY, list(notes)
        if marked and not velocity:
            said.append(IN_VAIN)
        return cls(plain, marked and velocity, tuple(said))

    @property
    def alphas_cumprod(self) -> Tensor:
        """ᾱ ``(timesteps,)`` as the model is trained with."""
        return zero_terminal_snr(self.plain) if self.zero_terminal else self.plain

    def switched(self, on: bool) -> Schedule:
        """Return the same schedule with or without zero terminal SNR."""
        return replace(self, zero_terminal=on)

    def for_sampling(self, noise: Mapping[str, Any]) -> dict[str, Any]:
        """Return the words ``noise`` of diffusers' schedulers, which say the plain schedule, for this one.

        With zero terminal SNR a picture begins at the very last step (arXiv:2305.08891, section 3.3).
        """
        if not self.zero_terminal:
            return dict(noise)
        left = self.alphas_cumprod.double().clamp(min=ALMOST_NOTHING)
        before = torch.cat([torch.ones(1, dtype=left.dtype), left[:-1]])
        kept = {name: value for name, value in noise.items() if not name.startswith("beta_")}
        return kept | {"trained_betas": (1 - left / before).tolist(), "timestep_spacing": "trailing"}


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Return ᾱ rescaled so that its last value is 0 and its first stays (arXiv:2305.08891, algorithm 1)."""
    root = alphas_cumprod.sqrt()
    first, last = root[0], root[-1]
    return ((root - last) * (first / (first - last))) ** 2


@dataclass(frozen=True)
class Marks:
    """What a checkpoint says of itself: it predicts the velocity; it was made with zero terminal SNR."""

    velocity: bool = False
    zero_terminal: bool = False


def marks_of(names: Collection[str], metadata: Mapping[str, str]) -> Marks:
    """Return the marks among a checkpoint's tensors (the empty ``v_pred`` and ``ztsnr``) and in its metadata."""
    said = metadata.get("modelspec.prediction_type", "")
    rescaled = metadata.get("ss_zero_terminal_snr", "").lower() == "true"
    return Marks("v_pred" in names or said.startswith("v"), "ztsnr" in names or rescaled)


def marks_in(path: Path) -> Marks:
    """Return the marks of a checkpoint file, read from its header; none where it has no header that can be read."""
    try:
        return _marks_in(path, path.stat().st_mtime_ns)
    except OSError:
        return Marks()


@lru_cache(maxsize=4)
def _marks_in(path: Path, changed: int) -> Marks:
    if path.suffix.lower() != ".safetensors":
        return Marks()
    try:
        header = read_header(path)
    except AtelierError:
        return Marks()
    return marks_of(header.tensors, header.metadata)
