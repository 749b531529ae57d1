"""What the accordion *LoRA Block Weight* is told of the picture's other settings, whatever the page."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.host.base import GenerateRequest
from lib_lora.host.limits import LARGEST_SEED


@dataclass(frozen=True)
class PictureInputs:
    """The widgets that hold a picture's settings, and how their values become an order.

    Attributes:
        components: widgets beside the prompt: seed, steps, size, …
        request: called with the prompt and the components' values in their order; those of ``heavy`` follow, or are
            left out where only the size of the work is asked.
        heavy: widgets whose values are large (a start picture); they are sent when work begins, not at every change.
    """

    components: Sequence[Any]
    request: Callable[..., GenerateRequest]
    heavy: Sequence[Any] = ()


def chosen_seed(text: object) -> int:
    """Return the seed of a field; -1, nothing, or what is no number is a random one."""
    try:
        seed = int(float(str(text)))
    except (ValueError, OverflowError):
        seed = -1
    return seed if 0 <= seed <= LARGEST_SEED else random.randint(0, LARGEST_SEED)
