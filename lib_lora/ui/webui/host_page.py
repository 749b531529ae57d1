"""One build of the WebUI's page: its own widgets that ours are wired to, and which of our panels it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lib_lora.ui.block_weight import BlockWeightPanel

TABS = ("txt2img", "img2img")
FIELDS = {
    "prompt": "prompt",
    "negative": "neg_prompt",
    "steps": "steps",
    "sampler": "sampling",
    "scheduler": "scheduler",
    "seed": "seed",
    "cfg_scale": "cfg_scale",
    "width": "width",
    "height": "height",
    "denoise": "denoising_strength",
    "init": "image",
}
"""Our name for a setting -> the end of the element id that the WebUI gives it, behind the tab's name."""

CANVAS = "logical_image_background"
"""Forge draws its picture with HTML; the picture itself is in a hidden text box of this class, right behind it."""


@dataclass
class HostPage:
    """What was met while the WebUI built its page; a new one for each build, because old widgets mean nothing."""

    found: dict[str, dict[str, Any]] = field(default_factory=lambda: {tab: {} for tab in TABS})
    panels: dict[str, tuple[BlockWeightPanel, Any]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    _canvas: bool = False

    def note(self, component: Any, elem_id: str | None) -> None:
        """Remember a widget of the WebUI that ours read or write; called for every one that it makes."""
        if self._canvas and CANVAS in (getattr(component, "elem_classes", None) or ()):
            self.found["img2img"]["init"] = component
            self._canvas = False
        tab, _, rest = (elem_id or "").partition("_")
        if tab not in self.found:
            return
        name = next((name for name, end in FIELDS.items() if end == rest), None)
        if name == "init" and component.get_block_name() == "html":
            self._canvas = True
        elif name is not None and (name != "init" or tab == "img2img"):
            self.found[tab].setdefault(name, component)


def keep_out_of_config(root: Any) -> None:
    """Let the WebUI not write ``root`` and what is in it into ui-config.json.

    It would keep today's values, limits and visibility there by label, and bring them back over a later version's.
    """
    root.do_not_save_to_config = True
    for child in getattr(root, "children", ()):
        keep_out_of_config(child)
