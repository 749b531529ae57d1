"""Captions of a folder changed by a person: one at a time or a tag in all of them, each change with its way back."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.atomic import replace_file
from lib_lora.data.caption_files import USUAL, CaptionFiles, Endings
from lib_lora.data.captions import read_caption
from lib_lora.data.files import Problem, shown
from lib_lora.data.tag_lines import lines_of, split_tags
from lib_lora.data.tags import EXPRESSIONS, TagLists, plan_captions_of, write_text
from lib_lora.errors import FileError, InputError
from lib_lora.sentences import say

KEPT = 50
"""Changes that can be taken back, the newest."""


@dataclass(frozen=True)
class CaptionChange:
    """One caption file before and after; None: there is no file."""

    path: Path
    before: str | None
    after: str | None


def tag_counts(captions: Iterable[str]) -> list[tuple[str, int]]:
    """Return every tag with the number of captions that have it, in whichever line; the commonest first."""
    counts = Counter(tag for text in captions for tag in {t: None for one in lines_of(text) for t in split_tags(one)})
    return sorted(counts.items(), key=lambda row: (-row[1], row[0]))


def plan_each(
    changes: Mapping[Path, Callable[[str], str]],
    problems: list[Problem] | None = None,
    endings: Endings = USUAL,
) -> list[CaptionChange]:
    """Return what a change of its own does to each picture's caption; files that stay as they are are left out.

    A caption that cannot be read, or of which characters would be lost, is added to ``problems`` and stays.
    """
    found: dict[Path, CaptionChange] = {}
    files = CaptionFiles(endings)
    for picture in changes:
        path = files.place(picture)
        try:
            known = read_caption(path) if path.is_file() else None
            before = known.text if known else None
            after = changes[picture](before or "")
            if after == (before or ""):
                continue
            if known is not None and known.is_damaged:
                cure = say("Open it in an editor, correct it, and save it as UTF-8.")
                raise FileError("The caption has broken characters, so it is not changed", where=shown(path), cure=cure)
            if known is not None and not known.is_certain:
                what = say(
                    "The caption may be in another encoding than {said}, so it is not changed", said=known.encoding
                )
                raise FileError(what, where=shown(path), cure="Save it as UTF-8.")
        except FileError as error:
            if problems is None:
                raise
            problems.append(Problem(path, error.what, error.cure))
        else:
            found[path] = CaptionChange(path, before, after)
    return list(found.values())


def plan_rule_changes(
    pictures: Sequence[Path],
    root: Path,
    trigger: str,
    also: Collection[str] = EXPRESSIONS,
    *,
    rules: TagLists | None = None,
    endings: Endings = USUAL,
    problems: list[Problem] | None = None,
) -> list[CaptionChange]:
    """Return the captions that the names of pictures call for (`tags_for`); captions that are there stay.

    Args:
        pictures: that are meant.
        root: the folder that was given for them, or their dataset file.
        trigger: stands first; empty: the folder's name says it.
        also: which of the rules' backgrounds and expressions are true of these pictures; no name says that.
        rules: the tags of the table; without them the usual ones.
        endings: of the caption files.
        problems: gets the captions that cannot be read.

    Raises:
        InputError: no picture is named by the rule, or the rules do not have what is ``also`` true.
    """
    known = rules or TagLists()
    unknown = [tag for tag in also if tag not in (*known.backgrounds, *known.expressions)]
    if unknown:
        raise InputError(
            "The rules for file names have no “{tags}” any more",
            tags=", ".join(unknown),
            cure="Look at the pictures again: the choices are then those of the rules.",
        )
    lists = replace(known, backgrounds=tuple(tag for tag in known.backgrounds if tag in also))
    expressions = [tag for tag in known.expressions if tag in also]
    plans, skipped, wrong = plan_captions_of(
        pictures, root, keyword=trigger or None, expressions=expressions, lists=lists, endings=endings
    )
    if problems is not None:
        problems += wrong
    if not plans and skipped:
        raise InputError(
            "No picture is named by the rule",
            where=shown(root),
            cure="Names begin with f or b and two digits: f00 is a face from the front, b14 a body from behind.",
        )
    return [CaptionChange(plan.path, plan.existing, plan.text) for plan in plans if plan.action == "write"]


class CaptionHistory:
    """The changes made to one folder's captions, kept on the disk, so that they can be taken back after a restart."""

    def __init__(self, store: Path, folder: Path) -> None:
        self._path = store / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"

    def apply(self, changes: Sequence[CaptionChange], problems: list[Problem] | None = None) -> int:
        """Write the captions and remember how they were; return how many files changed.

        One that cannot be written is added to ``problems``, and the others are written all the same.
        """
        if not changes:
            return 0
        rows = [[str(one.path), one.before, one.after, _raw(one)] for one in changes]
        self._write([*self._read(), rows][-KEPT:])  # first: a change that stops half-way can be taken back too
        done = 0
        for one in changes:
            try:
                _put(one.path, one.after)
                done += 1
            except FileError as error:
                if problems is None:
                    raise
                problems.append(Problem(one.path, error.what, error.cure))
        return done

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
            raise InputError("There is nothing to undo", where=str(self._path.parent))
        done, kept = 0, []
        for name, before, after, *raw in known[-1]:
            path = Path(name)
            now = read_caption(path).text if path.is_file() else None
            if now == before:
                continue
            if now != after:
                kept.append(path)
                continue
            _put(path, before, *raw)
            done += 1
        self._write(known[:-1])
        return done, kept

    def _read(self) -> list[list[tuple]]:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []  # no history, or one that a disk lost: there is nothing to take back

    def _write(self, rows: list) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # In ASCII: names may hold bytes that are no text.
        replace_file(self._path, json.dumps(rows).encode(), what=say("The history of captions"), private=True)


def _raw(change: CaptionChange) -> str | None:
    """Return the bytes of a caption in base64 where its text alone does not tell them: encoding, line ends, blanks."""
    try:
        data = change.path.read_bytes() if change.before is not None else b""
    except OSError:
        return None
    return None if data == f"{change.before}\n".encode() else base64.b64encode(data).decode()


def _put(path: Path, text: str | None, raw: str | None = None) -> None:
    """Write a caption, as the bytes that it was where they are known, or take its file away."""
    if text is not None and raw is not None:
        replace_file(path, base64.b64decode(raw), what=say("The caption"))
        return
    if text is not None:
        write_text(path, text + "\n")
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError("The caption cannot be removed ({reason})", reason=error, where=shown(path)) from error
