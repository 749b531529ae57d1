"""A LoRA file, the WebUI's card and its preview picture in step: what each knows newer, and where they contradict."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from lib_lora.architectures.registry import find_architecture
from lib_lora.atomic import back_up, cure_of, replace_file
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.formats.card import (
    AGREED,
    ENTRIES,
    OF_THE_FILE,
    VERSION,
    Card,
    card_path,
    digest,
    entry_of,
    read_card,
    same_text,
    write_card,
)
from lib_lora.formats.contents import contents_of
from lib_lora.formats.cover import read_cover
from lib_lora.formats.editing import Change
from lib_lora.formats.metadata import describe
from lib_lora.sentences import Sentence, say

UPDATE, WRITE, LEAVE = "update", "write", "leave"
"""What becomes of the card: kept in step where there is one, made where there is none, left alone."""
NEITHER, FILE, CARD = "neither", "file", "card"
"""Whose text counts where both were changed: nobody's, so that both stay; the file's; the card's."""

_PREVIEWS = ("png", "jpg", "jpeg", "webp", "gif")
_SAVED = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SIDE = 1024
"""Longest side of a preview picture in pixels; the WebUI shows it at a quarter of that."""


@dataclass(frozen=True)
class Conflict:
    """A field that file and card say differently, and nobody knows which of them is newer."""

    name: str
    file: str
    card: str


@dataclass(frozen=True)
class Step:
    """What brings a file and its card in step.

    Attributes:
        to_file: fields of the file that the card knows newer.
        to_card: fields of the card that the file knows newer.
        conflicts: fields that stay as they are in both.
        agreed: fields that both say alike then, with their text.
    """

    to_file: dict[str, str] = field(default_factory=dict)
    to_card: dict[str, str] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    agreed: dict[str, str] = field(default_factory=dict)


def step(fields: Mapping[str, str], card: Card, *, prefer: str = NEITHER, decided: Collection[str] = ()) -> Step:
    """Return what brings a file's fields and its card in step; of the ``decided`` ones the file's text counts.

    Where the digest of what they last agreed on tells which side was changed since, that side counts; without one a
    text counts before none.
    """
    to_file: dict[str, str] = {}
    to_card: dict[str, str] = {}
    agreed: dict[str, str] = {}
    conflicts = []
    for name, entry in ENTRIES.items():
        mine, its, last = _same(name, fields.get(name, "")), _same(name, card.text(name)), card.agreed(name)
        if entry in card.odd:
            continue
        if mine == its:
            agreed[name] = mine
            continue
        if name in decided:
            newer = FILE
        elif last is not None:
            newer = CARD if digest(mine) == last else FILE if digest(its) == last else prefer
        else:
            newer = CARD if not mine else FILE if not its else prefer
        if newer == NEITHER:
            conflicts.append(Conflict(name, mine, its))
            continue
        agreed[name] = its if newer == CARD else mine
        (to_file if newer == CARD else to_card)[name] = agreed[name]
    return Step(to_file, to_card, tuple(conflicts), agreed)


def _same(name: str, text: str) -> str:
    """Return a text as both sides compare it; 0.80 and 0.8 are one weight, and 0 is none."""
    if name != "preferred_weight":
        return same_text(text)
    value = entry_of(name, text)
    return f"{value:g}" if value else ""


def file_step(
    path: Path, metadata: Mapping[str, str], *, prefer: str = NEITHER
) -> tuple[dict[str, str], list[Sentence]]:
    """Return the fields that a file's card knows newer, and what is to be said of the card."""
    card = read_card(path)
    found = step(describe(metadata).fields, card, prefer=prefer) if usable(card) else Step()
    return found.to_file, notes_of(card, found)


def conflicts(path: Path, metadata: Mapping[str, str]) -> tuple[Conflict, ...]:
    """Return where a file and its card contradict."""
    card = read_card(path)
    return step(describe(metadata).fields, card).conflicts if usable(card) else ()


