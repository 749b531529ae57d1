"""Captions of a folder changed by a person: one at a time or a tag in all of them, each change with its way back."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_lora.atomic import replace_file
from lib_lora.data.captions import CaptionIndex, read_caption, split_tags
from lib_lora.data.files import CAPTION_SUFFIXES, shown
from lib_lora.data.tags import BACKGROUNDS, EXPRESSIONS, TagLists, plan_captions, write_text
from lib_lora.errors import FileError, InputError

KEPT = 50
"""Changes that can be taken back, the newest."""


@dataclass(frozen=True)
class CaptionChange:
    """One caption file before and after; None: there is no file."""

    path: Path
    before: str | None
    after: str | None


def caption_file(picture: Path) -> Path:
    """Return the file that holds a picture's caption, or will."""
    found = CaptionIndex(sorted(picture.parent.iterdir())).find(picture)
    return found[0] if found else picture.with_name(picture.stem + CAPTION_SUFFIXES[0])


def captions_of(pictures: Iterable[Path]) -> dict[Path, str]:
    """Return each picture's caption as its file has it; "" where there is none."""
    found = {}
    for picture in pictures:
        path = caption_file(picture)
        found[picture] = read_caption(path).text if path.exists() else ""
    return found


def tag_counts(captions: Iterable[str]) -> list[tuple[str, int]]:
    """Return every tag with the number of captions that have it, the commonest first."""
    counts = Counter(tag for text in captions for tag in dict.fromkeys(split_tags(text)))
    return sorted(counts.items(), key=lambda row: (-row[1], row[0]))


def with_tag(text: str, tag: str, *, first: bool = False) -> str:
    """Return a caption with a tag more, unless it has it."""
    tags = split_tags(text)
    if tag in tags:
        return text
    return ", ".join([tag, *tags] if first else [*tags, tag])


def without_tag(text: str, tag: str) -> str:
    """Return a caption without a tag."""
    tags = split_tags(text)
    return ", ".join(one for one in tags if one != tag) if tag in tags else text


def with_tag_replaced(text: str, tag: str, by: str) -> str:
    """Return a caption with one tag in the place of another; a tag that is there already is not doubled."""
    tags = split_tags(text)
    if tag not in tags:
        return text
    return ", ".join(dict.fromkeys(by if one == tag else one for one in tags))


def plan_changes(pictures: Sequence[Path], change: Callable[[str], str]) -> list[CaptionChange]:
    """Return what ``change`` does to the captions of ``pictures``; files that stay as they are are left out."""
    found: dict[Path, CaptionChange] = {}
    for picture in pictures:
        path = caption_file(picture)
        before = read_caption(path).text if path.exists() else None
        after = change(before or "")
        if after != (before or ""):
            found[path] = CaptionChange(path, before, after)
    return list(found.values())


def plan_rule_changes(folder: Path, trigger: str, also: Collection[str] = EXPRESSIONS) -> list[CaptionChange]:
    """Return the captions that the names of pictures call for (`tags_for`); captions that are there stay.

    Args:
        folder: of pictures.
        trigger: stands first; empty: the folder's name says it.
        also: which of `BACKGROUNDS` and `EXPRESSIONS` are true of these pictures; no name says that.
    """
    lists = TagLists(backgrounds=tuple(tag for tag in BACKGROUNDS if tag in also))
    expressions = [tag for tag in EXPRESSIONS if tag in also]
    plans, skipped, _ = plan_captions(folder, keyword=trigger or None, expressions=expressions, lists=lists)
    if not plans and skipped:
        raise InputError(
            "no picture is named by the rule",
            where=shown(folder),
            cure="Names begin with f or b and two digits: f00 is a face from the front, b14 a body from behind.",
        )
    return [CaptionChange(plan.path, plan.existing, plan.text) for plan in plans if plan.action == "write"]


class CaptionHistory:
    """The changes made to one folder's captions, kept on the disk, so that they can be taken back after a restart."""

    def __init__(self, store: Path, folder: Path) -> None:
        self._path = store / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"

    def apply(self, changes: Sequence[CaptionChange]) -> int:
        """Write the captions and remember how they were; return how many files changed."""
        if changes:
            rows = [[str(one.path), one.before, one.after] for one in changes]
            self._write([*self._read(), rows][-KEPT:])  # first: a change that stops half-way can be taken back too
            for one in changes:
                _put(one.path, one.after)
        return len(changes)

    @property
    def depth(self) -> int:
        """How many changes can be taken back."""
        return len(self._read())

    def undo(self) -> tuple[int, list[Path]]:
        """Take the newest change back; return how many files it touched, and those kept since they changed since.

        Raises:
            InputError: there is nothing to take back.
        """
        known = self._read()
        if not known:
            raise InputError("there is nothing to undo", where=str(self._path.parent))
        done, kept = 0, []
        for name, before, after in known[-1]:
            path = Path(name)
            now = read_caption(path).text if path.exists() else None
            if now == before:
                continue
            if now != after:
                kept.append(path)
                continue
            _put(path, before)
            done += 1
        self._write(known[:-1])
        return done, kept

    def _read(self) -> list[list[tuple[str, str | None, str | None]]]:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []  # no history, or one that a disk lost: there is nothing to take back

    def _write(self, rows: list) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, json.dumps(rows, ensure_ascii=False).encode(), what="the history of captions")


def _put(path: Path, text: str | None) -> None:
    """Write a caption, or take its file away."""
    if text is not None:
        write_text(path, text + "\n")
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"the caption cannot be removed ({error.strerror})", where=shown(path)) from error
