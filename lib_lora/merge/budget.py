"""A file's size as a rank rule: of all modules together the directions stay that say most for each byte."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile


def within(lora: LoraFile, sigmas: Mapping[str, Tensor], size: int, *, now: int) -> dict[str, int]:
    """Return how many directions of each module stay so that the file has at most ``size`` bytes.

    A direction costs a column and a row, and is worth its squared singular value: those with the most worth for each
    byte stay, which minimizes the squared error of all modules together but for the last direction.

    Args:
        lora: whose modules are LoRAs of all directions.
        sigmas: the singular values of each, downwards.
        size: bytes of the whole file.
        now: bytes that it has with all directions.

    Raises:
        InputError: not even one direction fits.
    """
    costs = {key: _cost(lora, key) for key in sigmas}
    free = size - (now - sum(costs[key] * len(sigma) for key, sigma in sigmas.items()))
    keys = list(sigmas)
    worth = torch.cat([sigmas[key].double().square() / costs[key] for key in keys])
    owner = torch.cat([torch.full((len(sigmas[key]),), number) for number, key in enumerate(keys)])
    price = torch.tensor([costs[key] for key in keys])[owner]
    order = torch.argsort(worth, descending=True, stable=True)
    fitting = order[price[order].cumsum(0) <= free]
    if not len(fitting):
        raise InputError(
            "{size:.1f} MB are too few: not even one rank of one layer fits",
            size=size / 1e6,
            cure="Choose a larger size; {least:.1f} MB hold a little.",
            least=(size - free + 10 * max(costs.values())) / 1e6,
        )
    counts = torch.bincount(owner[fitting], minlength=len(keys))
    return {key: int(count) for key, count in zip(keys, counts, strict=True)}


def _cost(lora: LoraFile, key: str) -> int:
    """Return the bytes of one direction of a module."""
    part = lora.adapters[key].weight_part
    assert part is not None  # it has singular values
    up, down = part.parameters()[:2]
    return up[:, 0].numel() * up.element_size() + down[0].numel() * down.element_size()
