"""Labels: what a LoRA file says of itself, changed in a copy or in the file, for terminal, REST and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.blocks.layouts import blocked_families
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.typed import half_width
from lib_lora.data.images import load_picture
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.formats import backups
from lib_lora.formats.contents import contents_of
from lib_lora.formats.editing import Change, Edit, changes_of, plan, write_copy, write_in_place
from lib_lora.formats.editing import edited as edited_metadata
from lib_lora.formats.hashes import tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import FIELDS, describe
from lib_lora.formats.privacy import tells_a_path
from lib_lora.formats.saving import check_target
from lib_lora.merge.spec import resolve_blocks
from lib_lora.options import option, options_of, settle
from lib_lora.sentences import Sentence, say
from lib_lora.services import cards
from lib_lora.services.files import check_own

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier


@dataclass(frozen=True)
class LabelOptions:
    """What can be said in a file; None leaves a text as it is, an empty one removes it."""

    title: str | None = option(None, "Name shown", "The LoRA's name, as people read it.")
    trigger_words: str | None = option(None, "Trigger words", "What calls it up in a prompt, separated by commas.")
    preferred_weight: str | None = option(None, "Preferred weight", "The strength that it looks best at, such as 0.8.")
    block_weights: str | None = option(
        None, "Block weights", "A preset's name or numbers; the tab Blocks of LoRA Workshop starts with them."
    )
    author: str | None = option(None, "Author", "Who made it.")
    source_url: str | None = option(None, "URL", "The page that it comes from.")
    description: str | None = option(None, "Description", "What it shows.")
    tags: str | None = option(None, "Tags", "Words to find it by, separated by commas.")
    usage_hint: str | None = option(None, "", "What to know when it is used.")
    notes: str | None = option(None, "Notes", "Notes of your own.")
    entries: Mapping[str, Any] = option(
        {},
        "Other entries",
        "Entries by their keys: ss_…, modelspec.…, ssmd_…, or others that the file has; an empty value removes one.",
        form="KEY=VALUE",
    )
    cover: str = option("", "Cover picture", "File of the picture that is shown for it.", form="FILE")
    cover_from_preview: bool = option(
        False, "Preview picture as cover", "Takes the preview picture beside the file as its cover."
    )
    remove_cover: bool = option(False, "Remove the cover", "Takes the cover picture away.")
    remove_private: bool = option(
        False,
        "Remove private paths and traces of the training when saving",
        "Takes away folder names, caption tags and other traces of the training.",
    )
    card: str = option(
        cards.UPDATE,
        "Card and preview of the WebUI",
        "update keeps NAME.json and the preview picture beside the file in step where there are some, write makes "
        "them, leave does not touch them.",
        choices=(cards.UPDATE, cards.WRITE, cards.LEAVE),
    )
    prefer: str = option(
        cards.NEITHER,
        "Where file and card contradict",
        "What counts where both were changed: neither leaves both as they are.",
        choices=(cards.NEITHER, cards.FILE, cards.CARD),
    )

    def __post_init__(self) -> None:
        settle(self)

    def order(self) -> Order:
        """Return the change of a file and of what lies beside it.

        Raises:
            InputError: an entry is no text, or two covers are named. FileError: the cover's picture cannot be read.
        """
        odd = [key for key, value in self.entries.items() if not isinstance(value, str)]
        if odd:
            raise InputError("Metadata must be texts by name", where=str(odd[0])[:60], cure="Put it in quotes.")
        if sum((bool(self.cover), self.cover_from_preview, self.remove_cover)) > 1:
            cure = say("Give a picture, or take the preview's, or remove it.")
            raise InputError("Only one of these can be done with the cover", where="cover", cure=cure)
        texts = {name: getattr(self, name) for name in FIELDS if getattr(self, name) is not None}
        texts |= {name: half_width(texts[name]) for name in ("preferred_weight",) if name in texts}
        picture = load_picture(self.cover) if self.cover else None
        edit = Edit(texts, dict(self.entries), picture, drop_cover=self.remove_cover, drop_private=self.remove_private)
        return Order(edit, self.card, self.prefer, self.cover_from_preview)

    def check(self) -> None:
        """Refuse an order that would change nothing.

        Raises:
            InputError: nothing is said.
        """
        if all(getattr(self, one.name) == one.default for one in options_of(LabelOptions)):
            raise InputError("Nothing is to be changed", cure="Say a title, trigger words, or the like.")


@dataclass(frozen=True)
class Order:
    """What is to be done with one or many files: `LabelOptions`, checked and with its picture read."""

    edit: Edit
    card: str = cards.UPDATE
    prefer: str = cards.NEITHER
    cover_from_preview: bool = False


@dataclass(frozen=True)
class Planned:
    """What an order does to a file.

    Attributes:
        path: the file; ``target`` where it is written.
        edit: the order's, with what the card knows newer.
        changes: of the file's metadata.
        beside: what is written beside it.
        notes: what is to be said of card and preview.
    """

    path: Path
    target: Path
    edit: Edit
    changes: tuple[Change, ...]
    beside: cards.Beside
    notes: tuple[Sentence, ...] = ()

    @property
    def all_changes(self) -> tuple[Change, ...]:
        """The changes of the file, and of what lies beside it."""
        return (*self.changes, *self.beside.changes)


@dataclass(frozen=True)
class Labeled:
    """A file after a change.

    Attributes:
        path: where it is.
        changes: what changed in it and beside it.
        backup: what it was; None for a copy, or where only something beside it changed.
        fields: what it says now.
        hash_before, hash_after: SHA-256 of the tensors, as they were and as they lie on the disk now.
        beside: the card and the preview picture that were written.
        notes: what is to be said of them.
        failed: what could not be written beside it.
    """

    path: Path
    changes: tuple[Change, ...]
    backup: Path | None
    fields: Mapping[str, str]
    hash_before: str = ""
    hash_after: str = ""
    beside: tuple[Path, ...] = ()
    notes: tuple[Sentence, ...] = ()
    failed: tuple[AtelierError, ...] = field(default=(), repr=False)


def check(path: Path, target: Path | None, atelier: Atelier, *, overwrite: bool = False) -> None:
    """Refuse a place to write before any work is done for it.

    Args:
        path: the file.
        target: the copy; None for the file itself.
        atelier: whose folders may be written to.
        overwrite: whether a copy may replace a file.

    Raises:
        InputError: the file itself lies outside the folders; FileError: the copy's name is taken.
    """
    if target is None:
        check_own(atelier, path)
    else:
        check_target(target, overwrite=overwrite)


def prepare(path: Path, order: Order, *, target: Path | None = None, overwrite: bool = False) -> Planned:
    """Return what an order does to a file and beside it; nothing is written.

    A ``target`` that is the file itself, by another spelling or a link, is the file in place: what it was is kept.

    Raises:
        InputError: a field cannot be right, or there is no preview picture; FileError: the file cannot be read.
    """
    target = None if target is not None and target.resolve() == path.resolve() else target
    before = read_header(path).metadata
    found, notes = ({}, []) if order.card == cards.LEAVE else cards.file_step(path, before, prefer=order.prefer)
    now = describe(before).fields
    typed = {name for name, text in order.edit.fields.items() if text.strip() != now.get(name, "").strip()}
    newer = {name: text for name, text in found.items() if name not in typed}
    edit = replace(order.edit, fields={**order.edit.fields, **newer}, cover=_cover(path, order))
    after = edited_metadata(before, edit)
    vector = edit.fields.get("block_weights", "") if "block_weights" in typed else ""
    if vector.strip() and (family := contents_of(path).family) in blocked_families():
        notes += _read_by_others(vector, family)
    if edit.drop_private:
        notes += own_paths(after)
    beside = cards.plan_beside(
        path,
        target or path,
        after,
        card=order.card,
        prefer=order.prefer,
        decided={*typed, *newer},
        picture=None if order.cover_from_preview else edit.cover,
        overwrite=overwrite,
    )
    return Planned(path, target or path, edit, plan(path, edit), beside, (*notes, *beside.notes))


def _read_by_others(weights: str, family: str) -> list[Sentence]:
    """Return what is to be said of block weights that only who has this preset can read.

    Raises:
        InputError: they are numbers, and cannot be right.
    """
    try:
        resolve_blocks(weights, PresetFile.shipped(), family)
    except InputError:
        if "," in half_width(weights):
            raise
        name = weights.strip()
        return [say("No preset that everybody has is called {name}: with numbers, others can use it too.", name=name)]
    return []


def own_paths(metadata: Mapping[str, str]) -> list[Sentence]:
    """Return what is to be said of the user's own texts that hold a path: they are not taken away as private."""
    names = [name for name, text in describe(metadata).fields.items() if tells_a_path(text)]
    note = say("The text of {names} holds a path; it is your own, so it stays until you change it.", names=names)
    return [note] if names else []


