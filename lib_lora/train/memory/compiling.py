"""Blocks compiled by torch; one that cannot be runs as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from lib_lora.sentences import say
from lib_lora.train.memory.blocks import Forward, run_through
from lib_lora.train.memory.planner import out_of_memory


def compiled(blocks: Iterable[nn.Module], remark: Callable[[str], None]) -> AbstractContextManager[None]:
    """Run the blocks compiled while the context lasts; the first that fails says so, and all go on as they are.

    Compiling happens at a block's first call, once for each size of picture.
    """
    failed: list[str] = []

    def wrap(_: nn.Module, plain: Forward) -> Forward:
        fast = torch.compile(plain)

        def forward(*given: Any, **named: Any) -> Any:
            if failed:
                return plain(*given, **named)
            try:
                return fast(*given, **named)
            except Exception as error:  # a compiler may raise anything at all
                if out_of_memory(error):
                    raise
                failed.append(str(error))
                first = next(iter(str(error).strip().splitlines()), type(error).__name__)
                remark(say("not compiled, and trained without: {reason}", reason=first))
                return plain(*given, **named)

        return forward

    return run_through(blocks, wrap)
