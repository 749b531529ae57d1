"""Hooks on a compiled model: PyTorch's compiler is told to look for them.

By default it does not (``torch._dynamo.config.skip_nnmodule_hook_guards``): what was compiled once runs on as it was,
and a LoRA that came, went or changed its place since then does nothing, without a word. Hosts compile
(Forge Neo's panel *torch.compile*), so whoever puts hooks on a model says so here first.
"""

from __future__ import annotations

import sys


def notice_hooks() -> None:
    """Have compiled modules compiled anew when their hooks are others; once also those that were compiled before."""
    config = sys.modules.get("torch._dynamo.config")  # not imported: nothing is compiled, and it costs a second
    if config is None or not getattr(config, "skip_nnmodule_hook_guards", False):
        return
    config.skip_nnmodule_hook_guards = False  # type: ignore[attr-defined]
    sys.modules["torch._dynamo"].reset()
