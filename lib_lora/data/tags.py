"""Tags from names, after CharFramework: what a picture's and its folder's name say, written as captions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from lib_lora.atomic import replace_file
from lib_lora.data.caption_files import USUAL, CaptionFiles, Endings
from lib_lora.data.captions import read_caption
from lib_lora.data.files import Problem, shown
from lib_lora.data.kinds import kind_of
from lib_lora.data.tag_lines import split_tags
from lib_lora.errors import FileError, InputError
from lib_lora.sentences import say
from lib_lora.walk import walk

BACKGROUNDS = ("white background", "black background", "simple background")
EXPRESSIONS = ("smile", "open mouth", "blush")

_NAME = re.compile(r"^([fb])([0-2])([0-7])")
_LEADING_NUMBER = re.compile(r"^\d+(?:_|$)")
_KIND_AND_SIZE = re.compile(r"^([fbg])\d{3,4}$")
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

    `keyword` "krnk", `class_tokens` "krnk girl", `extra` ("shorthair",), `kind` "f". `flip` is true unless the name
    says `_noflip_`; `flip_said` tells whether the name says anything about it.
    """

    keyword: str
    class_tokens: str
    extra: tuple[str, ...]
    kind: str
    flip: bool
    flip_said: bool


CaptionAction = Literal["write", "unchanged", "keep"]


@dataclass(frozen=True)
class CaptionPlan:
    """One caption before it is written: the file, its text, what is there now, what will happen."""

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
    """Read a folder's name; of a path only the last part counts."""
    parts = [part for part in re.split(r"[/\\]", str(name)) if part.strip()]
    if not parts:
        raise InputError("A folder name is empty", cure="Name it like: 4_krnk/krnk girl, shorthair_f0768")
    text, _, note = _LEADING_NUMBER.sub("", parts[-1].strip()).partition("_")
    items = split_tags(text)
    class_tokens = items[0] if items else ""
    marks = [mark.strip() for mark in note.lower().split("_")]
    kind = next((found for mark in marks if (found := _KIND_AND_SIZE.match(mark))), None)
    return FolderName(
        keyword=class_tokens.split()[0] if class_tokens else "",
        class_tokens=class_tokens,
        extra=tuple(items[1:]),
        kind=kind.group(1) if kind else "",
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
    made = _Plans(keyword, tuple(folder_tags), expressions, lists, overwrite)

    def unread(place: Path, error: OSError) -> None:
        what = say("The folder cannot be read ({reason})", reason=error)
        made.problems.append(Problem(path=place, what=what, cure=say("Check its permissions.")))

    for listing in walk(root, failed=unread):
        made.files.know(listing)
        made.take([path for path in listing.files if kind_of(path)[0] != "other"], root)
    return made.all


def plan_captions_of(
    pictures: Iterable[Path],
    root: Path,
    *,
    keyword: str | None = None,
    expressions: Sequence[str] | None = None,
    lists: TagLists | None = None,
    endings: Endings = USUAL,
) -> tuple[tuple[CaptionPlan, ...], tuple[Path, ...], tuple[Problem, ...]]:
    """Say of some pictures what `plan_captions` says of all in a folder.

    Args:
        pictures: that are meant.
        root: the folder as somebody gave it; another one's name is taken as it is.
        keyword, expressions, lists: as for `plan_captions`.
        endings: of the caption files.
    """
    made = _Plans(keyword, (), expressions, lists, False, CaptionFiles(endings))
    made.take(pictures, root)
    return made.all


@dataclass
class _Plans:
    """What is gathered on the way, and what it follows."""

    keyword: str | None
    folder_tags: tuple[str, ...]
    expressions: Sequence[str] | None
    lists: TagLists | None
    overwrite: bool
    files: CaptionFiles = field(default_factory=CaptionFiles)
    plans: dict[Path, CaptionPlan] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def all(self) -> tuple[tuple[CaptionPlan, ...], tuple[Path, ...], tuple[Problem, ...]]:
        return tuple(self.plans.values()), tuple(self.skipped), tuple(self.problems)

    def take(self, pictures: Iterable[Path], root: Path) -> None:
        """Plan the captions of pictures below a folder that was given."""
        said: dict[Path, tuple[str, tuple[str, ...]]] = {}
        for picture in pictures:
            place = picture.parent
            if place not in said:
                said[place] = self._said_by(place, root)
            tags = tags_for(picture.name, *said[place], self.expressions, lists=self.lists)
            if tags is None:
                self.skipped.append(picture)
                continue
            try:
                plan = _plan_one(picture, ", ".join(tags), self.files, overwrite=self.overwrite)
            except FileError as error:
                self.problems.append(Problem(path=picture, what=error.what, cure=error.cure))
            else:
                self.plans.setdefault(plan.path, plan)  # f00.png and f00.jpg share one caption

    def _said_by(self, place: Path, root: Path) -> tuple[str, tuple[str, ...]]:
        """Return what stands first in the captions of a folder."""
        if self.keyword is not None:
            return self.keyword, self.folder_tags
        # A link's own name counts, as it does for training; the root may have been given as ".".
        name = parse_folder_name((place.resolve() if place == root else place).name.strip() or "_")
        return name.keyword, name.extra


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


def _plan_one(picture: Path, text: str, files: CaptionFiles, *, overwrite: bool) -> CaptionPlan:
    """Compare with the caption that counts now, as the scan would find it: a `.caption` must not be hidden unasked."""
    there, fresh = files.find(picture), files.fresh(picture)
    existing = read_caption(there).text if there else None
    action: CaptionAction = "write"
    if existing == text:
        action = "unchanged"
    elif existing is not None and not overwrite:
        action = "keep"
    stays = there is not None and (action != "write" or there.suffix.lower() == fresh.suffix)
    path = there if there is not None and stays else fresh
    return CaptionPlan(path=path, text=text, existing=existing, action=action)