def _cover(path: Path, order: Order) -> Any:
    """Return the new cover of a file; its preview picture's where that is wanted."""
    if not order.cover_from_preview:
        return order.edit.cover
    return load_picture(cards.preview_beside(path))


def write(path: Path, order: Order, *, target: Path | None = None, overwrite: bool = False) -> Labeled:
    """Write a change into a copy, or into the file with a backup beside it; the tensors stay byte for byte.

    Raises:
        InputError: a field cannot be right; FileError: a file cannot be read or written. Nothing was changed then.
    """
    return carry_out(prepare(path, order, target=target, overwrite=overwrite), overwrite=overwrite)


def carry_out(planned: Planned, *, overwrite: bool = False) -> Labeled:
    """Write what `prepare` has planned; see `write`. What cannot be written beside the file is said with it."""
    path, backup, before = planned.path, None, tensor_hash(planned.path)
    if planned.target != path:
        saved = write_copy(path, planned.target, planned.edit, overwrite=overwrite)
    else:
        saved, backup = write_in_place(path, planned.edit) if planned.changes else (path, None)
    after = tensor_hash(saved)
    if after != before:
        cure = say("Check the disk; the file as it was is beside it, as .bak1 or .original.")
        raise FileError("What the disk returns is not what was written", where=str(saved), cure=cure)
    beside, failed = cards.write_beside(planned.beside)
    return Labeled(
        saved,
        planned.all_changes,
        backup,
        describe(read_header(saved).metadata).fields,
        before,
        after,
        tuple(beside),
        planned.notes,
        tuple(failed),
    )


