"""Contexts that put things back as they were: attributes, flags of networks, random numbers, the host's settings."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lib_lora.host.base import GenerateRequest
from lib_lora.host.webui.protocols import Options


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


@contextmanager
def settings_kept(names: Iterable[str]) -> Iterator[None]:
    """Put settings back that an order overrides: the host does so only with those that its settings file holds."""
    from modules import shared

    settings: Options = shared.opts
    data = settings.data
    before = {name: data[name] for name in names if name in data}
    missing = [name for name in names if name not in data]
    try:
        yield
    finally:
        data.update(before)
        for name in missing:
            data.pop(name, None)


@contextmanager
def prompt_history_kept() -> Iterator[None]:
    """Leave the host's memory of the last prompt to the user's own pictures."""
    from modules import shared

    options = shared.cmd_opts
    before = getattr(options, "no_prompt_history", False)
    options.no_prompt_history = True
    try:
        yield
    finally:
        options.no_prompt_history = before


@contextmanager
def bars_cleared() -> Iterator[None]:
    """Take the host's progress bar off the console at the end, as the host does after its own orders."""
    from modules import shared

    try:
        yield
    finally:
        bars = getattr(shared, "total_tqdm", None)
        if bars is not None:
            bars.clear()


@contextmanager
def same_encoder_noise(request: GenerateRequest) -> Iterator[None]:
    """Give the host's encoder the same noise for every picture that begins with the same one; it draws unseeded."""
    if request.init is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(request.seed)
        yield
