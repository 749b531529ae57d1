"""What a person should know of a folder of pictures: the sentences about files, grouped and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lib_lora.data.buckets import BucketPlan
from lib_lora.data.dataset import FolderUse, Picture
from lib_lora.data.files import CAPTION_SUFFIXES, PICTURE_SUFFIXES, shown
from lib_lora.data.kinds import UNREAD_SUFFIXES
from lib_lora.sentences import Sentence, say
from lib_lora.walk import has_ending

CHUNK = 75
"""Tokens of a caption that go through a text encoder at once."""
LONG = 3 * CHUNK
"""Tokens beyond which other trainers read no caption."""
NAMED = 3
"""Files that a remark names; the rest is counted."""


def names_of(paths: Sequence[Path]) -> str:
    """Return the first few names, and an ellipsis for the others."""
    return ", ".join(shown(path.name) for path in paths[:NAMED]) + (", …" if len(paths) > NAMED else "")


def grouped(said: str, paths: Sequence[Path]) -> Sentence:
    """Return a remark that several files share, with their number and the first names."""
    return say("{n} {n:file|files} {said} ({names})", n=len(paths), said=said, names=names_of(paths))


def about_unread(unread: Mapping[str, int]) -> Sentence:
    """Return the remark on pictures of kinds that cannot be read here, counted by ending."""
    return say(
        "{n} {n:file is|files are} of a kind that cannot be read ({kinds}): save {n:it|them} as JPEG or PNG",
        n=sum(unread.values()),
        kinds=_listed(unread),
    )


def about_ignored(ignored: Mapping[str, int]) -> Sentence:
    """Return the remark on files that are neither pictures nor captions, counted by ending."""
    return say("neither pictures nor captions, so not read: {kinds}", kinds=_listed(ignored))


def about_folders(folders: Sequence[FolderUse]) -> Sentence:
    """Return what is drawn from which folder, and how often its name has each of its pictures drawn."""
    used = (f"{shown(one.path.name)} {one.pictures} × {one.repeats}" for one in folders)
    return say("folders, with pictures and repeats: {folders}", folders=used)


def about_left_out(left_out: Iterable[Path]) -> Sentence | None:
    """Return the remark on hidden and system entries that somebody may miss, folders and pictures; else None."""
    # Resource forks (._a.png) accompany a file that is there; nobody misses them.
    kinds = PICTURE_SUFFIXES | UNREAD_SUFFIXES | set(CAPTION_SUFFIXES)
    missed = [p for p in left_out if p.is_dir() or (has_ending(p, kinds) and not p.name.startswith("._"))]
    return say("hidden or of the system, so left out: {names}", names=names_of(missed)) if missed else None


def about_fit(
    pictures: Sequence[Picture], plans: Sequence[BucketPlan], tokens: Sequence[int], *, longest: int = 0
) -> tuple[str, ...]:
    """Return remarks on what the crop cuts away, and on captions that are longer than one pass of a text encoder.

    Args:
        pictures: of the data set.
        plans: how each reaches its bucket.
        tokens: how many each one's caption has.
        longest: how many of them are read; 0 is all.
    """
    rows = list(zip(pictures, plans, tokens, strict=True))
    notices = []
    if cut := [picture.path for picture, plan, _ in rows if plan.loses_much]:
        notices.append(grouped(say("with more than a quarter cut away by the crop"), cut))
    if ended := [picture.path for picture, _, count in rows if longest and count > longest]:
        said = say("with a caption of more than {n} tokens: the rest is cut off (max_tokens)", n=longest)
        notices.append(grouped(said, ended))
        rows = [row for row in rows if row[2] <= longest]
    if long := [picture.path for picture, _, count in rows if CHUNK < count <= LONG]:
        said = say(
            "with a caption of more than {n} tokens: read in parts of {part}, as the WebUI reads prompts",
            n=CHUNK,
            part=CHUNK,
        )
        notices.append(grouped(said, long))
    if longer := [picture.path for picture, _, count in rows if count > LONG]:
        notices.append(grouped(say("with a caption of more than {n} tokens, which is unusually long", n=LONG), longer))
    return tuple(notices)


def _listed(counts: Mapping[str, int]) -> list[Sentence]:
    return [say("{ending} {n}", ending=ending, n=count) for ending, count in sorted(Counter(counts).items())]