def plan_undo(path: Path, *, original: bool = False) -> tuple[Change, ...]:
    """Return what an undo would change in a file's metadata.

    Raises:
        InputError: there is nothing to bring back; FileError: a file cannot be read.
    """
    kept = backups.earlier(path.resolve(), original=original)
    return changes_of(read_header(path).metadata, read_header(kept).metadata)


def undo(path: Path, *, original: bool = False) -> Labeled:
    """Bring a file's last state back, or the one before its first edit, and its card in step with it.

    Raises:
        InputError: there is nothing to bring back; FileError: the disk refuses, the file is then as it was.
    """
    before = read_header(path).metadata
    changes = plan_undo(path, original=original)
    saved, backup = backups.undo(path, original=original)
    metadata = read_header(saved).metadata
    now, then = describe(metadata).fields, describe(before).fields
    beside = cards.plan_beside(
        path,
        path,
        metadata,
        card=cards.UPDATE,
        prefer=cards.NEITHER,
        decided={name for name in FIELDS if now[name] != then[name]},
        picture=None,
        overwrite=False,
    )
    done, failed = cards.write_beside(beside)
    digest = tensor_hash(saved)
    all_changes = (*changes, *beside.changes)
    return Labeled(saved, all_changes, backup, now, digest, digest, tuple(done), beside.notes, tuple(failed))
