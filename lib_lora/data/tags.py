"""Tags from names, after CharFramework: what a picture's and its folder's name say, written as captions."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from lib_lora.atomic import replace_file
from lib_lora.data.captions import CaptionIndex, read_caption
from lib_lora.data.files import CAPTION_SUFFIXES, Problem, shown
from lib_lora.data.kinds import kind_of
from lib_lora.data.tag_lines import split_tags
from lib_lora.errors import FileError, InputError
from lib_lora.sentences import say
from lib_lora.walk import walk

BACKGROUNDS = ("white background", "black background", "simple background")
EXPRESSIONS = ("smile", "open mouth", "blush")

_NAME = re.compile(r"^([fb])([0-2])([0-7])")
_LEADING_NUMBER = re.compile(r"^\s*(\d+)(?:_|$)")
_KIND_AND_SIZE = re.compile(r"^([fbg])(\d{3,4})$")
_LEVELS = {"0": "level", "1": "above", "2": "below"}
_FRONT, _SIDE = frozenset("017"), frozenset("26")
_FRONT_SEEN = _FRONT | _SIDE


@dataclass(frozen=True)
class TagLists:
    """The tags of the table; every list may be another (`name_rules`), lists A to D are empty unless given.

    `face_always` is list A, `face_front` B, `face_back` C, `face_midriff` D. The script leaves expressions out of
    pictures from straight behind; `expressions_behind` writes them there too.
    """

    backgrounds: tuple[str, ...] = BACKGROUNDS
    level: tuple[str, ...] = ("from horizontal",)
    above: tuple[str, ...] = ("from above",)
    below: tuple[str, ...] = ("from below",)
    front: tuple[str, ...] = ("from front",)
    side: tuple[str, ...] = ("from side",)
    behind: tuple[str, ...] = ("from behind",)
    face: tuple[str, ...] = ("upper body",)
    body: tuple[str, ...] = ("full body",)
    pose: tuple[str, ...] = ("standing", "straight standing")
    face_always: tuple[str, ...] = ()
    face_front: tuple[str, ...] = ()
    face_back: tuple[str, ...] = ()
    face_midriff: tuple[str, ...] = ()
    at_viewer: tuple[str, ...] = ("looking at viewer",)
    away: tuple[str, ...] = ("looking away",)
    expressions: tuple[str, ...] = EXPRESSIONS
    expressions_behind: bool = False


@dataclass(frozen=True)
class FolderName:
    """What a folder's name says: `4_krnk/krnk girl, shorthair_f0768`.

    `keyword` "krnk", `class_tokens` "krnk girl", `extra` ("shorthair",), `note` "f0768" with `kind` "f" and
    `size_class` 768 (0 if not said), `repeats` 4 (1 if not said). `flip` is true unless the
    name says `_noflip_`; `flip_said` tells whether the name says anything about it.
    """

    keyword: str
    class_tokens: str
    extra: tuple[str, ...]
    note: str
    kind: str
    size_class: int
    repeats: int
    repeats_said: bool
    flip: bool
    flip_said: bool

    @property
    def tags(self) -> tuple[str, ...]:
        """The keyword and the further tags, as they begin every caption."""
        return ((self.keyword,) if self.keyword else ()) + self.extra


CaptionAction = Literal["write", "unchanged", "keep"]


@dataclass(frozen=True)
class CaptionPlan:
    """One caption before it is written: the picture, the file, its text, what is there now, what will happen."""

    picture: Path
    path: Path
    text: str
    existing: str | None
    action: CaptionAction


@dataclass(frozen=True)
class CaptionReport:
    """What `write_captions` did: files written, already right, kept because they differ; pictures named otherwise."""

    written: tuple[Path, ...]
    unchanged: tuple[Path, ...]
    kept: tuple[Path, ...]
    skipped: tuple[Path, ...]
    problems: tuple[Problem, ...]


def parse_folder_name(name: str | PurePath) -> FolderName:
    """Read `child` or `parent/child`: the number comes from the parent (or the child), all else from the child.

    Any longer path works too; only its last two parts count.
    """
    parts = [part for part in re.split(r"[/\\]", str(name)) if part.strip()]
    if not parts:
        raise InputError("A folder name is empty", cure="Name it like: 4_krnk/krnk girl, shorthair_f0768")
    child, number = parts[-1].strip(), None
    if own := _LEADING_NUMBER.match(child):
        number, child = own, child[own.end() :]
    elif len(parts) > 1:
        number = _LEADING_NUMBER.match(parts[-2])
    text, _, note = child.partition("_")
    items = split_tags(text)
    class_tokens = items[0] if items else ""
    marks = [mark.strip() for mark in note.lower().split("_")]
    kind = next((found for mark in marks if (found := _KIND_AND_SIZE.match(mark))), None)
    return FolderName(
        keyword=class_tokens.split()[0] if class_tokens else "",
        class_tokens=class_tokens,
        extra=tuple(items[1:]),
        note=note,
        kind=kind.group(1) if kind else "",
        size_class=int(kind.group(2)) if kind else 0,
        repeats=int(number.group(1)) if number else 1,
        repeats_said=number is not None,
        flip="noflip" not in marks,
        flip_said="flip" in marks or "noflip" in marks,
    )


def tags_for(
    name: str,
    keyword: str,
    folder_tags: Sequence[str] = (),
    expressions: Sequence[str] | None = None,
    *,
    lists: TagLists | None = None,
) -> list[str] | None:
    """Return the tags of a picture named by `^[fb][0-2][0-7]`, in the order of the table; None for other names.

    f is face, b body; first digit 0 level, 1 above, 2 below; second the angle in steps of 45° counter-clockwise from 0
    in front over 4 behind, so 5 to 7 mirror 3 to 1. A tag that comes twice is written once, at its first place.
    """
    match = _NAME.match(PurePath(name).name)
    if match is None:
        return None
    lists = lists or TagLists()
    kind, level, angle = match.groups()
    tags = [keyword, *folder_tags, *lists.backgrounds, *getattr(lists, _LEVELS[level])]
    tags += lists.front if angle in _FRONT else lists.side if angle in _SIDE else lists.behind
    tags += [*(lists.face if kind == "f" else lists.body), *lists.pose]
    if kind == "f":
        tags += _face_tags(level, angle, lists)
    tags += lists.at_viewer if angle == "0" else lists.away
    if angle != "4" or lists.expressions_behind:
        tags += lists.expressions if expressions is None else expressions
    return list(dict.fromkeys(tag for tag in tags if tag))


def _face_tags(level: str, angle: str, lists: TagLists) -> list[str]:
    tags = [*lists.face_always, *(lists.face_front if angle in _FRONT_SEEN else lists.face_back)]
    if (level == "1" and angle in _FRONT_SEEN) or (level == "2" and angle in _FRONT):
        tags += lists.face_midriff
    return tags


def plan_captions(
    folder: str | os.PathLike[str],
    *,
    keyword: str | None = None,
    folder_tags: Sequence[str] = (),
    expressions: Sequence[str] | None = None,
    lists: TagLists | None = None,
    overwrite: bool = False,
) -> tuple[tuple[CaptionPlan, ...], tuple[Path, ...], tuple[Problem, ...]]:
    """Say, without writing, which captions a folder and its sub-folders would get: plans, skipped pictures, problems.

    Without a `keyword`, each picture's own folder gives keyword and tags (`parse_folder_name`). A caption that is there
    under any of the known endings and says something else is kept unless `overwrite`.
    """
    root = Path(folder)
    if not os.path.isdir(root):
        raise InputError("There is no such folder", where=shown(root), cure="Give the folder that holds the pictures.")
    plans: dict[Path, CaptionPlan] = {}
    skipped: list[Path] = []
    problems: list[Problem] = []

    def unread(place: Path, error: OSError) -> None:
        what = say("The folder cannot be read ({reason})", reason=error)
        problems.append(Problem(path=place, what=what, cure=say("Check its permissions.")))

    for listing in walk(root, failed=unread):
        place, index = listing.folder, CaptionIndex(listing.files)
        pictures = [path for path in listing.files if kind_of(path)[0] != "other"]
        word, further = keyword or "", tuple(folder_tags)
        if keyword is None:
            # A link's own name counts, as it does for training; the root may have been given as ".".
            name = parse_folder_name((place.resolve() if place == root else place).name.strip() or "_")
            word, further = name.keyword, name.extra
        for picture in pictures:
            tags = tags_for(picture.name, word, further, expressions, lists=lists)
            if tags is None:
                skipped.append(picture)
                continue
            try:
                plan = _plan_one(picture, ", ".join(tags), index, overwrite=overwrite)
            except FileError as error:
                problems.append(Problem(path=picture, what=error.what, cure=error.cure))
            else:
                plans.setdefault(plan.path, plan)  # f00.png and f00.jpg share one caption
    return tuple(plans.values()), tuple(skipped), tuple(problems)


def write_captions(
    folder: str | os.PathLike[str],
    *,
    keyword: str | None = None,
    folder_tags: Sequence[str] = (),
    expressions: Sequence[str] | None = None,
    lists: TagLists | None = None,
    overwrite: bool = False,
) -> CaptionReport:
    """Write the captions that `plan_captions` shows, each as a whole or not at all, and report every file.

    A file that cannot be written becomes a problem in the report; the others are still written.
    """
    plans, skipped, problems = plan_captions(
        folder, keyword=keyword, folder_tags=folder_tags, expressions=expressions, lists=lists, overwrite=overwrite
    )
    done: dict[CaptionAction, list[Path]] = {"write": [], "unchanged": [], "keep": []}
    failed = []
    for plan in plans:
        try:
            if plan.action == "write":
                write_text(plan.path, plan.text + "\n")
        except FileError as error:
            failed.append(Problem(path=plan.path, what=error.what, cure=error.cure))
        else:
            done[plan.action].append(plan.path)
    return CaptionReport(
        written=tuple(done["write"]),
        unchanged=tuple(done["unchanged"]),
        kept=tuple(done["keep"]),
        skipped=skipped,
        problems=(*problems, *failed),
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all; raises FileError."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FileError(
            "The caption is no valid text", where=shown(path), cure="Remove the broken character."
        ) from error
    replace_file(path, data, what=say("The caption"))


def _plan_one(picture: Path, text: str, index: CaptionIndex, *, overwrite: bool) -> CaptionPlan:
    """Compare with the caption that counts now, as the scan would find it: a `.caption` must not be hidden unasked."""
    target = picture.with_name(picture.stem + CAPTION_SUFFIXES[0])
    found = index.find(picture)
    existing = read_caption(found[0]).text if found else None
    action: CaptionAction = "write"
    if existing == text:
        action = "unchanged"
    elif existing is not None and not overwrite:
        action = "keep"
    path = found[0] if found and (action != "write" or found[1] == CAPTION_SUFFIXES[0]) else target
    return CaptionPlan(picture=picture, path=path, text=text, existing=existing, action=action)
