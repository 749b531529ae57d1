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
        request: called with the prompt and the components' values in their order.
    """

    components: Sequence[Any]
    request: Callable[..., GenerateRequest]
