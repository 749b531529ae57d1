"""The tab *LoRA Train*: pictures, plan, run."""

from __future__ import annotations

from lib_lora.ui.train.orders import tag_of
from lib_lora.ui.train.panel import TrainPanel, build

__all__ = ["TrainPanel", "build", "tag_of"]
