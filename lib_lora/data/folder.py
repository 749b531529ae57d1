"""The data set's folders: what is in them, how often it is drawn, which caption it has, and what cannot be used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora.data.captions import CaptionIndex, folded, read_caption
from lib_lora.data.dataset import FolderScan, FolderUse, Picture
from lib_lora.data.decoding import CaptionText
from lib_lora.data.files import CAPTION_SUFFIXES, Problem, file_digest, shown
from lib_lora.data.images import MAX_PIXELS, inspect_picture
from lib_lora.data.kinds import NO_ENDING
from lib_lora.data.leaves import SUB_FOLDER, WITHOUT_ENDING, Leaf, Search, Source, find_leaves, to_source
from lib_lora.data.remarks import about_folders, about_ignored, about_left_out, about_unread, grouped
from lib_lora.data.tag_lines import AS_LETTERS, CaptionReading, caption_warnings, trained_line
from lib_lora.errors import FileError, InputError
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import Sentence, say

EXTREME_RATIO = 4.0
MIN_SIDE = 64  # pixels


@dataclass
class _Findings:
    """What one scan gathers on its way."""

    pictures: list[Picture] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    folders: list[FolderUse] = field(default_factory=list)
    said: dict[str, list[Path]] = field(default_factory=dict)  # remarks that several files share
    ignored: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    left_out: list[Path] = field(default_factory=list)

    def take(self, search: Search) -> None:
        """Add what a search for folders found on its way."""
        self.warnings += search.warnings
        self.notices += search.notices
        self.problems += search.problems
        self.unread.update(search.unread)
        self.left_out += search.left_out

    def remark(self, text: str, path: Path) -> None:
        self.said.setdefault(text, []).append(path)


@dataclass(frozen=True)
class _Options:
    class_tokens: str
    extensions: tuple[str, ...]
    min_side: int
    max_pixels: int
    reading: CaptionReading = AS_LETTERS


Folders = str | os.PathLike[str] | Source | Sequence[str | os.PathLike[str] | Source]


def scan(
    folders: Folders,
    *,
    reg: Folders | None = None,
    class_tokens: str = "",
    extensions: Sequence[str] = CAPTION_SUFFIXES,
    min_side: int = MIN_SIDE,
    max_pixels: int = MAX_PIXELS,
    reading: CaptionReading = AS_LETTERS,
    progress: Progress = QUIET,
) -> FolderScan:
    """Read folders of pictures: a leaf, a parent of `N_name class` folders, or several of either.

    `reg` are folders of regularization pictures; `FolderScan.shown` balances them. `class_tokens` is the
    caption where neither a caption file nor the folder's name gives one; caption endings are tried in the order of
    `extensions`. Pictures with a side below `min_side` or more than `max_pixels` are skipped with a problem. `reading`
    says what of a caption is more than letters. `progress` is told of every picture. Raises InputError if a folder is
    missing, holds no usable picture, or is both kinds, and StoppedError where somebody asked to stop.
    """
    endings = tuple(each.lower() for each in extensions)
    options = _Options(class_tokens.strip(), endings, min_side, max_pixels, reading)
    findings = _Findings()
    leaves = _all_leaves(folders, options, findings, is_reg=False)
    if reg is not None:
        leaves += _refuse_shared(leaves, _all_leaves(reg, options, findings, is_reg=True))
    total, done = sum(len(leaf.pictures) for leaf in leaves), 0
    for leaf in leaves:
        before = len(findings.pictures)
        captions = CaptionIndex(leaf.others, options.extensions)
        _remark_other_files(leaf, captions, options, findings)
        for path in leaf.pictures:
            _scan_picture(path, leaf, captions, options, findings)
            done += 1
            progress.passed(done, total, say("looking at pictures"))
        used = len(findings.pictures) - before
        findings.folders.append(FolderUse(leaf.path, leaf.repeats, leaf.class_tokens, used, options.extensions))
    return _finish(leaves, findings)


def check_folder(folder: Path | Source, *, is_reg: bool) -> int:
    """Return how many draws the names of folders and files come to; no picture is opened.

    Raises:
        InputError: the folder is missing or holds nothing that looks like a picture.
    """
    leaves = _all_leaves(folder, _Options("", CAPTION_SUFFIXES, MIN_SIDE, MAX_PIXELS), _Findings(), is_reg=is_reg)
    return sum(leaf.repeats * len(leaf.pictures) for leaf in leaves)


def count_pictures(folder: Path) -> int:
    """Return how many files in a folder look like pictures, 0 where none does; no picture is opened.

    Raises:
        InputError: there is no such folder.
    """
    return sum(len(leaf.pictures) for leaf in find_leaves(to_source(folder), is_reg=True, known=set()).leaves)


def _all_leaves(folders: Folders, options: _Options, findings: _Findings, *, is_reg: bool) -> list[Leaf]:
    given = [folders] if isinstance(folders, str | os.PathLike | Source) else list(folders)
    if not given:
        raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
    leaves: list[Leaf] = []
    for each in given:
        search = find_leaves(to_source(each), is_reg=is_reg, known={leaf.path.resolve() for leaf in leaves})
        findings.take(search)
        if not search.leaves and not search.repeated:
            raise _nothing_found(search.root, search.seen, findings)
        leaves += search.leaves
    return leaves


def _nothing_found(root: Path, seen: Mapping[str, int], findings: _Findings) -> InputError:
    listed = [_counted(name, count) for name, count in sorted(seen.items())] or [say("nothing at all")]
    unread = [about_unread(findings.unread)] if findings.unread else []
    why = (*unread, *findings.warnings, *findings.notices, *findings.problems[:5])
    where = say("{folder} (seen: {seen})", folder=shown(root), seen=listed)
    if why:
        where = say("{folder} (seen: {seen}; {reasons:; })", folder=shown(root), seen=listed, reasons=why)
    cure = say("Give a folder of PNG, JPEG or WebP files, or one that holds folders named like 10_name.")
    return InputError("No pictures were found", where=where, cure=cure)


def _counted(name: str, count: int) -> Sentence:
    if name == SUB_FOLDER:
        return say("{n} {n:folder|folders}", n=count)
    if name == WITHOUT_ENDING:
        return say("{n} {n:file|files} without ending", n=count)
    return say("{n} {kind}", n=count, kind=name)


def _refuse_shared(train: Sequence[Leaf], reg: list[Leaf]) -> list[Leaf]:
    places = {leaf.path.resolve() for leaf in train}
    for leaf in reg:
        if leaf.path.resolve() in places:
            what = say("The same folder is given for training and for regularization")
            raise InputError(what, where=shown(leaf.path), cure="Give two different folders.")
    return reg


def _scan_picture(path: Path, leaf: Leaf, captions: CaptionIndex, options: _Options, findings: _Findings) -> None:
    """Add one picture, or the problem that it has."""
    try:
        facts = inspect_picture(path, max_pixels=options.max_pixels)
        digest = file_digest(path)
    except FileError as error:
        findings.problems.append(Problem(path=path, what=error.what, cure=error.cure))
        return
    width, height = facts.size
    if min(width, height) < options.min_side:
        what = say(
            "The picture is {width} x {height}, too small (at least {least} pixels a side)",
            width=width,
            height=height,
            least=options.min_side,
        )
        findings.problems.append(Problem(path=path, what=what, cure=say("Use a larger picture.")))
        return
    if max(width, height) > EXTREME_RATIO * min(width, height):
        findings.remark(say("longer than 4:1: much may be cropped"), path)
    for notice in facts.notices:
        findings.remark(notice, path)
    text = _caption_of(path, leaf, captions, options, findings)
    findings.pictures.append(Picture(path, text, leaf.repeats, facts.size, leaf.is_reg, digest, leaf.flip))


def _remark_other_files(leaf: Leaf, captions: CaptionIndex, options: _Options, findings: _Findings) -> None:
    """Say what the names of a folder's files tell: shared captions, captions of no picture, what is neither."""
    stems = Counter(folded(path.stem) for path in leaf.pictures)
    for path in leaf.pictures:
        if stems[folded(path.stem)] > 1:
            findings.remark(say("with the same name but another ending: they share one caption"), path)
    used = {found for found in map(captions.find, leaf.pictures) if found is not None}
    used_stems = {folded(path.stem) for path in used}
    for path in leaf.others:
        suffix = path.suffix.lower()
        if suffix not in options.extensions:
            findings.ignored[suffix or NO_ENDING] += 1
        elif path not in used:
            is_second = folded(path.stem) in used_stems
            said = (
                say("with a second caption: the other counts")
                if is_second
                else say("with a caption for no picture: not used")
            )
            findings.remark(said, path)


