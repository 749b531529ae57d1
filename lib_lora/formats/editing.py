"""Editing what a LoRA file says about itself: planned, shown, then written as a copy or in place with a backup."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from lib_lora.atomic import NEW, back_up
from lib_lora.blocks.tokens import read_number, read_tokens
from lib_lora.errors import FileError, InputError
from lib_lora.formats.backups import keep_original
from lib_lora.formats.cover import COVERS, THUMBNAIL, with_cover, without_cover
from lib_lora.formats.entries import with_entries
from lib_lora.formats.files import rewrite_metadata
from lib_lora.formats.hashes import legacy_hash, tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import describe, label, remove_private
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

_HASHES = ("sshs_model_hash", "sshs_legacy_hash")


@dataclass(frozen=True, eq=False)
class Edit:
    """What is to change in one or in many files.

    Attributes:
        fields: the user's fields (`metadata.FIELDS`) that change; an empty text removes one.
        entries: other entries by their keys (`entries.with_entries`); an empty text removes one.
        cover: a new cover picture.
        drop_cover: take the cover away.
        drop_private: take away what tells of the training's folders, captions and paths.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, str] = field(default_factory=dict)
    cover: Image.Image | None = None
    drop_cover: bool = False
    drop_private: bool = False


@dataclass(frozen=True)
class Change:
    """One key before and after; None where it is not there."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Hashes:
    """A file's hashes as its header says, and as they are."""

    stored: str
    computed: str
    stored_legacy: str
    computed_legacy: str


def edited(metadata: Mapping[str, str], edit: Edit) -> dict[str, str]:
    """Return metadata after an edit.

    Raises:
        InputError: an unknown field, a text that is too long, a preferred weight or block weights that are none.
    """
    now = describe(metadata).fields
    _check(edit.fields)
    changes = {name: text for name, text in edit.fields.items() if text.strip() != now.get(name, "").strip()}
    found = with_entries(label(metadata, changes), edit.entries)
    if edit.drop_private:
        found = remove_private(found)
    if edit.cover is not None:
        return with_cover(found, edit.cover)
    return without_cover(found) if edit.drop_cover else found


def _check(fields: Mapping[str, str]) -> None:
    weight, blocks = fields.get("preferred_weight", "").strip(), fields.get("block_weights", "").strip()
    number = read_number(weight) if weight else 1.0
    if number is None or not math.isfinite(number):
        raise InputError("The preferred weight is no number", where=weight[:40], cure="Write a number like 0.8.")
    if "," in blocks:
        read_tokens(blocks)


def changes_of(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Return what differs, key by key; hashes are left out, because writing always makes them true."""
    keys = dict.fromkeys((*before, *after))
    return tuple(
        Change(key, before.get(key), after.get(key))
        for key in keys
        if before.get(key) != after.get(key) and key not in _HASHES
    )


def plan(path: str | Path, edit: Edit) -> tuple[Change, ...]:
    """Return what an edit would change in a file, without touching it; both keys of a cover count as one."""
    metadata = read_header(path).metadata
    changes = changes_of(metadata, edited(metadata, edit))
    covers = [change for change in changes if change.key in (THUMBNAIL, COVERS)]
    return tuple(change for change in changes if change not in covers[1:])


def write_copy(source: str | Path, target: str | Path, edit: Edit, *, overwrite: bool = False) -> Path:
    """Write ``source`` with an edit to ``target``; the tensors stay byte for byte, the hashes become true."""
    metadata = edited(read_header(source).metadata, edit)
    metadata["ss_output_name"] = Path(target).stem
    return rewrite_metadata(source, target, {**metadata, **dict.fromkeys(_HASHES, "")}, overwrite=overwrite)


def write_in_place(path: str | Path, edit: Edit) -> tuple[Path, Path]:
    """Edit a file where it lies and return it and the backup of what it was, ``.bak1`` beside it.

    What it was before its first edit stays for ever, as ``.original``; of later states the newest three. A link is
    followed, so that it stays a link.

    Raises:
        FileError: the backup or the file cannot be written; the file is then as it was.
    """
    target = Path(path).resolve()
    metadata = {**edited(read_header(target).metadata, edit), **dict.fromkeys(_HASHES, "")}
    fresh = target.with_name(f".atelier-{secrets.token_hex(8)}{NEW}")
    try:
        rewrite_metadata(target, fresh, metadata, ending=NEW)
        keep_original(target)
        backup = back_up(target)
        os.replace(fresh, target)
    except OSError as error:
        what = say("The file cannot be changed in place: {reason}", reason=error)
        raise FileError(what, where=str(target), cure="Nothing was changed; save a new file instead.") from error
    finally:
        fresh.unlink(missing_ok=True)
    return target, backup


def hashes_of(path: str | Path, progress: Progress = QUIET) -> Hashes:
    """Return a file's stored and true hashes: the WebUI's (AutoV3) and kohya's old one; reads the whole file.

    ``progress`` is told as by `tensor_hash`.
    """
    metadata = read_header(path).metadata
    return Hashes(
        stored=metadata.get("sshs_model_hash", ""),
        computed=tensor_hash(path, progress),
        stored_legacy=metadata.get("sshs_legacy_hash", ""),
        computed_legacy=legacy_hash(path),
    )
