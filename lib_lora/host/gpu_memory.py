"""How much memory a GPU has left."""

from __future__ import annotations

import torch


def gpu_memory(device: torch.device) -> tuple[int, int]:
    """Return the free and the whole memory of a GPU in bytes; "cuda" without a number is the present one.

    Free is what no program holds and what torch keeps for us from before. Torch itself refuses a device without a
    number here, and hosts name theirs so.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    free, whole = torch.cuda.mem_get_info(index)
    return free + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index), whole
