"""Who may speak to the studio and what may come in: sender, password, size, and what gradio would serve or fetch."""

from __future__ import annotations

from lib_lora.ui.guard.door import Guard
from lib_lora.ui.guard.gradio_door import GradioDoor

__all__ = ["GradioDoor", "Guard"]
