"""LoRA Atelier: one workshop for a LoRA's whole life.

``import lib_lora`` costs nothing: what it offers to a program or a notebook is imported when it is first used. The page
docs/python.md has an example of each.
"""

from __future__ import annotations

from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib_lora.analysis.options import AnalyzeOptions as AnalyzeOptions
    from lib_lora.blocks.presets import PresetFile as PresetFile
    from lib_lora.blocks.weights import BlockWeights as BlockWeights
    from lib_lora.errors import AtelierError as AtelierError
    from lib_lora.formats.lora import LoraFile as LoraFile
    from lib_lora.formats.lora import read_lora as read_lora
    from lib_lora.formats.lora import write_lora as write_lora
    from lib_lora.host.request import GenerateRequest as GenerateRequest
    from lib_lora.live.attach import attach as attach
    from lib_lora.merge.budget import SavedAs as SavedAs
    from lib_lora.merge.compress import compress as compress
    from lib_lora.merge.method import MethodOptions as MethodOptions
    from lib_lora.merge.rank_rule import RankRule as RankRule
    from lib_lora.progress import Stoppable as Stoppable
    from lib_lora.services.notebook import add as add
    from lib_lora.services.notebook import analyze as analyze
    from lib_lora.services.notebook import analyze_tiers as analyze_tiers
    from lib_lora.services.notebook import bake as bake
    from lib_lora.services.notebook import find_weights as find_weights
    from lib_lora.services.notebook import multipliers as multipliers
    from lib_lora.services.notebook import open_studio as open_studio
    from lib_lora.services.notebook import plan as plan
    from lib_lora.services.notebook import train_lora as train_lora
    from lib_lora.train.options import TrainOptions as TrainOptions

__version__ = "0.1.0"

_PLACES = {
    "analysis.options": ("AnalyzeOptions",),
    "blocks.presets": ("PresetFile",),
    "blocks.weights": ("BlockWeights",),
    "errors": ("AtelierError",),
    "formats.lora": ("LoraFile", "read_lora", "write_lora"),
    "host.request": ("GenerateRequest",),
    "live.attach": ("attach",),
    "merge.budget": ("SavedAs",),
    "merge.compress": ("compress",),
    "merge.method": ("MethodOptions",),
    "merge.rank_rule": ("RankRule",),
    "progress": ("Stoppable",),
    "services.notebook": (
        "add",
        "analyze",
        "analyze_tiers",
        "bake",
        "find_weights",
        "multipliers",
        "open_studio",
        "plan",
        "train_lora",
    ),
    "train.options": ("TrainOptions",),
}
_MODULE_OF = {name: f"{__name__}.{place}" for place, names in _PLACES.items() for name in names}
__all__ = tuple(_MODULE_OF)  # names that are loaded when they are asked for


def __getattr__(name: str) -> Any:
    """Import what is asked for by its name."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_MODULE_OF[name]), name)
    if isfunction(found):
        found = import_module(f"{__name__}.services.arguments").checked(found)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
