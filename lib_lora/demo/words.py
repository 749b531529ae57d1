"""The demo report's words in English and Japanese; the texts themselves stand in ``words.json``."""

from __future__ import annotations

import json
from pathlib import Path


def words_in(language: str) -> dict[str, str]:
    """Return key to text in ``en`` or ``ja``."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))[language]
