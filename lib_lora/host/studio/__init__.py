"""Our own host, over diffusers: the pocket model, or any SD1, SD2 or SDXL checkpoint of the user."""

from lib_lora.errors import AtelierError

try:
    from lib_lora.host.studio.host import POCKET, StudioHost, pick_device
except ModuleNotFoundError as error:
    if (error.name or "").startswith("lib_lora"):
        raise
    raise AtelierError(
        "The studio needs the package {package}, which is not installed",
        package=error.name,
        cure="Install the packages of the studio, as docs/python.md says.",
    ) from error

__all__ = ["POCKET", "StudioHost", "pick_device"]
