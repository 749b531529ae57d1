"""The settings of a picture as text, in the WebUI's format: written into the picture, and read back from one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_lora.atomic import replace_file
from lib_lora.blocks.errors import TagError
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import ParsedTag, find_tags, format_tag, parse_tag, resolve
from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest
from lib_lora.host.prompt.read import ReadPrompt
from lib_lora.sentences import say

KEYWORD = "parameters"
"""Name of the PNG text chunk, as the WebUI reads it."""

WEIGHTS = "LoRA block weights"
"""Under this key stand the tags of a picture in numbers."""

PROBLEMS = "LoRA problems"
"""Under this one, what was wrong with the tags that were left out."""

_PAIR = re.compile(r'\s*([\w ./+\-]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_NEGATIVE = "Negative prompt:"
N = TypeVar("N", int, float)


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
        values[WEIGHTS] = '"' + weighted.replace('"', "'") + '"'
    if read.problems:  # what is wrong, without the folders of whoever made the picture
        values[PROBLEMS] = '"' + " ".join(f"{each.what}." for each in read.problems).replace('"', "'") + '"'
    lines = [request.prompt]
    if request.negative:
        lines.append(f"{_NEGATIVE} {request.negative}")
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


def png_bytes(image: Image.Image, text: str = "") -> bytes:
    """Return ``image`` as a PNG file with ``text`` in it."""
    data = io.BytesIO()
    image.save(data, format="PNG", pnginfo=png_info(text) if text else None)
    return data.getvalue()


def write_png(path: Path, image: Image.Image, text: str = "") -> Path:
    """Write ``image`` as PNG with ``text`` in it, whole or not at all; a picture that is there is replaced.

    Raises:
        FileError: the disk refuses.
    """
    return replace_file(path, png_bytes(image, text), what=say("The picture"))


@dataclass(frozen=True)
class PictureSettings:
    """The settings in a picture; None where it says nothing of one."""

    prompt: str
    negative: str = ""
    steps: int | None = None
    sampler: str | None = None
    cfg_scale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    clip_skip: int | None = None
    model: str | None = None
    weighted: tuple[str, ...] = ()


def read_settings(text: str) -> PictureSettings:
    """Return the settings in an infotext.

    Raises:
        InputError: the text is none.
    """
    if not text.strip():
        raise InputError(
            "This picture carries no settings",
            cure="Use the PNG as it was saved here or in the WebUI; websites and messengers often remove them.",
        )
    *lines, last = text.strip().split("\n")
    values = {key.strip(): value.strip().strip('"') for key, value in _PAIR.findall(last)}
    if "Steps" not in values:  # a text without the line of numbers is a prompt
        lines, values = [*lines, last], {}
    cut = next((n for n, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[cut:])[len(_NEGATIVE) :].strip()
    size = re.fullmatch(r"(\d+)x(\d+)", values.get("Size", ""))
    return PictureSettings(
        prompt="\n".join(lines[:cut]).strip(),
        negative=negative,
        steps=_number(values.get("Steps"), int),
        sampler=values.get("Sampler"),
        cfg_scale=_number(values.get("CFG scale"), float),
        seed=_number(values.get("Seed"), int),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        clip_skip=_number(values.get("Clip skip"), int),
        model=values.get("Model"),
        weighted=tuple(found.text for found in find_tags(values.get(WEIGHTS, ""))),
    )


def prompt_as_rendered(settings: PictureSettings, *, presets: PresetFile, family: str) -> str:
    """Return the prompt; where a preset of a tag means something else today, its numbers of then are written out."""
    prompt = settings.prompt
    waiting = [(tag.name, text) for text in settings.weighted if (tag := _parsed(text)) is not None]
    for match in reversed(find_tags(prompt)):
        tag = _parsed(match.text)
        if tag is None or tag.weights is None:
            continue
        place = next((n for n in reversed(range(len(waiting))) if waiting[n][0] == tag.name), None)
        if place is None:
            continue
        _, then = waiting.pop(place)
        if _today(tag, presets, family, settings.seed or 0) != then:
            prompt = prompt[: match.start] + then + prompt[match.end :]
    return prompt


def _parsed(text: str) -> ParsedTag | None:
    """Return a tag; None for one that cannot be read, which has no numbers to give back."""
    try:
        return parse_tag(text)
    except TagError:
        return None


def _today(tag: ParsedTag, presets: PresetFile, family: str, seed: int) -> str:
    """Return the tag in today's numbers, or an empty text where it has none (XYZ, a preset that is gone)."""
    try:
        return format_tag(resolve(tag, presets, family, seed=seed))
    except InputError:  # of then, not of today: the picture's numbers take its place
        return ""


def _number(text: str | None, kind: Callable[[str], N]) -> N | None:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None
