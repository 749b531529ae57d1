"""The rungs of a ladder: plain, recomputed, weights in 8 bits, weights in main memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lib_lora.host.base import LoadedModel
from lib_lora.train.memory.ahead import way_to
from lib_lora.train.memory.blocks import blocks_of, checkpointed
from lib_lora.train.memory.storage import FLOAT8, in_float8, in_main_memory, stored
from lib_lora.train.options.memory import RUNGS

PLAIN, CHECKPOINTING, FP8, SWAP = RUNGS


@contextmanager
def saving(model: LoadedModel, rung: str) -> Iterator[None]:
    """Have ``model`` need as little memory as ``rung`` says while the context lasts; it comes back byte for byte.

    The text encoders are recomputed too; what is stored otherwise is the UNet, which is nearly all of a model.
    """
    with ExitStack() as stack:
        if rung in (FP8, SWAP):
            store = in_float8 if rung == FP8 else in_main_memory
            way = way_to(model.device) if rung == SWAP else None  # what waits on the device itself is there at once
            stack.enter_context(stored(blocks_of(model.networks[:1]), store, way=way))
        if rung != PLAIN:
            stack.enter_context(checkpointed(blocks_of(model.networks)))
        yield


def usable(rung: str, model: LoadedModel) -> bool:
    """Whether a rung can be stood on here: not every torch and device has weights of 8 bits."""
    return rung != FP8 or (FLOAT8 is not None and model.device.type in ("cpu", "cuda"))


def above(rung: str, model: LoadedModel) -> tuple[str, ...]:
    """Return the rungs that save more than ``rung``, in their order."""
    return tuple(one for one in RUNGS[RUNGS.index(rung) + 1 :] if usable(one, model))
