"""What is kept of a generation's tags: told below the picture, and written into its infotext to make it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.blocks.errors import PositionError
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import find_tags
from lib_lora.blocks.tag_edit import change_tag
from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.privacy import without_folders
from lib_lora.host.infotext import PROBLEMS, WEIGHTS, PictureSettings, prompt_as_rendered
from lib_lora.host.webui.lora_list import host_networks
from lib_lora.host.webui.options import host_setting
from lib_lora.host.webui.prompt.overrides import GenerationOverrides
from lib_lora.host.webui.protocols import Processing

HASHES = "Lora hashes"
"""Key of the host's list in an infotext."""

HIRES_WEIGHTS = "Hires LoRA block weights"

_REMOVED = str.maketrans("", "", ":,")  # as the host's loader removes them


def _nothing(text: str) -> None:
    """Show no notice."""


@dataclass(frozen=True)
class Notifier:
    """How sentences reach a person; the plain one speaks English and shows no notices.

    Attributes:
        error: an error in the language of the page, as one text.
        note: a remark of the core in the language of the page.
        notice: shows a text in the page that made the order, if there is one.
    """

    error: Callable[[AtelierError], str] = str
    note: Callable[[str], str] = str
    notice: Callable[[str], None] = _nothing


def tell_error(p: Processing, error: AtelierError, notifier: Notifier) -> None:
    """Put an error below the pictures of ``p``, into their infotext, and once into the page."""
    text = notifier.error(error)
    if isinstance(error, PositionError) and error.text not in text:
        text = f"{error.text}: {text}"
    new = text not in (getattr(p, "comments", None) or ())  # every batch and every pass finds it again
    _tell(p, text)
    params = getattr(p, "extra_generation_params", None)
    if isinstance(params, dict):
        line = without_folders(text.split("\n", 1)[0])  # a picture is handed on; the page may tell folders
        known = str(params.get(PROBLEMS, ""))
        params[PROBLEMS] = line if not known else known if line in known else f"{known} {line}"
    if new:
        notifier.notice(text)


def tell_note(p: Processing, name: str, text: str, notifier: Notifier) -> None:
    """Put a note about the LoRA ``name`` ("": about all) below the pictures of ``p``."""
    _tell(p, f"{name}: {notifier.note(text)}" if name else notifier.note(text))


def forget(p: Processing) -> None:
    """Take the problems out of the infotext: cells of the X/Y/Z plot share one dict of values."""
    params = getattr(p, "extra_generation_params", None)
    if isinstance(params, dict):
        params.pop(PROBLEMS, None)


def _tell(p: Processing, text: str) -> None:
    """Add a comment; reForge and others have the method, older hosts only the list in the model's hijack."""
    if hasattr(p, "comment"):
        p.comment(text)


def add_hashes(p: Processing, names: Iterable[str]) -> None:
    """Add ``names`` to the list that the host's loader made for ``p``, after it activated its own."""
    networks = host_networks()
    wanted = list(dict.fromkeys(names))
    if networks is None or not wanted or not host_setting("lora_add_hashes_to_infotext", True):
        return
    hashes = getattr(p, "lora_hashes", None)
    if not isinstance(hashes, dict):  # Forge classic writes its own straight into the text
        rows = (row.partition(": ") for row in str(p.extra_generation_params.get(HASHES, "")).split(", "))
        hashes = {name: short for name, _, short in rows if short}
    for name in wanted:
        entry = networks.available_network_aliases.get(name) or networks.available_networks.get(name)
        if entry is None:
            continue
        entry.read_hash()
        if entry.shorthash:
            hashes[name.translate(_REMOVED)] = entry.shorthash
    if hashes:
        p.extra_generation_params[HASHES] = ", ".join(f"{name}: {short}" for name, short in hashes.items())


def batch_rows(p: Processing) -> range:
    """Return which of an order's pictures are being made."""
    return range(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)


def write_weights(p: Processing, texts: Sequence[str], *, hires: bool) -> None:
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
        _put(params, HIRES_WEIGHTS, None if value == params.get(WEIGHTS) else value)
    else:
        _put(params, WEIGHTS, value)
        params.pop(HIRES_WEIGHTS, None)


def write_changes(p: Processing, overrides: GenerationOverrides, *, hires: bool) -> None:
    """Put what an X/Y/Z cell or a panel that is off changes in the tags into the prompts from which infotexts are made.

    The host does the same with the LoRA of its own setting "Add network to prompt".
    """
    name = "all_hr_prompts" if hires else "all_prompts"
    prompts = getattr(p, name, None)
    if not (overrides.changes or overrides.off) or not isinstance(prompts, list):
        return
    rows = batch_rows(p)
    setattr(p, name, [_changed(text, overrides) if row in rows else text for row, text in enumerate(prompts)])


def restore(params: MutableMapping[str, Any], *, presets: PresetFile, family: str) -> None:
    """Change the prompts of a pasted infotext in place: a preset that says something else today becomes its numbers."""
    first = _tags(params, WEIGHTS)
    for prompt, weighted in (("Prompt", first), ("Hires prompt", _tags(params, HIRES_WEIGHTS) or first)):
        text = params.get(prompt)
        if not isinstance(text, str) or not weighted:
            continue
        settings = PictureSettings(text, seed=_seed(params), weighted=weighted)
        params[prompt] = prompt_as_rendered(settings, presets=presets, family=family)


def _changed(prompt: str, overrides: GenerationOverrides) -> str:
    for index in range(len(find_tags(prompt))):
        try:
            prompt = change_tag(prompt, index, overrides.made)
        except InputError:  # named below the picture; the tag stays as it is written
            continue
    return prompt


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
