"""Sample prompts as sd-scripts knows them: ``a girl --n low quality --w 512 --h 768 --s 28 --l 7 --d 1``, and files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError
from lib_lora.host.request import GenerateRequest
from lib_lora.options import Option, find
from lib_lora.sentences import Sentence, say
from lib_lora.train.given_file import place_beside, read_given, read_table

_FLAG = re.compile(r"(?:^|\s)--(?=[A-Za-z])")
_DASHED = re.compile(r"(?:^|\s)((?:-|[\u2012-\u2015]+|[－ー]{2})(?:n|w|h|d|s|l|g|ss))(?=\s)", re.IGNORECASE)
"""What editors, Japanese keyboards and slips make of ``--n``."""
_FILE = re.compile(r"[^,<>\n]+\.(?:txt|json|toml)", re.IGNORECASE)
_PATH = re.compile(r".+\.(?:txt|json|toml)", re.IGNORECASE)
OPTION = "sample_prompts"


@dataclass(frozen=True)
class SamplePrompt:
    """One sample: its prompt, and what it sets beside it; None is the run's own, or the model's."""

    prompt: str
    negative: str = ""
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    steps: int | None = None
    scale: float | None = None
    sampler: str | None = None

    def changes(self) -> dict[str, Any]:
        """Return what it sets, under the names of a `GenerateRequest`."""
        named = {
            "width": self.width,
            "height": self.height,
            "seed": self.seed,
            "steps": self.steps,
            "cfg_scale": self.scale,
            "sampler": self.sampler,
        }
        given = {name: value for name, value in named.items() if value is not None}
        return {"prompt": self.prompt, "negative": self.negative, **given}


_FIELDS: Mapping[str, tuple[str, Option]] = {
    flag: (field, find(GenerateRequest, name))
    for flag, field, name in (
        ("n", "negative", "negative"),
        ("w", "width", "width"),
        ("h", "height", "height"),
        ("d", "seed", "seed"),
        ("s", "steps", "steps"),
        ("l", "scale", "cfg_scale"),
        ("g", "scale", "cfg_scale"),
        ("ss", "sampler", "sampler"),
    )
}
"""sd-scripts' flags: negative prompt, width, height, seed, steps, guidance scale, sampler."""

_KEYS = {
    "negative_prompt": "n",
    "width": "w",
    "height": "h",
    "seed": "d",
    "sample_steps": "s",
    "scale": "l",
    "guidance_scale": "g",
    "sample_sampler": "ss",
}
"""The names of the same in sd-scripts' JSON and TOML files."""


def read_sample(text: str) -> SamplePrompt:
    """Return a sample prompt with its flags.

    Raises:
        InputError: a flag is unknown or has no right value, or the text is a file's name.
    """
    if _FILE.fullmatch(text.strip()):
        raise InputError(
            say("“{text}” is the name of a file, not a prompt", text=text.strip()),
            where=OPTION,
            cure="Write the prompts themselves; the terminal takes a file of them.",
            option="sample_prompts",
        )
    dashed = _DASHED.search(text)
    if dashed:
        raise InputError(
            "The flag {flag} of a sample prompt does not begin with two hyphens",
            flag=dashed[1],
            where=OPTION,
            cure="Write it like {example}.",
            example="--n",
        )
    words, *flags = _FLAG.split(text)
    values: dict[str, Any] = {}
    for flag in flags:
        name, *rest = flag.split(maxsplit=1)  # at blanks of every width, and tabs
        value = rest[0] if rest else ""
        if name.lower() not in _FIELDS:
            known = [f"--{each}" for each in _FIELDS]
            raise InputError(
                "A sample prompt has no flag {flag}",
                flag=f"--{name}",
                where=OPTION,
                cure="Known are {names}.",
                names=known,
            )
        field, one = _FIELDS[name.lower()]
        values[field] = _value(f"--{name}", value.strip(), one)
    return SamplePrompt(words.strip(), **values)


def _value(flag: str, text: str, one: Option) -> Any:
    try:
        return one.parse(text)
    except InputError as error:
        raise InputError(
            say("“{text}” is no value of {flag}", text=text, flag=flag), where=OPTION, cure=error.cure
        ) from error


def with_files_read(entries: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return sample prompts with the prompts of each named file in its place.

    Args:
        entries: prompts, and names of ``.txt``, ``.json`` and ``.toml`` files in sd-scripts' forms.
        folder: where relative names begin.

    Raises:
        FileError: a file cannot be read; InputError: it is not there, or not what its ending says, or a prompt in it
            cannot be right.
    """
    found: list[str] = []
    for entry in entries:
        if not isinstance(entry, str):  # said with the other options
            found.append(entry)
            continue
        name = entry.strip()
        if _FILE.fullmatch(name) or (_PATH.fullmatch(name) and place_beside(folder, name, where=OPTION).is_file()):
            found += _read_file(place_beside(folder, name, where=OPTION))
        else:
            found.append(entry)
    return tuple(found)


def _read_file(path: Path) -> list[str]:
    what, kind = say("The sample prompts"), path.suffix.lower()
    if kind == ".txt":
        lines = [(n, line.strip()) for n, line in enumerate(read_given(path, what).split("\n"), start=1)]
        used = [(n, line) for n, line in lines if line and not line.startswith("#")]
        found = [_checked(line, say("{file}, line {n}", file=path, n=n)) for n, line in used]
    else:
        rows = enumerate(_rows(read_table(path, what), kind, path), start=1)
        found = [_checked(row, say("{file}, prompt {n}", file=path, n=number)) for number, row in rows]
    if not found:
        raise InputError("The file holds no sample prompt", where=str(path), cure="Write one prompt a line into it.")
    return found


def _checked(line: str, where: Sentence) -> str:
    """Return a line of a file that can be read as a sample prompt; the error of another one names the line."""
    try:
        read_sample(line)
    except InputError as error:
        raise InputError(error.what, where=where, cure=error.cure) from error
    return line


def _rows(said: Any, kind: str, path: Path) -> list[str]:
    """Return the prompts of what JSON or TOML said as lines."""
    try:
        rows = said if kind == ".json" else _toml_rows(said)
        if not isinstance(rows, list):
            raise TypeError
        return [row if isinstance(row, str) else _as_line(row) for row in rows]
    except (TypeError, AttributeError, LookupError) as error:
        raise InputError(
            "The file holds no list of sample prompts",
            where=str(path),
            cure="Write one prompt a line into a .txt file, or a list as sd-scripts reads it.",
        ) from error


def _toml_rows(said: Any) -> list[Any]:
    """Return the prompts of ``[prompt]`` and its ``[[prompt.subset]]``, each over what is common; without one that."""
    common = dict(said["prompt"] or {})
    return [{**common, **subset} for subset in common.pop("subset", [{}])]


def _as_line(row: Mapping[str, Any]) -> str:
    """Return a row of JSON or TOML as the line that says the same; other keys become flags, which are refused."""
    if not isinstance(row["prompt"], str):
        raise TypeError
    words = [" ".join(row["prompt"].split())]
    for key, value in row.items():
        if key not in ("prompt", "subset", "enum") and value is not None:
            words.append(f"--{_KEYS.get(key, key)} {' '.join(str(value).split())}")
    return " ".join(words)
