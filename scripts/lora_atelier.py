"""The WebUI's entry for LoRA Atelier: registers what the WebUI calls; everything is done in ``lib_lora``."""

from modules import script_callbacks

from lib_lora.ui.webui import callbacks

callbacks.register(script_callbacks)
