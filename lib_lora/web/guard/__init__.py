"""Who may speak to the studio and what may come in: sender, password, size."""

from __future__ import annotations

from lib_lora.web.guard.door import Guard

__all__ = ["Guard"]
