"""The core's sentences in the language of the page: errors, remarks and what a job is doing.

The core speaks English, with values in its sentences. `texts/errors.json` (what is wrong), `cures.json` (what to do),
`places.json` (where), `remarks.json` (notes, notices, sentences inside of sentences), `system.json` (reasons that the
operating system gives) and `progress.json` hold the same sentences as templates.
`tests/ui/test_error_words.py` compares them with the sources.
"""

from __future__ import annotations

from functools import lru_cache

from lib_lora.blocks.errors import PositionError
from lib_lora.errors import AtelierError
from lib_lora.i18n.phrases import PhraseBook
from lib_lora.i18n.words import table

SENTENCES = ("errors", "cures", "remarks", "system")


@lru_cache(maxsize=8)
def book(language: str, *files: str) -> PhraseBook:
    """Return the sentences of some files of `texts/` in one language."""
    known = {key: (texts["en"], texts[language]) for key, texts in table().items() if key.partition(".")[0] in files}
    # A place is mostly a path or a name, which must not be taken for a sentence; a list of problems may follow it.
    return PhraseBook(known, inner=book(language, *SENTENCES) if files == ("places",) else None)


def in_words(error: AtelierError, language: str) -> tuple[str, str, str]:
    """Return what, where and the cure of an error, in ``language`` where its sentence is known, else in English."""
    if language == "en":
        return error.what, error.where, error.cure
    where = book(language, "places").say(error.where)
    return sentence_in_words(error.what, language), where, sentence_in_words(error.cure, language)


def sentence_of(error: AtelierError, language: str) -> str:
    """Return an error as running text: what and where in a sentence, the cure in another."""
    what, where, cure = in_words(error, language)
    if isinstance(error, PositionError):
        where = f"{error.text}, {where}" if where else error.text
    place, stop, gap = (f"（{where}）", "。", "") if language == "ja" else (f" — {where}", ".", " ")
    said = (what + (place if where else "")).rstrip(".。") + stop
    return f"{said}{gap}{cure}" if cure else said


def sentence_in_words(text: str, language: str) -> str:
    """Return any sentence of the core: a note of a result, a notice or a problem of a data set, alone or as a line."""
    return text if language == "en" else book(language, *SENTENCES).say(text)


def progress_in_words(text: str, language: str) -> str:
    """Return a `Progress` text in ``language`` where it is known, else as it is."""
    return text if language == "en" else book(language, "progress").say(text)
