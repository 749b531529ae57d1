"""The WebUI's entry for LoRA Block Weight.

This release has the services and the terminal; the panels follow. Until then the accordion says so in one line.
The file name is kept for tools that re-run scripts by name; another extension's script of this name has precedence.
"""

from __future__ import annotations

import html
import logging
from pathlib import Path

import gradio as gr
from modules import scripts, shared

logger = logging.getLogger("lora_atelier")

TITLE = "LoRA Block Weight"
COMMAND = "python run.py demo"
ENGLISH = (
    "The panels arrive with the WebUI release of LoRA Atelier; training, block weights and merging work today in a "
    "terminal, in this extension's folder: {command}"
)
JAPANESE = (
    "操作パネルは LoRA Atelier の WebUI 版で追加されます。学習・階層別ウェイト・マージは、この拡張機能の"
    "フォルダを開いたターミナルで今すぐ使えます: {command}"
)


def note(language: str) -> str:
    """Return the line as HTML, in Japanese where the WebUI's localization file is a Japanese one."""
    text = JAPANESE if language.lower().startswith("ja") else ENGLISH
    return f'<p class="lora-atelier-note">{text.format(command=f"<code>{html.escape(COMMAND)}</code>")}</p>'


def other_owner(own: Path) -> Path | None:
    """Return the other extension's script that has our file name, if one is loaded."""
    paths = (Path(entry.path) for entry in scripts.scripts_data)
    return next((path for path in paths if path.name == own.name and path.resolve() != own.resolve()), None)


class LoraBlockWeightScript(scripts.Script):
    """The accordion under txt2img and img2img; it takes no part in a generation."""

    def title(self) -> str:
        """Return the name that the WebUI shows and its API uses."""
        return TITLE

    def show(self, is_img2img: bool) -> bool | object:
        """Show in both tabs, or step aside in one sentence; asked when all extensions are loaded."""
        other = other_owner(Path(__file__))
        if other is None:
            return scripts.AlwaysVisible
        if not is_img2img:
            logger.warning("LoRA Atelier: %s is installed and keeps the name %s; ours steps aside.", other, TITLE)
        return False

    def ui(self, is_img2img: bool) -> list[object]:
        """Build the line; it has no input, so the script has no arguments."""
        with gr.Accordion(TITLE, open=False, elem_id=self.elem_id("panel")):
            gr.HTML(note(str(getattr(shared.opts, "localization", "") or "")))
        return []
