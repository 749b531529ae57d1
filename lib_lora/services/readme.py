"""A LoRA file's page as text: what its metadata tell a stranger, in Markdown, without anything private."""

from __future__ import annotations

import re
from pathlib import Path

from lib_lora.architectures.registry import find_architecture
from lib_lora.atomic import replace_file
from lib_lora.errors import FileError
from lib_lora.formats.contents import Contents, contents_of
from lib_lora.formats.files import is_pickle
from lib_lora.formats.hashes import tensor_hash
from lib_lora.formats.lora_names import name_in_tags
from lib_lora.formats.metadata import Description, describe
from lib_lora.formats.privacy import without_folders
from lib_lora.i18n.words import Words
from lib_lora.merge.provenance import read_order
from lib_lora.sentences import say

FACTS = {
    "base model": "base",
    "method": "method",
    "rank": "rank",
    "alpha": "alpha",
    "steps": "steps",
    "epoch": "epoch",
    "pictures": "pictures",
    "resolution": "resolution",
    "learning rate": "rate",
    "date": "date",
}
"""What the training left in a file, as the metadata call it -> its word (`workshop.fact_…`)."""
_LONGEST = 20_000
"""Characters of one text."""
_FACT = 200
"""Characters of a fact."""
_MARKS = re.compile(r"([\\`*_\[\]<>#|])")


def readme(path: Path, language: str = "en") -> str:
    """Return a file's page as Markdown: what it is, how it is used, what it was trained or made of, its hash.

    Raises:
        FileError: the file is broken or holds no LoRA.
    """
    words, found = Words(language), contents_of(path)
    said = describe(found.metadata)
    parts = [f"# {_line(said.fields['title']) or _line(path.stem)}", _text(said.fields["description"])]
    parts += [*_use(path, said, words), *_listed(words("readme.file"), _file(path, found, said, words))]
    made = read_order(found.metadata)
    if made is not None:
        rows = [f"{_line(one.name)} (`{_code(one.hash[:12])}`)" for one in made.parents]
        parts += _listed(words("readme.made", verb=words(f"readme.verb_{made.verb}")), rows)
    facts = {key: said.facts[name] for name, key in FACTS.items() if name in said.facts}
    rows = [f"{words(f'workshop.fact_{key}')}: {_line(without_folders(text[:_FACT]))}" for key, text in facts.items()]
    parts += _listed(words("readme.training"), rows)
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(path: Path, said: Description, words: Words) -> list[str]:
    weight = said.fields["preferred_weight"].strip() or "1"
    blocks = "".join(said.fields["block_weights"].split())
    tag = f"<lora:{name_in_tags(path.stem)}:{weight}{f':lbw={blocks}' if blocks else ''}>"
    triggers = ", ".join(f"`{_code(word)}`" + (f" ({count})" if count else "") for word, count in said.triggers)
    rows = [f"`{_code(tag)}`", *([words("readme.triggers", words=triggers)] if triggers else [])]
    return [*_listed(words("readme.use"), rows), _text(said.fields["usage_hint"])]


def _file(path: Path, found: Contents, said: Description, words: Words) -> list[str]:
    ranks = sorted({one.rank for one in found.modules if one.rank is not None})
    known = find_architecture(found.family)
    facts = [known.title if known is not None else found.family, *found.kinds]
    if ranks:
        facts.append(f"{words('workshop.fact_rank')} {' – '.join(map(str, dict.fromkeys((ranks[0], ranks[-1]))))}")
    rows = [", ".join([*facts, f"{path.stat().st_size / 1e6:.1f} MB"])]
    rows += [] if is_pickle(path) else [f"AutoV3: `{tensor_hash(path)[:12]}`"]
    named = {
        "author": words("readme.author"),
        "tags": words("readme.tags"),
        "source_url": words("readme.source_url"),
    }
    rows += [f"{head}: {text}" for name, head in named.items() if (text := _line(said.fields[name]))]
    return rows


def _listed(head: str, rows: list[str]) -> list[str]:
    return [f"## {head}", "\n".join(f"- {row}" for row in rows)] if rows else []


def _plain(text: str) -> str:
    """Return a stranger's text as one line without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text[:_LONGEST]).split())


def _line(text: str) -> str:
    """Return a stranger's text as a line in which Markdown and HTML mean nothing."""
    return _MARKS.sub(r"\\\1", _plain(text))


def _code(text: str) -> str:
    """Return a stranger's text as it can stand between backticks."""
    return _plain(text).replace("`", "'")


def _text(text: str) -> str:
    """Return a stranger's text with its lines."""
    return "  \n".join(map(_line, text[:_LONGEST].strip().splitlines()))


def readme_path(path: Path) -> Path:
    """Return where a file's page lies: ``NAME.md`` beside it."""
    return path.with_suffix(".md")


def write_readme(text: str, target: Path, *, overwrite: bool = False) -> Path:
    """Write a file's page and return where it is.

    Raises:
        FileError: there is one and ``overwrite`` is false, or the disk refuses.
    """
    if target.exists() and not overwrite:
        cure = say("Choose another name, or allow overwriting.")
        raise FileError("The file exists already", where=str(target), cure=cure, option="overwrite")
    return replace_file(target, text.encode("utf-8"))
