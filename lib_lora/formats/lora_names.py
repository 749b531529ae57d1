"""What tags call the LoRA files of some folders: every file by one name that a tag can hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lib_lora.blocks.errors import TagError
from lib_lora.blocks.near import near_names
from lib_lora.errors import InputError
from lib_lora.formats.names import ENDING
from lib_lora.sentences import say
from lib_lora.walk import files_below

_SHOWN = 5
_NOT_IN_TAGS = re.compile(r"[:<>=#\x00-\x1f\x7f-\x9f]")


def name_in_tags(stem: str) -> str:
    """Return a file's name as a tag can hold it: composed, without blanks around it, ``_`` for ``: < > = #``."""
    return _NOT_IN_TAGS.sub("_", unicodedata.normalize("NFC", stem)).strip() or "_"


def named_files(folders: Iterable[Path]) -> dict[str, Path]:
    """Return every LoRA file below the folders by its name in tags.

    Of several files with one name the first has it alone; the others are called by their path below the folder
    (``characters/girl``), with a number where that is taken too. A second name of the same file on the disk (a finished
    training is linked into the LoRA folder) is not listed again.
    """
    known: dict[str, Path] = {}
    seen: set[Path | tuple[int, int]] = set()
    for folder in dict.fromkeys(folders):
        for path in files_below(folder, (ENDING,)) if folder.is_dir() else ():
            if (file := _same(path)) not in seen:
                seen.add(file)
                known[next(name for name in _candidates(folder, path) if name not in known)] = path
    return known


def _same(path: Path) -> Path | tuple[int, int]:
    """Return what is equal for all names of one file: its number on its disk where there are several, else its path."""
    try:
        status = path.stat()
    except OSError:  # gone meanwhile; who reads it says so
        return path
    return (status.st_dev, status.st_ino) if status.st_nlink > 1 and status.st_ino else path


def find_named(name: str, folders: Iterable[Path], known: Mapping[str, Path]) -> Path | None:
    """Return the file that a tag's name means: its name in tags, its file name, or its path below a folder."""
    wanted = name_in_tags(name.replace("\\", "/"))
    if wanted in known:
        return known[wanted]
    roots = list(folders)
    for path in known.values():
        inner = next((path.relative_to(root) for root in roots if path.is_relative_to(root)), Path(path.name))
        if wanted in (name_in_tags(inner.with_suffix("").as_posix()), name_in_tags(inner.as_posix())):
            return path
    return None


def file_of_name(name: str, folders: Sequence[Path], known: Mapping[str, Path]) -> Path:
    """Return the file that a tag's name means: a path, or a file in the folders by name or inner path.

    Raises:
        InputError: there is none; with the nearest names.
    """
    direct = Path(name)
    if direct.suffix == ENDING and direct.is_file():
        return direct
    found = find_named(name, folders, known)
    if found is not None:
        return found
    near = near_names(name, known) or sorted(known)[:_SHOWN]
    looked = ", ".join(map(str, folders)) or say("no folder given")
    if near:
        cure = say("Did you mean: {names}?", names=near)
    elif folders:
        cure = say("Put the file into this folder, or correct the name.")
    else:
        cure = say("Say in which folder the LoRA files are.")
    raise InputError(
        "There is no LoRA called “{name}”",
        name=name,
        where=looked,
        cure=cure,
        option="" if folders else "lora_dir",
    )


def namesakes(name: str, folders: Iterable[Path], known: Mapping[str, Path]) -> list[str]:
    """Return the note that is due where several files have a tag's name: which is taken, what the others are called.

    There is none where one file has the name, if in two places (a run's own file, delivered), or the tag says its path.
    """
    wanted = name_in_tags(name.replace("\\", "/"))
    # The name is part of what any of them is called (`_candidates`): most of thousands need no look at their path.
    others = [name for name, path in known.items() if wanted in name != wanted and name_in_tags(path.stem) == wanted]
    if wanted not in known or name_in_tags(known[wanted].stem) != wanted or not others:
        return []
    path = known[wanted]
    others = [name for name in others if not _is_one_file(path, known[name])]
    if not others:
        return []
    inner = next((path.relative_to(root) for root in folders if path.is_relative_to(root)), Path(path.name)).as_posix()
    called = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
    return [
        say(
            "{n} files are called {name}; {path} is taken. In a tag the others are: {others}.",
            n=len(others) + 1,
            name=wanted,
            path=inner,
            others=called,
        )
    ]


def _is_one_file(one: Path, other: Path) -> bool:
    """Whether two places hold the same file, as links do."""
    try:
        return one.samefile(other)
    except OSError:  # gone meanwhile
        return False


def unnameable(tag: str, folders: Iterable[Path], known: Mapping[str, Path]) -> TagError | None:
    """Return the error of a tag that spells a file's name with a sign that has a meaning in tags, or None.

    Where a LoRA has the name that the tag says as it stands, the tag is that one's.

    Args:
        tag: its text, ``<lora:co:lon:1>``.
        folders: of the LoRAs.
        known: the files by their names in tags.
    """
    body = unicodedata.normalize("NFC", tag.partition(":")[2].rstrip(">"))
    if not any(name_in_tags(start) in known for start in _starts(body) if _NOT_IN_TAGS.search(start)):
        return None  # a file's plain name is taken, by itself or by another: thousands of paths need no look
    fitting = [
        (stem, called)
        for called, path in known.items()
        if _NOT_IN_TAGS.search(stem := unicodedata.normalize("NFC", path.stem)) and f"{body}:".startswith(f"{stem}:")
    ]
    first = body.partition(":")[0]
    if not fitting or (not _NOT_IN_TAGS.search(first) and find_named(first, folders, known) is not None):
        return None
    stem, called = max(fitting)
    what = say("The file name “{name}” has a sign that means something else in a tag", name=stem)
    return TagError(
        what, text=tag, position=tag.find(":") + 1, cure="Write <lora:{name}:1>, or rename the file.", name=called
    )


def _starts(body: str) -> Iterator[str]:
    """Yield what a file's name in a tag's text may be: all before each of its colons, and the whole text."""
    pieces = body.split(":")
    return (":".join(pieces[:count]) for count in range(1, len(pieces) + 1))


def _candidates(folder: Path, path: Path) -> Iterator[str]:
    """Yield the names that a file may have, the shortest first."""
    stem = name_in_tags(path.stem)
    yield stem
    inner = name_in_tags(path.relative_to(folder).with_suffix("").as_posix())
    yield inner
    yield f"{name_in_tags(folder.name)}/{inner}"
    number = 2
    while True:
        yield f"{stem}_{number}"
        number += 1
