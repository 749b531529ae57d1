"""The data set's folders: what is in them, how often it is drawn, which caption it has, and what cannot be used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora.data.captions import CaptionIndex, CaptionText, caption_warnings, read_caption
from lib_lora.data.dataset import FolderScan, FolderUse, Picture, balance_regularisation
from lib_lora.data.files import CAPTION_SUFFIXES, Problem, file_digest, shown
from lib_lora.data.images import MAX_PIXELS, inspect_picture
from lib_lora.data.leaves import Leaf, Source, find_leaves, to_source
from lib_lora.errors import FileError, InputError

EXTREME_RATIO = 4.0
MIN_SIDE = 64  # pixels

FROM_CLASS_TOKENS = "class tokens"
NO_CAPTION = "none"


@dataclass
class _Findings:
    """What one scan gathers on its way."""

    pictures: list[Picture] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    folders: list[FolderUse] = field(default_factory=list)
    said: dict[str, list[Path]] = field(default_factory=dict)  # remarks that several files share
    ignored: Counter[str] = field(default_factory=Counter)

    def remark(self, text: str, path: Path) -> None:
        self.said.setdefault(text, []).append(path)


@dataclass(frozen=True)
class _Options:
    class_tokens: str
    extensions: tuple[str, ...]
    min_side: int
    max_pixels: int


Folders = str | os.PathLike[str] | Source | Sequence[str | os.PathLike[str] | Source]


def scan(
    folders: Folders,
    *,
    reg: Folders | None = None,
    class_tokens: str = "",
    extensions: Sequence[str] = CAPTION_SUFFIXES,
    min_side: int = MIN_SIDE,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> FolderScan:
    """Read folders of pictures: a leaf, a parent of `N_name class` folders, or several of either.

    `reg` are folders of regularisation pictures, repeated or cut to the number of training draws. `class_tokens` is the
    caption where neither a caption file nor the folder's name gives one; caption endings are tried in the order of
    `extensions`. Pictures with a side below `min_side` or more than `max_pixels` are skipped with a problem. `progress`
    is called with (done, all). Raises InputError if a folder is missing, holds no usable picture, or is both kinds.
    """
    options = _Options(class_tokens.strip(), tuple(each.lower() for each in extensions), min_side, max_pixels)
    findings = _Findings()
    leaves = _all_leaves(folders, options, findings, is_reg=False)
    if reg is not None:
        leaves += _refuse_shared(leaves, _all_leaves(reg, options, findings, is_reg=True))
    total, done = sum(len(leaf.pictures) for leaf in leaves), 0
    for leaf in leaves:
        before = len(findings.pictures)
        captions = CaptionIndex(leaf.others, options.extensions)
        _remark_shared_names(leaf, findings)
        for path in leaf.pictures:
            _scan_picture(path, leaf, captions, options, findings)
            done += 1
            if progress is not None:
                progress(done, total)
        used = len(findings.pictures) - before
        findings.folders.append(FolderUse(leaf.path, leaf.repeats, leaf.class_tokens, leaf.is_reg, used))
    return _finish(leaves, findings)


def _all_leaves(folders: Folders, options: _Options, findings: _Findings, *, is_reg: bool) -> list[Leaf]:
    given = [folders] if isinstance(folders, str | os.PathLike | Source) else list(folders)
    if not given:
        raise InputError("no folder was given", cure="Give the folder that holds the pictures.")
    leaves: list[Leaf] = []
    for each in given:
        search = find_leaves(to_source(each), is_reg=is_reg, known={leaf.path.resolve() for leaf in leaves})
        findings.notices += search.notices
        findings.problems += search.problems
        if not search.leaves and not search.repeated:
            raise _nothing_found(search.root, search.seen, findings)
        leaves += search.leaves
    for leaf in leaves:
        endings = (path.suffix.lower() or "no ending" for path in leaf.others)
        findings.ignored.update(each for each in endings if each not in options.extensions)
    return leaves


def _nothing_found(root: Path, seen: Mapping[str, int], findings: _Findings) -> InputError:
    listed = ", ".join(f"{count} {name}" for name, count in sorted(seen.items())) or "nothing at all"
    why = "".join(f"; {notice}" for notice in findings.notices)
    cure = "Give a folder of PNG, JPEG or WebP files, or one that holds folders named like 10_name."
    return InputError("no pictures were found", where=f"{shown(root)} (seen: {listed}{why})", cure=cure)


def _refuse_shared(train: Sequence[Leaf], reg: list[Leaf]) -> list[Leaf]:
    places = {leaf.path.resolve() for leaf in train}
    for leaf in reg:
        if leaf.path.resolve() in places:
            what = "the same folder is given for training and for regularisation"
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
        what = f"the picture is {width} x {height}, too small (at least {options.min_side} pixels a side)"
        findings.problems.append(Problem(path=path, what=what, cure="Use a larger picture."))
        return
    if max(width, height) > EXTREME_RATIO * min(width, height):
        findings.remark("longer than 4:1: much may be cropped", path)
    for notice in facts.notices:
        findings.remark(notice, path)
    text, source = _caption_of(path, leaf, captions, options, findings)
    findings.pictures.append(Picture(path, text, source, leaf.repeats, facts.size, leaf.is_reg, digest, leaf.flip))


def _remark_shared_names(leaf: Leaf, findings: _Findings) -> None:
    stems = Counter(path.stem for path in leaf.pictures)
    for path in leaf.pictures:
        if stems[path.stem] > 1:
            findings.remark("with the same name but another ending: they share one caption", path)


def _caption_of(
    path: Path, leaf: Leaf, captions: CaptionIndex, options: _Options, findings: _Findings
) -> tuple[str, str]:
    """Return the caption of a picture and where it came from; never fails."""
    found = captions.find(path)
    if found is not None:
        text = _read(found[0], findings).text
        if text:
            for warning in caption_warnings(text):
                findings.remark(f"with a caption that {warning}", path)
            return text, found[1]
    fallback = leaf.class_tokens or options.class_tokens
    findings.remark("without a caption: class tokens are used" if fallback else "without any caption", path)
    return (fallback, FROM_CLASS_TOKENS) if fallback else ("", NO_CAPTION)


def _read(path: Path, findings: _Findings) -> CaptionText:
    try:
        caption = read_caption(path)
    except FileError as error:
        findings.problems.append(Problem(path=path, what=error.what, cure=error.cure))
        return CaptionText("", "utf-8")
    if not caption.is_utf8:
        findings.remark(f"with a caption read as {caption.encoding}, not UTF-8", path)
    return caption


def _finish(leaves: Sequence[Leaf], findings: _Findings) -> FolderScan:
    train = [picture for picture in findings.pictures if not picture.is_reg]
    reg = [picture for picture in findings.pictures if picture.is_reg]
    for kind, wanted in (("training", train), ("regularisation", reg)):
        paths = [leaf.path for leaf in leaves if leaf.is_reg == (kind == "regularisation")]
        if paths and not wanted:
            where = ", ".join(map(shown, paths)) + "".join(f"; {problem}" for problem in findings.problems[:5])
            raise InputError(f"none of the {kind} pictures can be used", where=where, cure="Replace the files listed.")
    notices = [*findings.notices, *(_grouped(text, paths) for text, paths in findings.said.items())]
    if len(train) == 1:
        notices.append("only one picture: the LoRA will copy it rather than learn from it")
    duplicates = _duplicates(findings.pictures)
    notices += [_grouped("with the same bytes", group) for group in duplicates]
    draws = sum(picture.repeats for picture in train)
    balanced, unused = balance_regularisation(reg, draws=draws)
    if reg:
        count = sum(picture.repeats for picture in balanced)
        notices.append(
            f"regularisation: {len(balanced)} of {len(reg)} pictures, drawn {count} times for {draws} training draws; "
            "this doubles the steps of an epoch"
        )
    return FolderScan(
        pictures=(*train, *balanced),
        problems=tuple(findings.problems),
        notices=tuple(notices),
        folders=tuple(findings.folders),
        duplicates=duplicates,
        ignored=tuple(sorted(findings.ignored.items())),
        reg_unused=unused,
    )


def _duplicates(pictures: Sequence[Picture]) -> tuple[tuple[Path, ...], ...]:
    groups: dict[str, list[Path]] = {}
    for picture in pictures:
        groups.setdefault(picture.digest, []).append(picture.path)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _grouped(text: str, paths: Sequence[Path]) -> str:
    names = ", ".join(shown(path.name) for path in paths[:3]) + (", …" if len(paths) > 3 else "")
    return f"{len(paths)} file{'s' if len(paths) > 1 else ''} {text} ({names})"
