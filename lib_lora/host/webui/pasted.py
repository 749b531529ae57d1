"""The resolved numbers in an infotext, and from them a prompt that still makes its picture when a preset was edited."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import find_tags
from lib_lora.blocks.tag_edit import change_tag
from lib_lora.blocks.tag_model import ParsedTag
from lib_lora.errors import InputError
from lib_lora.host.infotext import PictureSettings, prompt_as_rendered
from lib_lora.host.webui.tags import changed, plain
from lib_lora.host.webui.wishes import Wishes

KEY = "LoRA block weights"
"""The same key and form as the studio's, so that `infotext` reads both."""

HIRES_KEY = "Hires LoRA block weights"


def record(p: Any, texts: Sequence[str], *, hires: bool) -> None:
    """Write the tags of a pass in numbers, or take away what an earlier picture left: plots share one dict.

    Args:
        p: the generation.
        texts: one text for all pictures, one a picture, or none.
        hires: the tags are the second pass's; it has a key of its own only where they differ.
    """
    params = getattr(p, "extra_generation_params", None)
    if not isinstance(params, dict):
        return
    value: Any = texts[0] if len(set(texts)) == 1 else list(texts)
    if not any(texts):
        value = None
    if hires:
        _put(params, HIRES_KEY, None if value == params.get(KEY) else value)
    else:
        _put(params, KEY, value)
        params.pop(HIRES_KEY, None)


def write_changes(p: Any, wishes: Wishes, *, hires: bool) -> None:
    """Put what an X/Y/Z cell or a panel that is off changes in the tags into the prompts from which infotexts are made.

    The host does the same with the LoRA of its own setting "Add network to prompt".
    """
    name = "all_hr_prompts" if hires else "all_prompts"
    prompts = getattr(p, name, None)
    if not (wishes.changes or wishes.off) or not isinstance(prompts, list):
        return
    first = getattr(p, "iteration", 0) * p.batch_size
    rows = range(first, first + p.batch_size)
    setattr(p, name, [_changed(text, wishes) if row in rows else text for row, text in enumerate(prompts)])


def restore(params: MutableMapping[str, Any], *, presets: PresetFile, family: str) -> None:
    """Change the prompts of a pasted infotext in place: a preset that says something else today becomes its numbers."""
    first = _tags(params, KEY)
    for prompt, weighted in (("Prompt", first), ("Hires prompt", _tags(params, HIRES_KEY) or first)):
        text = params.get(prompt)
        if not isinstance(text, str) or not weighted:
            continue
        settings = PictureSettings(text, seed=_seed(params), weighted=weighted)
        params[prompt] = prompt_as_rendered(settings, presets=presets, family=family)


def _changed(prompt: str, wishes: Wishes) -> str:
    for index in range(len(find_tags(prompt))):
        try:
            prompt = change_tag(prompt, index, lambda tag: _as_made(tag, wishes))
        except InputError:  # named below the picture; the tag stays as it is written
            continue
    return prompt


def _as_made(tag: ParsedTag, wishes: Wishes) -> ParsedTag:
    tag = changed(tag, wishes)
    return plain(tag) if wishes.off else tag


def _put(params: MutableMapping[str, Any], key: str, value: Any) -> None:
    if value is None:
        params.pop(key, None)
    else:
        params[key] = value


def _tags(params: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(found.text for found in find_tags(str(params.get(key, ""))))


def _seed(params: Mapping[str, Any]) -> int:
    try:
        return int(params.get("Seed", 0))
    except ValueError:  # a pasted text is anything
        return 0
