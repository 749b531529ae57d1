"""The WebUI's entry for the accordion LoRA Block Weight.

The file name is kept for tools that re-run scripts by name (ADetailer); another extension's script of this name has
precedence, and ours steps aside.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import scripts

from lib_lora.host.webui import folders

if TYPE_CHECKING:
    from lib_lora.host.webui.protocols import Processing

logger = logging.getLogger("lora_atelier")


class LoraBlockWeightScript(scripts.Script):
    """The accordion under txt2img and img2img; its one argument says whether block weights are on."""

    def title(self) -> str:
        """Return the name that the WebUI shows and its API uses."""
        return "LoRA Block Weight"

    def show(self, is_img2img: bool) -> bool | object:
        """Show in both tabs, or step aside in one sentence; asked when all extensions are loaded."""
        other = folders.other_script(Path(__file__))
        if other is None:
            return scripts.AlwaysVisible
        if not is_img2img:
            sentence = "LoRA Atelier: %s is installed and keeps the name LoRA Block Weight; ours steps aside."
            logger.warning(sentence, other)
        return False

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the accordion."""
        from lib_lora.ui.webui import accordion

        return accordion.build("img2img" if is_img2img else "txt2img")

    def before_process(self, p: Processing, active: Any = True, *_: Any) -> None:
        """Tell the generation whether block weights are on."""
        from lib_lora.host.webui.prompt import hooks

        hooks.before_process(p, off=active is False)

    def process(self, p: Processing, *_: Any) -> None:
        """End a generation before its first picture where a tag is broken and the setting says so."""
        from lib_lora.host.webui.prompt import hooks

        hooks.process(p)
