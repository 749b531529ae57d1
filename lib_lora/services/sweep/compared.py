"""A comparison of a sweep's runs as plain values: in memory, as JSON, as a table, and read back."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.host.base import GenerateRequest
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.sentences import packed, say, unpacked
from lib_lora.services.answers import plain
from lib_lora.services.sweep.best import Verdict
from lib_lora.services.sweep.facts import RunFacts
from lib_lora.services.sweep.record import Sweep
from lib_lora.train.sweep_table import shown

TABLE, NUMBERS, PICTURES = "comparison.csv", "comparison.json", "pictures"
BASE = "without-lora"
"""The name of the picture without a LoRA; no run is called so, for their names hold a value's option behind a ``_``."""
WITHOUT = say("without LoRA")


@dataclass(frozen=True)
class Compared:
    """A comparison that is written.

    Attributes:
        sweep: what was compared.
        facts: the runs.
        verdict: which of them is the best.
        pictures: run -> its picture; `BASE` -> that without a LoRA.
        remarks: run -> what is to be said of its picture; `BASE` likewise.
        request: the order for each picture, without the LoRA.
    """

    sweep: Sweep
    facts: tuple[RunFacts, ...]
    verdict: Verdict
    pictures: dict[str, Path]
    remarks: dict[str, str]
    request: GenerateRequest

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; pictures by their names under the sweep's folder."""
        rows = [
            {
                "run": one.run,
                "values": dict(one.values),
                **one.numbers(),
                "best": one.run == self.verdict.run,
                **self._drawn(one.run),
                "error": packed(one.error.sentence) if one.error else None,
            }
            for one in self.facts
        ]
        return plain(
            {
                "sweep": self.sweep.name,
                "prompt": self.request.prompt,
                "seed": self.request.seed,
                "verdict": packed(self.verdict.text),
                "without_lora": self._drawn(BASE),
                "runs": rows,
            }
        )

    def _drawn(self, name: str) -> dict[str, Any]:
        remark = self.remarks.get(name)
        return {"picture": self.place(name) or None, "remark": packed(remark) if remark else None}

    def place(self, name: str) -> str:
        """Return a picture's place under the sweep's folder, "" where there is none."""
        kept = self.pictures.get(name)
        return f"{PICTURES}/{kept.name}" if kept else ""


def csv_of(made: Compared) -> str:
    """Return the facts as a table: first the model without LoRA, then a row for each run.

    Columns are the run, the options that differ, the numbers, the verdict, and the picture. The verdict stands with the
    best run, or, where none is marked, with the first row: in the language of whoever started the sweep.
    """
    language = made.sweep.language
    verdict = sentence_in_words(made.verdict.text, language)
    names = list(dict.fromkeys(name for one in made.facts for name in one.values))
    numbers = [f"{name}_at_end" if name in names else name for name in made.facts[0].numbers()]  # steps, for one
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["run", *names, *numbers, "best", "picture"])
    empty = [""] * (len(names) + len(numbers))
    base = sentence_in_words(WITHOUT, language)
    table.writerow([base, *empty, "" if made.verdict.run else verdict, made.place(BASE)])
    for one in made.facts:
        values = [shown(one.values[name]) if name in one.values else "" for name in names]
        facts = ["" if each is None else each for each in one.numbers().values()]
        best = verdict if one.run == made.verdict.run else ""
        table.writerow([one.run, *values, *facts, best, made.place(one.run)])
    return out.getvalue()


def read_comparison(sweep: Sweep, language: str = "") -> dict[str, Any] | None:
    """Return a sweep's newest comparison; None where there is none, or none to be read.

    Remarks, errors and the verdict are texts in ``language``; without one the sentences themselves.
    """
    try:
        kept = json.loads((sweep.folder / NUMBERS).read_text(encoding="utf-8"))
        kept.setdefault("verdict", None)  # older comparisons have none, and no picture without a LoRA
        kept.setdefault("without_lora", {"picture": None, "remark": None})
        for row, keys in ((kept, ("verdict",)), (kept["without_lora"], ("remark",))):
            _read_texts(row, keys, language)
        for one in kept["runs"]:
            one.setdefault("best", False)
            _read_texts(one, ("remark", "error"), language)
        return kept
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_texts(row: dict[str, Any], keys: tuple[str, ...], language: str) -> None:
    for key in keys:
        text = unpacked(row[key])
        row[key] = sentence_in_words(text, language) if text and language else text