def usable(card: Card) -> bool:
    """Whether a card is there and can be read."""
    return card.exists and card.problem is None


def notes_of(card: Card, found: Step) -> list[Sentence]:
    """Return what is to be said of a card: that it cannot be used, that it was changed, and where it contradicts."""
    name, notes = card.path.name, []
    if card.problem is not None:
        notes.append(say("The card {name} is left as it is: {problem}.", name=name, problem=card.problem))
    if card.odd:
        notes.append(say("The card {name} holds no text for {entries}; they stay.", name=name, entries=list(card.odd)))
    if found.to_file:
        entries = [ENTRIES[one] for one in found.to_file]
        notes.append(say("The card {name} is newer: {entries}. Saving takes it over.", name=name, entries=entries))
    notes += [
        say(
            "The card {name} says “{card}” for {entry}, the file “{file}”. Both stay until you say which counts.",
            name=name,
            card=one.card[:80],
            entry=ENTRIES[one.name],
            file=one.file[:80],
        )
        for one in found.conflicts
    ]
    return notes


@dataclass(frozen=True)
class Beside:
    """What is written beside a file.

    Attributes:
        card: the card that is written, None for none; ``content`` its entries then.
        preview: the picture that is written, and its bytes.
        changes: all that, entry by entry.
        notes: what is to be said of it.
    """

    card: Card | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    preview: tuple[Path, bytes] | None = None
    changes: tuple[Change, ...] = ()
    notes: tuple[Sentence, ...] = ()


def plan_beside(
    path: Path,
    target: Path,
    metadata: Mapping[str, str],
    *,
    card: str,
    prefer: str,
    decided: Collection[str],
    picture: Image.Image | None,
    overwrite: bool,
) -> Beside:
    """Return what is to be written beside a file.

    Args:
        path: the file; ``target`` where it will lie: itself, or a copy, which gets a card and a preview of its own.
        metadata: as they will be.
        card: what becomes of card and preview: `UPDATE`, `WRITE`, `LEAVE`.
        prefer: whose text counts where both were changed.
        decided: fields that were typed just now.
        picture: the new cover.
        overwrite: whether a copy may replace a card and a preview that are there.
    """
    if card == LEAVE:
        return Beside()
    old = read_card(path)
    content, changes, notes = _content(path, target, metadata, old, prefer=prefer, decided=decided, write=card == WRITE)
    made = Card(card_path(target), exists=card_path(target).exists())
    copied = target != path
    taken = copied and made.exists and not overwrite
    if content and taken:
        notes.append(say("The card {name} was there already and stays.", name=made.path.name))
    shown = None if taken and content else _preview(path, target, metadata, picture, write=card == WRITE)
    if shown is not None and copied and shown[0].exists() and not overwrite:
        notes.append(say("The picture {name} was there already and stays.", name=shown[0].name))
        shown = None
    if shown is not None:
        before = shown[0].name if shown[0].exists() else None
        changes.append(Change(shown[0].name, before, shown[0].name))
    keep = content is not None and not taken
    kept = changes if keep else [one for one in changes if shown is not None and one.key == shown[0].name]
    return Beside(made if keep else None, content or {}, shown, tuple(kept), tuple(notes))


