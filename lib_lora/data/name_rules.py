"""The rules for file names as a file that people edit: each line says when, and which tags.

    # Tags from file names: f or b (face or body), the level, the angle.
    above: from above
    face front: collarbone, bare shoulders

A ``#`` begins a remark. A line that is missing keeps its usual tags; one with nothing behind the colon writes none.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lib_lora.atomic import cure_of
from lib_lora.data.caption_words import check_words
from lib_lora.data.captions import read_caption
from lib_lora.data.tag_lines import split_tags
from lib_lora.data.tags import TagLists
from lib_lora.errors import FileError, InputError
from lib_lora.sentences import Sentence, say

FILE = "tag_rules.txt"
"""Its name in a data folder."""
_EXPLAINED: Mapping[str, str] = {
    "backgrounds": "every picture, behind the trigger word and the folder's tags",
    "level": "first digit 0",
    "above": "first digit 1",
    "below": "first digit 2",
    "front": "second digit 0, 1 or 7",
    "side": "second digit 2 or 6",
    "behind": "second digit 3, 4 or 5",
    "face": "names with f",
    "body": "names with b",
    "pose": "every picture",
    "face_always": "names with f; empty, for your own character's",
    "face_front": "names with f, seen from the front or the side",
    "face_back": "names with f, seen from behind",
    "face_midriff": "names with f, where the midriff is seen: from above, or from below and in front",
    "at_viewer": "second digit 0",
    "away": "second digit 1 to 7",
    "expressions": "every picture but those from straight behind (second digit 4)",
}
"""Each list of `TagLists` in the order in which its tags are written, and when they are."""


def rules_text() -> str:
    """Return the usual rules as a file to edit."""
    usual, lines = (
        TagLists(),
        ["# Tags from file names such as f00.png. One line: when, a colon, tags with commas.", ""],
    )
    for name, when in _EXPLAINED.items():
        lines += [f"# {when}", f"{_shown(name)}: {', '.join(getattr(usual, name))}".rstrip()]
    return "\n".join([*lines, "# yes: expressions from straight behind as well", "expressions behind: no", ""])


def read_name_rules(path: Path) -> TagLists:
    """Return the rules of a file.

    Raises:
        FileError: it cannot be read. InputError: a line is none, with its number.
    """
    return rules_of(read_caption(path).text, path)  # in whatever encoding an editor saved it


def rules_of(text: str, path: Path) -> TagLists:
    """Return the rules that a text says; ``path`` is the file that it is of, for errors.

    Raises:
        InputError: a line is none, with its number.
    """
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip()
        if bare:
            name, value = _line(bare, path, number)
            if name in found:
                raise _wrong(say("“{name}” stands there twice", name=_shown(name)), path, number)
            found[name] = value
    return replace(TagLists(), **found)


def name_rules(folder: Path) -> TagLists:
    """Return the rules of a data folder; where it has none yet, the usual ones are written into it to be edited.

    Raises:
        FileError, InputError: see `read_name_rules`; or the disk refuses.
    """
    path = folder / FILE
    if path.is_file():
        return read_name_rules(path)
    try:
        path.write_text(rules_text(), encoding="utf-8")
    except OSError as error:
        what = say("The rules for file names cannot be written ({reason})", reason=error)
        raise FileError(what, where=str(path), cure=cure_of(error)) from error
    return TagLists()


def _line(text: str, path: Path, number: int) -> tuple[str, object]:
    """Return the field that a line sets, and its value."""
    key, colon, value = text.replace("：", ":", 1).partition(":")
    known = {_shown(one.name): one.name for one in fields(TagLists)}
    name = known.get(" ".join(key.lower().split()))
    if not colon or name is None:
        near = difflib.get_close_matches(key.strip().lower(), known, n=3)
        cure = say("Did you mean: {names}?", names=near) if near else say("Known are {names}.", names=sorted(known))
        raise _wrong(say("“{text}” is no rule", text=text[:60]), path, number, cure)
    if name != "expressions_behind":
        check_words(value, where=say("{file}, line {n}", file=str(path), n=number))
        return name, tuple(split_tags(value))
    if value.strip().lower() not in ("yes", "no"):
        raise _wrong(say("“{text}” is neither yes nor no", text=value.strip()[:60]), path, number)
    return name, value.strip().lower() == "yes"


def _wrong(what: Sentence, path: Path, number: int, cure: Sentence | None = None) -> InputError:
    where = say("{file}, line {n}", file=str(path), n=number)
    return InputError(what, where=where, cure=cure or say("Correct it in the file."))


def _shown(name: str) -> str:
    return name.replace("_", " ")
