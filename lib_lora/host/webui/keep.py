"""Contexts that put things of the process back as they were: flags of networks, random numbers, attributes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def attributes_kept(*places: tuple[Any, str]) -> Iterator[None]:
    """Put attributes of classes, modules or objects back, the very same objects; one that was not there goes away."""
    missing = object()
    before = [(owner, name, vars(owner).get(name, missing)) for owner, name in places]
    try:
        yield
    finally:
        for owner, name, value in before:
            if value is not missing:
                setattr(owner, name, value)
            elif name in vars(owner):
                delattr(owner, name)


@contextmanager
def frozen(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Let no parameter of ``networks`` want a gradient, and have them in eval mode; both as before afterwards.

    Weights made in inference mode are left alone: they take part in no gradient, and their flag cannot be changed.
    """
    parameters, modes = [], []
    for network in networks:
        own = [parameter for parameter in network.parameters() if not parameter.is_inference()]
        parameters += [(parameter, parameter.requires_grad) for parameter in own]
        modes += [(module, module.training) for module in network.modules()]
    try:
        for parameter, _ in parameters:
            parameter.requires_grad_(False)
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for parameter, wanted in parameters:
            parameter.requires_grad_(wanted)
            parameter.grad = None
        for module, mode in modes:
            module.training = mode


@contextmanager
def flags_off(network: nn.Module, *names: str) -> Iterator[None]:
    """Have the boolean attributes ``names`` of all parts of a network off for a while."""
    found = [(module, name) for module in network.modules() for name in names if vars(module).get(name) is True]
    try:
        for module, name in found:
            setattr(module, name, False)
        yield
    finally:
        for module, name in found:
            setattr(module, name, True)


@contextmanager
def random_kept() -> Iterator[None]:
    """Put the process's generators of random numbers back: torch on CPU and GPUs, numpy, Python."""
    python, numbers, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
