"""Labels: what a LoRA file says of itself, changed in a copy or in the file, for terminal, REST and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from lib_lora.data.images import load_picture
from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.editing import Change, Edit, plan, write_copy, write_in_place
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import FIELDS, describe
from lib_lora.formats.saving import check_target
from lib_lora.options import option, settle
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.files import check_own


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
    cover: str = option("", "Cover picture", "File of the picture that is shown for it.", form="FILE")
    remove_cover: bool = option(False, "Remove the cover", "Takes the cover picture away.")
    remove_private: bool = option(
        False,
        "Remove private paths and traces of the training when saving",
        "Takes away folder names, caption tags and other traces of the training.",
    )

    def __post_init__(self) -> None:
        settle(self)

    def edit(self) -> Edit:
        """Return the change of the metadata.

        Raises:
            FileError: the cover's picture cannot be read.
        """
        texts = {name: getattr(self, name) for name in FIELDS if getattr(self, name) is not None}
        picture = load_picture(self.cover) if self.cover else None
        return Edit(texts, picture, drop_cover=self.remove_cover, drop_private=self.remove_private)

    def check(self) -> None:
        """Refuse an order that would change nothing.

        Raises:
            InputError: nothing is said.
        """
        if all(getattr(self, one.name) == one.default for one in fields(self)):
            raise InputError("Nothing is to be changed", cure="Say a title, trigger words, or the like.")


@dataclass(frozen=True)
class Labeled:
    """A file after a change: where it is, what changed, what it was (a copy has no backup), and what it says now."""

    path: Path
    changes: tuple[Change, ...]
    backup: Path | None
    fields: Mapping[str, str]


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


def write(path: Path, edit: Edit, *, target: Path | None = None, overwrite: bool = False) -> Labeled:
    """Write a change into a copy, or into the file with a backup beside it; the tensors stay byte for byte.

    Raises:
        InputError: a field cannot be right; FileError: a file cannot be read or written. Nothing was changed then.
    """
    changes, backup = plan(path, edit), None
    if target is not None:
        saved = write_copy(path, target, edit, overwrite=overwrite)
    else:
        saved, backup = write_in_place(path, edit) if changes else (path, None)
    return Labeled(saved, changes, backup, describe(read_header(saved).metadata).fields)


def write_many(
    paths: Mapping[str, Path], edit: Edit, progress: Progress
) -> tuple[dict[str, Labeled], list[AtelierError]]:
    """Write one change into many files; return those that changed, and what kept others from it.

    A wish to stop ends it; what is written stays.
    """
    written: dict[str, Labeled] = {}
    failed: list[AtelierError] = []
    for done, (name, path) in enumerate(paths.items()):
        progress.update(done, len(paths), say("saving"))
        if progress.stopped:
            break
        try:
            made = write(path, edit)
            if made.changes:
                written[name] = made
        except AtelierError as error:  # one broken file must not keep the others from their labels
            failed.append(error)
    return written, failed
