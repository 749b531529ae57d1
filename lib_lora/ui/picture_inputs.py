"""What the accordion *LoRA Block Weight* is told of the picture's other settings, whatever the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.host.base import GenerateRequest


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
    """Return the seed of a field; nothing, a negative number, or what is no number is -1: a random one."""
    try:
        return max(-1, int(float(str(text))))
    except (ValueError, OverflowError):
        return -1
