"""The tab *Generate*: pictures from a prompt with LoRAs."""

from lib_lora.ui.generate.panel import GeneratePanel, build

__all__ = ["GeneratePanel", "build"]
