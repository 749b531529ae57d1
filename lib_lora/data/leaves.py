"""Finding the folders that hold pictures, from whatever folder a person gave: leaf, parent, or one above."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora.data.files import Problem, shown
from lib_lora.data.kinds import kind_of
from lib_lora.data.tags import FolderName, parse_folder_name
from lib_lora.errors import InputError
from lib_lora.sentences import say
from lib_lora.walk import list_folder

MAX_DEPTH = 3  # data set / N_name / child of CharFramework
MAX_REPEATS = 1000
"""A larger number in a folder's name is a date (`20231105_party`), a year or a count of something else."""

SUB_FOLDER, WITHOUT_ENDING = "folder", "file without ending"
"""How a search counts what has no ending."""

_NUMBERED = re.compile(r"^\s*([+-]?\d+)_(.*)$", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A folder as a person gave it; `repeats` and `class_tokens`, where given, win over what names say.

    Of each folder with pictures only the `first` ones by name are used; None: all.
    """

    path: Path
    repeats: int | None = None
    class_tokens: str | None = None
    first: int | None = None

    def __post_init__(self) -> None:
        """Check the repeats."""
        if self.repeats is not None and self.repeats < 1:
            raise InputError("Repeats must be at least 1", where=shown(self.path), cure="1 draws each picture once.")


@dataclass(frozen=True)
class Leaf:
    """A folder that holds pictures itself: candidates for pictures, and its other files.

    `numbered` says that a name, or a person, gave the repeats.
    """

    path: Path
    repeats: int
    class_tokens: str
    flip: bool | None
    is_reg: bool
    pictures: tuple[Path, ...]
    others: tuple[Path, ...]
    numbered: bool = False


@dataclass
class Search:
    """What a search below one given folder found.

    Attributes:
        seen: files and folders by ending, for the error message.
        unread: pictures of kinds that cannot be read here, by what they are called.
        left_out: hidden entries and those of the system.
        warnings: what keeps whole folders out of the training.
        met: real places of the folders that were looked into, so that a link leads to none of them again.
    """

    root: Path
    is_reg: bool
    leaves: list[Leaf] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    left_out: list[Path] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    repeated: bool = False


@dataclass(frozen=True)
class _Said:
    """What names on the way down said: repeats (None: nothing yet), class tokens, and where it comes from."""

    repeats: int | None
    class_tokens: str
    flip: bool | None = None
    inherited: bool = False


def to_source(given: str | os.PathLike[str] | Source) -> Source:
    """Accept what people paste: quotes and blanks around a path, and a tilde for the home folder."""
    if isinstance(given, Source):
        return given
    text = os.fspath(given)
    if isinstance(given, str):
        text = text.strip().strip("\"'")
    if not text:
        raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
    return Source(Path(os.path.expanduser(text)))


def find_leaves(source: Source, *, is_reg: bool, known: set[Path]) -> Search:
    """Find all folders with pictures at or below the source; `known` are resolved folders that are in use already.

    Raises InputError if the source is no folder.
    """
    root = source.path
    if not os.path.isdir(root):  # unlike Path.is_dir, false for names that the system refuses
        what = say("This is a file, not a folder") if os.path.exists(root) else say("There is no such folder")
        raise InputError(what, where=shown(root), cure="Give the folder that holds the pictures.")
    search = Search(root=root, is_reg=is_reg)
    named = root.resolve()
    above = _number_above(named)
    start = _Said(repeats=above[0] if above else None, class_tokens="", inherited=above is not None)
    _walk(root, named.name, start, source, search, known=set(known), depth=0)
    return search


def set_of(folder: Path) -> Path:
    """Return the data set that a folder is of: what holds the folder whose number says its repeats, else itself."""
    named = folder.resolve()
    if _numbered(named.name) is not None:
        return named.parent
    return named if _number_above(named) is None else named.parent.parent


def _number_above(named: Path) -> tuple[int, str] | None:
    """Return what the folder above says of the repeats.

    Only CharFramework's names show that it is meant to (not `01_work/x`).
    """
    return _numbered(named.parent.name) if _parsed(named.name).kind else None


def _walk(
    folder: Path, name: str, above: _Said, source: Source, search: Search, *, known: set[Path], depth: int
) -> None:
    place = os.path.realpath(folder)
    said = _read_name(folder, name, above, source, search)
    if said is None:
        return
    if Path(place) in known:
        search.notices.append(say("{folder} is given twice: used once", folder=shown(folder)))
        search.repeated = True
    listed = None if place in search.met else _list(folder, search)
    search.met.add(place)
    if listed is None:
        return
    pictures, others, inner = listed
    if pictures and Path(place) not in known:
        known.add(Path(place))
        search.leaves.append(_leaf(folder, said, source, search, pictures=pictures, others=others))
    for child in inner:
        numbered = _numbered(child.name) is not None
        if pictures and not numbered:
            search.warnings.append(
                say("{folder} is not read, because the folder around it holds pictures itself", folder=shown(child))
            )
        elif depth >= MAX_DEPTH:
            search.warnings.append(
                say(
                    "{folder} is not read: it lies too deep below {parent}",
                    folder=shown(child),
                    parent=shown(source.path),
                )
            )
        else:
            passed = _Said(repeats=said.repeats, class_tokens="", inherited=said.repeats is not None)
            _walk(child, child.name, passed, source, search, known=known, depth=depth + 1)


def _read_name(folder: Path, name: str, above: _Said, source: Source, search: Search) -> _Said | None:
    """Say what the folder's own name adds to what is known from above; None if it says to leave the folder out."""
    match = _NUMBERED.match(name)
    if match is not None and int(match.group(1)) > MAX_REPEATS:
        if source.repeats is None:
            search.notices.append(
                say(
                    "{folder}: the number in its name is not taken for repeats, because it is above {n}",
                    folder=shown(folder),
                    n=MAX_REPEATS,
                )
            )
        match = None
    if match is None:
        if not above.inherited:
            return above
        # Below a numbered folder CharFramework's grammar holds: `krnk girl, shorthair_f0768`.
        parsed = _parsed(name)
        flip = parsed.flip if parsed.flip_said else None
        return _Said(above.repeats, parsed.class_tokens, flip, inherited=True)
    repeats, rest = int(match.group(1)), match.group(2).strip()
    if repeats < 1 and source.repeats is None:
        search.notices.append(
            say("{folder} is left out: its name asks for {n} repeats", folder=shown(folder), n=repeats)
        )
        return None
    if not rest:
        if source.repeats is None:
            search.notices.append(say("{folder} has a number but no name: repeats 1", folder=shown(folder)))
        return _Said(repeats=1, class_tokens="")
    parsed = _parsed(name)
    is_framework = bool(parsed.kind) or parsed.flip_said
    return _Said(repeats, parsed.class_tokens if is_framework else rest, parsed.flip if parsed.flip_said else None)


def _leaf(
    folder: Path, said: _Said, source: Source, search: Search, *, pictures: list[Path], others: list[Path]
) -> Leaf:
    if source.repeats is None:
        if said.repeats is None and not _NUMBERED.match(folder.name):  # else the name was spoken of
            search.notices.append(say("{folder} is not named like 10_name: repeats 1", folder=shown(folder)))
        elif said.repeats and said.inherited:
            search.notices.append(
                say("{folder}: repeats {n}, from the folder above", folder=shown(folder), n=said.repeats)
            )
    return Leaf(
        path=folder,
        repeats=source.repeats or said.repeats or 1,
        class_tokens=(said.class_tokens if source.class_tokens is None else source.class_tokens).strip(),
        flip=said.flip,
        is_reg=search.is_reg,
        pictures=tuple(pictures[: source.first]),
        others=tuple(others),
        numbered=bool(source.repeats or said.repeats),
    )


def _parsed(name: str) -> FolderName:
    return parse_folder_name(name if name.strip(" /\\") else "_")  # a folder may be called by a blank


def _numbered(name: str) -> tuple[int, str] | None:
    """Read `N_name`; None if the name is not of that form, has no name part, or N is no sensible count."""
    match = _NUMBERED.match(name)
    if match is None or not 1 <= int(match.group(1)) <= MAX_REPEATS or not match.group(2).strip():
        return None
    return int(match.group(1)), match.group(2).strip()


def _list(folder: Path, search: Search) -> tuple[list[Path], list[Path], list[Path]] | None:
    """Return a folder's pictures (by ending or content), other files and sub-folders, sorted; None if not readable."""
    try:
        listing = list_folder(folder)
    except OSError as error:
        what = say("The folder cannot be read ({reason})", reason=error)
        search.problems.append(Problem(path=folder, what=what, cure=say("Check its permissions.")))
        return None
    search.left_out += listing.left_out
    search.seen.update(SUB_FOLDER for _ in listing.folders)
    pictures: list[Path] = []
    others: list[Path] = []
    for path in listing.files:
        search.seen[path.suffix.lower() or WITHOUT_ENDING] += 1
        kind, called = kind_of(path)
        if kind == "unread":
            search.unread[called] += 1
        else:
            (pictures if kind == "picture" else others).append(path)
    for path in listing.odd:
        what = say("This is no file that can be opened (a broken link, a pipe or a device)")
        search.problems.append(Problem(path=path, what=what, cure=say("Put the file itself there, or remove it.")))
    return pictures, others, list(listing.folders)