def _caption_of(path: Path, leaf: Leaf, captions: CaptionIndex, options: _Options, findings: _Findings) -> str:
    """Return the caption of a picture; never fails."""
    found = captions.find(path)
    caption = None if found is None else _read(found, findings)
    if caption is not None and trained_line(caption.text):
        for warning in caption_warnings(caption.text, reading=options.reading):
            findings.remark(say("with a caption that {said}", said=warning), path)
        return caption.text
    fallback = leaf.class_tokens or options.class_tokens
    for warning in caption_warnings(fallback, reading=options.reading):
        findings.remark(say("with a caption that {said}", said=warning), path)
    if caption is None:
        bare = say("without any caption: pose and background are learned along, which captions would keep apart")
        findings.remark(say("without a caption: class tokens are used") if fallback else bare, path)
    else:
        findings.remark(
            say("with an empty caption: class tokens are used") if fallback else say("with an empty caption"), path
        )
    return fallback


def _read(path: Path, findings: _Findings) -> CaptionText | None:
    try:
        caption = read_caption(path)
    except FileError as error:
        findings.problems.append(Problem(path=path, what=error.what, cure=error.cure))
        return None
    if caption.rivals:
        said = say(
            "with a caption that may be in several encodings, read as {said} and not as {others}: save it as UTF-8",
            said=caption.encoding,
            others=list(caption.rivals),
        )
        findings.remark(said, path)
    elif not caption.is_likely:
        said = say("with a caption in an unknown encoding, read as {said}: save it as UTF-8", said=caption.encoding)
        findings.remark(said, path)
    elif not caption.is_utf8:
        findings.remark(say("with a caption read as {said}, not UTF-8", said=caption.encoding), path)
    return caption


