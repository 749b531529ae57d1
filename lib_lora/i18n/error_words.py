"""The core's sentences in the language of the page: errors, remarks and what a job is doing.

The core speaks English (`lib_lora/sentences.py`). `sentences/*.json` hold the same sentences in Japanese, by their
English templates: what is wrong (`errors`), what to do (`cures`), where (`places`), notes, notices and sentences inside
of sentences (`remarks`), what a job is doing (`progress`), and what systems and libraries say (`system`).
`tests/ui/test_error_words.py` holds the sources to them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from lib_lora.errors import AtelierError
from lib_lora.sentences import Sentence, filled

FOLDER = Path(__file__).with_name("sentences")


@lru_cache(maxsize=1)
def japanese() -> dict[str, str]:
    """Return every sentence in Japanese by its English template."""
    found: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def sentence_in_words(text: str, language: str) -> str:
    """Return any sentence of the core in ``language``; what is no sentence, or is not known, stays as it is."""
    if language == "en" or not isinstance(text, Sentence):
        return str(text)
    said = japanese().get(text.template)
    if said is None:
        return str(text)
    try:
        return filled(said, text.values, lambda inner: sentence_in_words(inner, language))
    except (KeyError, TypeError, ValueError):  # read back from a file that another version wrote
        return str(text)


def in_words(error: AtelierError, language: str) -> tuple[str, str, str]:
    """Return what, where and the cure of an error in ``language``."""
    what, where, cure = (sentence_in_words(text, language) for text in (error.what, error.where, error.cure))
    return what, where, cure


def error_row(error: AtelierError, language: str) -> dict[str, str]:
    """Return an error as JSON, in ``language``."""
    return dict(zip(("what", "where", "cure"), in_words(error, language), strict=True))


def sentence_of(error: AtelierError, language: str) -> str:
    """Return an error as running text: what and where in a sentence, the cure in another."""
    said = sentence_in_words(error.sentence, language)
    stop = "。" if language == "ja" else "."
    return said if said.endswith(stop) else said + stop
