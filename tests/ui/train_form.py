"""What the Train panel's form holds and tells, for tests that call its handlers."""

from __future__ import annotations

import json
from typing import Any

from lib_lora.train.options import usual_values
from lib_lora.train.recipes import ModelFacts
from lib_lora.ui.train.draft import FREE
from lib_lora.ui.train.options import NAMES, to_widget

POCKET = ModelFacts(128, "v_prediction")


def raw(**changes: Any) -> list[Any]:
    """Return what the widgets behind "more" hold: what is usual, and ``changes``."""
    usual = {name: to_widget(name, value) for name, value in usual_values("character", model=POCKET).items()}
    return [{**usual, **changes}[name] for name in NAMES]


def moved(news: str) -> dict[str, Any]:
    """Return the new values that a refresh told, by name."""
    *pairs, _count = json.loads(news)
    return {name: pair[0] for name, pair in zip((*FREE, *NAMES), pairs, strict=True) if pair is not None}
