"""The sentences of the panels: both languages whole, the same places, each one used and each use known."""

from __future__ import annotations

import ast
import json
import re
from functools import lru_cache
from pathlib import Path

import pytest

from lib_lora.i18n.words import FOLDER, LANGUAGES, Words, table

ROOT = Path(__file__).resolve().parents[2]

NAMES = {
    "LoRA Atelier",
    "LoRA Block Weight",
    "LoRA Train",
    "LoRA Workshop",
    "Effective Block Analyzer",
}
"""Names of things, which Japanese users know in Latin letters."""

COMPUTED: dict[str, str] = {}
"""Keys, or their beginnings, that the sources put together in a way that cannot be read from them, and why."""

FILES = sorted(FOLDER.glob("*.json"))
_PLACES = re.compile(r"{(\w*)[^}]*}")


def places(text: str) -> set[str]:
    return set(_PLACES.findall(text.replace("{{", "").replace("}}", "")))


@lru_cache(maxsize=1)
def panels() -> dict[str, ast.Module]:
    folders = (ROOT / "lib_lora" / "ui", ROOT / "lib_lora" / "services")
    files = [*(path for one in folders for path in sorted(one.rglob("*.py"))), ROOT / "lib_lora" / "cli" / "studio.py"]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def nodes(kind: type) -> list[tuple[str, ast.AST]]:
    """Return (file:line, node) of one kind in the panels' sources."""
    found = [(path, node) for path, tree in panels().items() for node in ast.walk(tree) if isinstance(node, kind)]
    return [(f"{path}:{node.lineno}", node) for path, node in found]


@lru_cache(maxsize=1)
def literals() -> frozenset[str]:
    """Return every text that stands alone in the sources: a key, or a part that one is put together from."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "lib_lora").rglob("*.py")]
    every = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return frozenset(node.value for node in every if isinstance(node.value, str))


@lru_cache(maxsize=1)
def put_together() -> dict[re.Pattern, str]:
    """Return the keys that are put together with an f-string, as patterns, and where."""
    found = {}
    for place, node in nodes(ast.JoinedStr):
        text = "".join(re.escape(v.value) if isinstance(v, ast.Constant) else "(.+)" for v in node.values)
        if re.fullmatch(r"\w+\\\.[\w\\.()+]+|\(\.\+\)_\w+", text):
            found[re.compile(text)] = place
    return found


def is_used(key: str) -> bool:
    """Say whether a panel asks for a key: written out, or put together from a beginning or from written-out parts."""
    if key in literals() or key.startswith(tuple(COMPUTED) or ("\0",)):
        return True
    for pattern in put_together():
        parted = [re.fullmatch(each, key) for each in (pattern.pattern, pattern.pattern.replace("(.+)_", "(.+?)_"))]
        named = re.match(r"\w+\\\.\w", pattern.pattern)  # “file.beginning” says enough, “file.” alone does not
        if any(match and (named or literals().issuperset(match.groups())) for match in parted):
            return True
    return False


def asked_for() -> dict[str, str]:
    """Return every literal key in a call of the words, and where."""
    found = {}
    for place, node in nodes(ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name.strip("_") == "words" and node.args:
            found |= dict.fromkeys(keys_in(node.args[0]), place)
    return found


def keys_in(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return keys_in(node.body) + keys_in(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and "." in str(node.value) else []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_sentence_has_both_languages(path) -> None:
    def once(pairs):
        keys = [key for key, _ in pairs]
        assert len(set(keys)) == len(keys), f"twice in {path.name}: {[k for k in keys if keys.count(k) > 1]}"
        return dict(pairs)

    for key, texts in json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once).items():
        assert set(texts) == set(LANGUAGES), key
        assert all(text.strip() for text in texts.values()), f"{key} is empty"
        assert texts["en"] == texts["en"].strip(), key


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_languages_have_the_same_places(path) -> None:
    for key, texts in json.loads(path.read_text(encoding="utf-8")).items():
        english, japanese = places(texts["en"]), places(texts["ja"])
        assert japanese == english, key
        assert "" not in english, f"{key}: a place needs a name"


def test_japanese_is_japanese() -> None:
    left = {}
    for key, texts in table().items():
        text = texts["ja"]
        bare = _PLACES.sub("", text)
        if bare.isascii() and len(re.findall(r"[A-Za-z]", bare)) > 12 and text not in NAMES:
            left[key] = text
    assert left == {}


def test_english_is_english() -> None:
    japanese = re.compile(r"[぀-ヿ一-鿿]")
    kept = "日本語"  # a language is written in itself where it is chosen
    assert {key: t["en"] for key, t in table().items() if japanese.search(t["en"].replace(kept, ""))} == {}


def test_every_sentence_that_is_asked_for_exists() -> None:
    missing = [f"{place}: {key}" for key, place in asked_for().items() if key not in table()]
    assert missing == []


def test_every_sentence_is_used() -> None:
    left = [key for key in table() if not is_used(key)]
    assert not left, "\n".join(left)
    assert all(any(key.startswith(text) for key in table()) for text in COMPUTED)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_can_be_said(language) -> None:
    words = Words(language)
    for key, texts in table().items():
        assert words(key, **{name: _Anything() for name in places(texts["en"])})


class _Anything(float):
    """A value for every place, whatever its format."""

    def __format__(self, form: str) -> str:
        return "7"
