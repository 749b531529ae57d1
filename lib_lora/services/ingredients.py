"""What is merged, as people write it: ``NAME:STRENGTH:BLOCKS``, or the LoRA tags of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import broken_tags, find_tags, parse_tag
from lib_lora.blocks.tag_model import ParsedTag
from lib_lora.blocks.tag_resolve import x_notes
from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.contents import contents_of
from lib_lora.formats.lora_names import name_in_tags
from lib_lora.formats.names import ENDING
from lib_lora.host.prompt.remarks import tag_remarks
from lib_lora.merge.spec import Ingredient, row_of_tag
from lib_lora.sentences import say

Find = Callable[[str], Path]
"""Returns the file of a LoRA's name, or refuses it."""


@dataclass(frozen=True)
class Written:
    """A row as somebody wrote it.

    Attributes:
        name: what the tag calls the LoRA.
        row: the file, and how strongly it counts.
        lost: the items of the tag that a file cannot hold.
        said: what is to be said of how the tag is written.
        around: what is to be said of where the tags stand in their prompt; the first row has it.
    """

    name: str
    row: Ingredient
    lost: tuple[str, ...]
    said: tuple[str, ...] = ()
    around: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is to be said of it."""
        said = (*self.around, *(say("{name}: {said}", name=self.name, said=note) for note in self.said))
        lost = say("{name}: a file cannot hold {items}; it was left out.", name=self.name, items=self.lost)
        return (*said, lost) if self.lost else said


def typed_row(text: str, find: Find, presets: PresetFile, *, paths: bool) -> Written:
    """Return a row in the field's spelling: a LoRA tag without its brackets.

    ``girl:0.8``, ``girl:1:FACE``, ``girl:0.7:1,0,…``, ``girl:te=0.5``. A comma behind it does not count, and a whole
    tag is read as well.

    Args:
        text: what was written.
        find: looks names up.
        presets: of block weights.
        paths: whether the name may be a path of a file.

    Raises:
        InputError: there is no such LoRA, or something of it cannot be right.
    """
    text = text.strip().rstrip(",").rstrip()
    path, rest = _file_and_rest(text) if paths else (None, text)
    if path is None and text.startswith("<"):
        tag = parse_tag(text)
        return _row(tag, find(tag.name), presets)
    if path is None:
        name, colon, after = text.partition(":")
        path, rest = find(name.strip()), f"{colon}{after}"
    return _row(parse_tag(f"<lora:{name_in_tags(path.stem)}{rest}>"), path, presets)


def rows_of_prompt(prompt: str, find: Find, presets: PresetFile) -> tuple[Written, ...]:
    """Return a row for every LoRA tag of a prompt as it stands there.

    Raises:
        InputError: there is no tag, or one that cannot be right.
    """
    for error in broken_tags(prompt):
        raise error
    tags = [parse_tag(found.text) for found in find_tags(prompt)]
    if not tags:
        raise InputError("There is no LoRA in the prompt", cure="Write it as <lora:name:1>.")
    first, *others = (_row(tag, find(tag.name), presets) for tag in tags)
    return (replace(first, around=tuple(tag_remarks(prompt, ""))), *others)


def _row(tag: ParsedTag, path: Path, presets: PresetFile) -> Written:
    family = contents_of(path).family if tag.x is not None else ""  # only X needs to know how long a vector is
    vector = None
    if tag.weights is not None and not tag.sweep:
        with suppress(AtelierError):  # what is wrong with file or vector is said where the new file is made
            vector = presets.vector(tag.weights.text, family or contents_of(path).family)
    row, lost = row_of_tag(tag, path, presets, family)
    said = x_notes(tag, vector) if vector is not None or tag.weights is None else ()
    return Written(tag.name, row, lost, (*tag.notes, *said))


def _file_and_rest(text: str) -> tuple[Path | None, str]:
    """Return the longest beginning that is a file, with or without its ending, and what stands behind it."""
    pieces = text.split(":")
    for count in range(len(pieces), 0, -1):
        name = ":".join(pieces[:count]).strip()
        for path in (Path(name).expanduser(), Path(f"{name}{ENDING}").expanduser()) if name else ():
            if path.suffix == ENDING and path.is_file():
                return path, ":".join(["", *pieces[count:]])
    return None, text
