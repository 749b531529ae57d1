"""What is written into a picture, in the WebUI's format, so that it can be made again."""

from __future__ import annotations

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_lora.blocks.tag import format_tag
from lib_lora.host.base import GenerateRequest
from lib_lora.host.prompt import ReadPrompt

KEYWORD = "parameters"
"""Name of the PNG text chunk, as the WebUI reads it."""


def infotext(request: GenerateRequest, read: ReadPrompt, row: int, *, model: str, size: tuple[int, int]) -> str:
    """Return the settings of picture ``row`` of a request; block weights in numbers, not by name."""
    height, width = size
    seed = request.seed if request.sweep else request.seed + row
    values = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "CFG scale": f"{request.cfg_scale:g}",
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model": model,
    }
    if request.clip_skip > 1:
        values["Clip skip"] = request.clip_skip
    resolved = [tag.with_weights(request.sweep[row]) if tag.sweep and request.sweep else tag for tag in read.tags]
    weighted = " ".join(format_tag(tag) for tag in resolved if tag.weights is not None)
    if weighted:
        values["LoRA block weights"] = '"' + weighted.replace('"', "'") + '"'
    if read.problems:  # what is wrong, without the folders of whoever made the picture
        values["LoRA problems"] = '"' + " ".join(f"{each.what}." for each in read.problems).replace('"', "'") + '"'
    lines = [request.prompt]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    lines.append(", ".join(f"{key}: {value}" for key, value in values.items()))
    return "\n".join(lines)


def png_info(text: str) -> PngInfo:
    """Return the PNG chunk that carries ``text``."""
    info = PngInfo()
    info.add_itxt(KEYWORD, text) if not text.isascii() else info.add_text(KEYWORD, text)
    return info


def read_infotext(picture: Image.Image) -> str:
    """Return what a picture carries, or an empty text."""
    return str(picture.info.get(KEYWORD, ""))
