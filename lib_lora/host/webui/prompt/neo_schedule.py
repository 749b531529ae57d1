"""Forge Neo's own schedule of strengths lets go of the LoRAs that we attach.

Its extension `sd_forge_lora_schedule` reads ``<lora:name:[w@t,…]>`` in the prompt by itself, and then ends every step
with an error where the host's loader was not given that LoRA.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lib_lora.host.webui.protocols import Processing

_SCRIPT = "LoRAControl"


def let_go(p: Processing, files: Collection[Path]) -> None:
    """Take ``files`` out of what the host would bring to its schedule in this generation."""
    for schedules in _schedules(p):
        for name in [name for name in schedules if Path(str(name)) in files]:
            del schedules[name]


def _schedules(p: Processing) -> Iterator[dict[Any, Any]]:
    """Yield the table from file to strengths of each script of that extension; mostly nothing."""
    runner = getattr(p, "scripts", None)
    for script in getattr(runner, "alwayson_scripts", None) or ():
        found = getattr(script, "mapping", None) if type(script).__name__ == _SCRIPT else None
        if isinstance(found, dict):
            yield found
