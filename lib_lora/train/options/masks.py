"""What of a picture is learned: masks, and what stands behind transparent pictures."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option

BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128)}
"""Color by name, RGB 0 to 255."""


@dataclass(frozen=True)
class MaskOptions:
    """See `TrainOptions`."""

    background: str = option(
        "white",
        "Background",
        "What is put behind transparent pictures: black for light hair, white for dark hair.",
        choices=tuple(BACKGROUNDS),
    )
    alpha_mask: bool = option(
        False, "Mask by transparency", "Only what is opaque is learned; the background counts as little as you say."
    )
    masks: str = option(
        "",
        "Folder of masks",
        "Pictures of the same names, white where something is to be learned and black where not.",
        form="DIR",
    )
    mask_floor: float = option(
        0.0,
        "Weight outside",
        "How much counts what a mask leaves out, 0 to 1; 0.1 keeps backgrounds calm.",
        low=0,
        high=1,
    )