def _content(
    path: Path,
    target: Path,
    metadata: Mapping[str, str],
    old: Card,
    *,
    prefer: str,
    decided: Collection[str],
    write: bool,
) -> tuple[dict[str, Any] | None, list[Change], list[Sentence]]:
    """Return the entries of a card, None where none is written, with their changes and what is to be said."""
    if old.problem is not None or (not old.exists and not write):
        return None, [], []
    found = step(describe(metadata).fields, old, prefer=prefer, decided=decided)
    content = dict(old.content)
    for name, text in found.to_card.items():
        content[ENTRIES[name]] = entry_of(name, text)
    notes, version = [], _version(path)
    if version and content.get(VERSION) in (None, "", "Unknown"):
        content[VERSION] = version
    elif version and content[VERSION] != version:
        what = say(
            "The card {name} says {card}, the file is for {file}: the WebUI may hide it.",
            name=old.path.name,
            card=str(content[VERSION])[:40],
            file=version,
        )
        notes.append(what)
    false = [entry for entry in OF_THE_FILE if entry in content] if target != path else []
    for entry in false:  # a copy is another file; the old one's hash would lead to the wrong page
        del content[entry]
    changes = _changes(card_path(target).name, {} if target != path else old.content, content)
    if not changes and target == path:
        return None, [], notes
    if found.agreed:
        content[AGREED] = {ENTRIES[name]: digest(text) for name, text in found.agreed.items()}
    return content, changes, notes


def _changes(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    return [
        Change(f"{name}: {entry}", _shown(before, entry), _shown(after, entry))
        for entry in (*ENTRIES.values(), VERSION)
        if before.get(entry) != after.get(entry) and (before.get(entry) or after.get(entry))
    ]


def _shown(content: Mapping[str, Any], entry: str) -> str | None:
    return str(content[entry]) if entry in content else None


def _version(path: Path) -> str:
    """Return what the card calls a file's family; "" where it has no word for it."""
    try:
        family = find_architecture(contents_of(path).family)
    except AtelierError:
        return ""
    return family.labels.card if family is not None and family.labels is not None else ""


def preview_path(path: Path) -> Path | None:
    """Return the picture that the WebUI shows for a file, None where there is none; its own order of names."""
    stem = os.path.splitext(path)[0]
    names = (Path(f"{stem}{middle}.{ending}") for ending in _PREVIEWS for middle in ("", ".preview"))
    return next((one for one in names if one.is_file()), None)


def preview_beside(path: Path) -> Path:
    """Return the picture that the WebUI shows for a file.

    Raises:
        InputError: there is none.
    """
    shown = preview_path(path)
    if shown is None:
        cure = say("Put {name} beside it.", name=path.with_suffix(".png").name)
        raise InputError("There is no preview picture beside this file", where=path.name, cure=cure)
    return shown


def _preview(
    path: Path, target: Path, metadata: Mapping[str, str], picture: Image.Image | None, *, write: bool
) -> tuple[Path, bytes] | None:
    """Return the preview picture to write and its bytes: a new cover, or the old preview beside a copy."""
    old = preview_path(path)
    if picture is None and old is not None and target != path:
        return target.with_name(target.stem + old.name[len(path.stem) :]), old.read_bytes()
    if picture is None and write and old is None:
        picture = read_cover(metadata)
    if picture is None or (old is None and not write):
        return None
    place = old if old is not None and old.suffix in _SAVED and target == path else None
    place = place or target.with_name(f"{target.stem}.png")
    shown = picture.convert("RGB")
    shown.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    shown.save(stream, _SAVED[place.suffix], **({} if place.suffix == ".png" else {"quality": 92}))
    return place, stream.getvalue()


def write_beside(planned: Beside) -> tuple[list[Path], list[AtelierError]]:
    """Write card and preview, each with a backup of what it was; return what was written and what could not be."""
    written: list[Path] = []
    failed: list[AtelierError] = []
    try:
        if planned.card is not None:
            written.append(write_card(planned.card, planned.content))
        if planned.preview is not None:
            written.append(_write_picture(*planned.preview))
    except AtelierError as error:  # the file itself is saved: it is said, and nothing of it is taken back
        failed.append(error)
    return written, failed


def _write_picture(place: Path, data: bytes) -> Path:
    if place.exists():
        try:
            back_up(place)
        except OSError as error:
            what = say("The backup cannot be made ({reason})", reason=error)
            raise FileError(what, where=str(place), cure=cure_of(error)) from error
    return replace_file(place, data, what=say("The picture"))
