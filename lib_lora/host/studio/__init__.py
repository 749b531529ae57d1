"""Our own host, over diffusers: the pocket model, or any SD1, SD2 or SDXL checkpoint of the user."""

from lib_lora.host.studio.host import POCKET, StudioHost, pick_device

__all__ = ["POCKET", "StudioHost", "pick_device"]
