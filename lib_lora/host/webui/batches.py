"""Which pictures of an order go through the host together, and how many at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from lib_lora.blocks.layouts import text_blocks
from lib_lora.blocks.weights import BlockWeights
from lib_lora.host.base import GenerateRequest, LoadedModel
from lib_lora.host.gpu_memory import gpu_memory

T = TypeVar("T")

MOST = 32
"""Pictures at once, however small they are: more are no faster, and a stop would take longer."""

CPU_POSITIONS = 4 * 4096
"""Latent positions at once on a CPU: four pictures of 512 px; more only take memory."""

BYTES_PER_POSITION = 24 * 1024
"""Memory of one UNet pass a latent position and row in half precision: 100 MB for a row of 512 px, with the decoder's
share. An estimate; an order that does not fit is halved and tried again."""

_AND = re.compile(r"\bAND\b")
_SHARED_STEPS = ("dpm adaptive",)
"""Samplers that choose one length of step for the whole batch: a picture would depend on its neighbours."""


def batches(request: GenerateRequest, *, size: int) -> list[tuple[int, ...]]:
    """Return the pictures of ``request`` by number, in the batches in which they are rendered.

    A batch of a sweep shares the weight of the text encoder (BASE), because one conditioning serves the whole batch.
    The smallest group is rendered first: whenever somebody stops, what is there lacks little at its beginning.
    """
    groups = [list(range(request.batch))]
    if request.sweep is not None:
        by_text: dict[tuple[float, ...], list[int]] = {}
        for number, weights in enumerate(request.sweep):
            by_text.setdefault(_text_weights(weights), []).append(number)
        groups = sorted(by_text.values(), key=len)
    return [tuple(group[start : start + size]) for group in groups for start in range(0, len(group), size)]


def batch_size(request: GenerateRequest, model: LoadedModel, sampler: str, *, noise_by_batch: bool = False) -> int:
    """Return how many pictures may be rendered at once.

    Args:
        request: the order.
        model: what renders it.
        sampler: the sampler's name.
        noise_by_batch: the sampler's noise is drawn for the whole batch, so that a sweep's rows would not share it.
    """
    swept = request.sweep is not None
    # An AND prompt has several rows a picture; a picture to begin with is encoded with other noise for every row.
    if swept and (_AND.search(request.prompt + request.negative) or request.init is not None or noise_by_batch):
        return 1
    if sampler.casefold() in _SHARED_STEPS:
        return 1
    if swept and request.sweep_chunk:
        return request.sweep_chunk
    return max(1, min(MOST, _fitting(request, model)))


def _fitting(request: GenerateRequest, model: LoadedModel) -> int:
    """Return how many pictures the memory holds."""
    height, width = request.height or model.native_side, request.width or model.native_side
    positions = max(1, height * width // model.pixels_per_latent**2)
    if model.device.type != "cuda":
        return CPU_POSITIONS // positions
    free, _ = gpu_memory(model.device)
    rows = 2 if request.cfg_scale != 1 else 1
    each = positions * rows * BYTES_PER_POSITION * max(1, model.dtype.itemsize // 2)
    return int(free * 0.7 / each)


def _text_weights(weights: BlockWeights) -> tuple[float, ...]:
    return tuple(value for name, value in weights.as_dict().items() if name in text_blocks())


def in_order(made: Sequence[tuple[int, T]]) -> list[T]:
    """Return what was made from the first picture on without a gap, in the order's order."""
    by_number = dict(made)
    whole = []
    while len(whole) in by_number:
        whole.append(by_number[len(whole)])
    return whole
