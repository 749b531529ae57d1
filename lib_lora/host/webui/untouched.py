"""What of the host stays as it was while it makes pictures for us: settings, the last prompt, its random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from lib_lora.host.base import GenerateRequest


@contextmanager
def settings_kept(names: Iterable[str]) -> Iterator[None]:
    """Put settings back that an order overrides: the host does so only with those that its settings file holds."""
    from modules import shared

    data = shared.opts.data
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
