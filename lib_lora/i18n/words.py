"""The words of the panels in English and Japanese: `texts/*.json`, ``{"key": {"en": …, "ja": …}}``.

What `options.Option` says of itself is English in its declaration; `options.ja.json` has the Japanese under it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).with_name("texts")
LANGUAGES = ("en", "ja")


@lru_cache(maxsize=1)
def table() -> dict[str, dict[str, str]]:
    """Return every sentence by ``file.key``."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        for key, texts in json.loads(path.read_text(encoding="utf-8")).items():
            found[f"{path.stem}.{key}"] = texts
    return found


@lru_cache(maxsize=1)
def declared_texts() -> dict[str, str]:
    """Return the Japanese of every label and explanation of an option, by the English."""
    return json.loads(Path(__file__).with_name("options.ja.json").read_text(encoding="utf-8"))


class Words:
    """The sentences of one language; call it with a key and the values of its ``{places}``."""

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else LANGUAGES[0]

    def __call__(self, key: str, **values: object) -> str:
        """Return the sentence ``file.key``; KeyError where there is none (a test looks for that)."""
        return table()[key][self.language].format(**values)

    def said(self, text: str) -> str:
        """Return a label or an explanation of an option; KeyError where it has no Japanese (a test looks for that)."""
        return text if self.language == "en" or not text else declared_texts()[text]


def duration(seconds: float, words: Words) -> str:
    """Return a time as a person says it."""
    if seconds < 60:
        return words("common.seconds", n=max(1, round(seconds)))
    if seconds < 3600:
        return words("common.minutes", n=round(seconds / 60))
    return words("common.hours", h=int(seconds // 3600), m=round(seconds % 3600 / 60))