def _finish(leaves: Sequence[Leaf], findings: _Findings) -> FolderScan:
    train = [picture for picture in findings.pictures if not picture.is_reg]
    reg = [picture for picture in findings.pictures if picture.is_reg]
    for kind, wanted in (("training", train), ("regularization", reg)):
        paths = [leaf.path for leaf in leaves if leaf.is_reg == (kind == "regularization")]
        if paths and not wanted:
            what = say("None of the training pictures can be used")
            if kind == "regularization":
                what = say("None of the regularization pictures can be used")
            where = say("{folders}; {problems:; }", folders=map(shown, paths), problems=findings.problems[:5])
            raise InputError(what, where=where, cure="Replace the files listed.")
    warnings = list(findings.warnings)
    if findings.unread:
        warnings.append(about_unread(findings.unread))
    notices = [*findings.notices, *(grouped(text, paths) for text, paths in findings.said.items())]
    if len(findings.folders) > 1:
        notices.append(about_folders(findings.folders))
    if findings.ignored:
        notices.append(about_ignored(findings.ignored))
    if left_out := about_left_out(findings.left_out):
        notices.append(left_out)
    if len(train) == 1:
        notices.append(say("only one picture: the LoRA will copy it rather than learn from it"))
    notices += [grouped(say("with the same bytes"), group) for group in _duplicates(findings.pictures)]
    return FolderScan(
        pictures=(*train, *reg),
        problems=tuple(findings.problems),
        notices=tuple(notices),
        folders=tuple(findings.folders),
        numbered=any(leaf.numbered for leaf in leaves if not leaf.is_reg),
        unread=tuple(sorted(findings.unread.items())),
        warnings=tuple(warnings),
    )


def _duplicates(pictures: Sequence[Picture]) -> tuple[tuple[Path, ...], ...]:
    groups: dict[str, list[Path]] = {}
    for picture in pictures:
        groups.setdefault(picture.digest, []).append(picture.path)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
