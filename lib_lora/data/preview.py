"""Small pictures that show what training will see of a file: the crop in full, what is cut away dimmed."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageEnhance

from lib_lora.data.buckets import BucketPlan
from lib_lora.data.masks import overlaid

FRAME = (255, 122, 0)


def crop_preview(
    picture: Image.Image, plan: BucketPlan, *, mask: Image.Image | None = None, side: int = 256
) -> Image.Image:
    """Return the picture at most ``side`` pixels large, with the frame that ``plan`` keeps drawn on it.

    What ``mask`` leaves out is under a colored veil.
    """
    width, height = picture.size
    picture = picture.copy()
    picture.thumbnail((side, side))
    if mask is not None:
        picture = overlaid(picture, mask)
    across, down = picture.width / width, picture.height / height
    # From the crop in the resized picture back to the file's own pixels, and from there to the preview.
    scale_x, scale_y = width / plan.resize[0] * across, height / plan.resize[1] * down
    left, top, right, bottom = plan.crop
    box = (round(left * scale_x), round(top * scale_y), round(right * scale_x), round(bottom * scale_y))
    shown = ImageEnhance.Brightness(picture).enhance(0.35)
    shown.paste(picture.crop(box), box[:2])
    if plan.lost > 0.001:
        last = (min(box[2], picture.width) - 1, min(box[3], picture.height) - 1)
        ImageDraw.Draw(shown).rectangle((*box[:2], *last), outline=FRAME, width=2)
    return shown
