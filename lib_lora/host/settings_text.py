"""Reading back what a picture carries (`infotext` writes it; the WebUI's own texts are read as well)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib_lora.blocks.errors import TagError
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import find_tags, format_tag, parse_tag, resolve
from lib_lora.errors import InputError

_PAIR = re.compile(r'\s*([\w ./+\-]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_NEGATIVE = "Negative prompt:"
_WEIGHTS = "LoRA block weights"


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
        weighted=tuple(found.text for found in find_tags(values.get(_WEIGHTS, ""))),
    )


def prompt_as_rendered(settings: PictureSettings, *, presets: PresetFile, family: str) -> str:
    """Return the prompt; where a preset of a tag means something else today, its numbers of then are written out."""
    prompt, waiting = settings.prompt, list(settings.weighted)
    for match in reversed(find_tags(prompt)):
        then = next((text for text in reversed(waiting) if _name(text) == _name(match.text)), None)
        if then is None or not _weighted(match.text):
            continue
        waiting.reverse()
        waiting.remove(then)
        waiting.reverse()
        if _today(match.text, presets, family, settings.seed or 0) != then:
            prompt = prompt[: match.start] + then + prompt[match.end :]
    return prompt


def _today(tag: str, presets: PresetFile, family: str, seed: int) -> str:
    """Return the tag in today's numbers, or an empty text where it has none (XYZ, a preset that is gone)."""
    try:
        resolved = resolve(parse_tag(tag), presets, family, seed=seed)
    except InputError:  # of then, not of today: the picture's numbers take its place
        return ""
    return format_tag(resolved)


def _name(tag: str) -> str:
    try:
        return parse_tag(tag).name
    except TagError:  # a tag that cannot be read has no numbers to give back
        return tag


def _weighted(tag: str) -> bool:
    try:
        return parse_tag(tag).weights is not None
    except TagError:
        return False


def _number(text: str | None, kind: type[int] | type[float]) -> int | float | None:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None
