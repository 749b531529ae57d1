"""Write the tables of ``docs/api.md`` anew from the declared options: ``python -m tools.option_tables``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib_lora.options import REQUIRED, Option, options_of
from lib_lora.train.options import TrainOptions
from lib_lora.web.api import (
    captions,
    checkpoints,
    files,
    fit,
    folders,
    labels,
    makes,
    picture_tools,
    pictures,
    plans,
    rewriting,
    training,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
PLACE = re.compile(r"(<!-- fields: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

TABLES: Mapping[str, Sequence[Option]] = {
    "POST /analyze": (*pictures.PICTURE, *pictures.ANALYSIS),
    "POST /fit": fit.FIT,
    "POST /makes": (*makes.MAKE, makes.UNTIL_PLAN),
    "POST /plan": plans.PLAN,
    "POST /plan/pictures": plans.DRAWN,
    "POST /bake": files.BAKE,
    "a row of loras": files.ROW,
    "compress": files.COMPRESS,
    "POST /extract": checkpoints.EXTRACT,
    "POST /into-checkpoint": checkpoints.INTO,
    "POST /convert": rewriting.CONVERT,
    "POST /prune": rewriting.PRUNE,
    "POST /split": rewriting.SPLIT,
    "POST /label": labels.LABEL,
    "POST /label-many": labels.MANY,
    "fields of a label": labels.TEXTS,
    "POST /pictures/look": folders.LOOKED,
    "POST /pictures/captions": (*captions.IMAGES, *captions.ONLY),
    "POST /pictures/lint": captions.LINTED,
    "POST /pictures/tagger": (*captions.IMAGES, *picture_tools.TAGGER, *captions.ONLY),
    "POST /pictures/cutouts": (*captions.IMAGES, *picture_tools.CUTOUTS, *captions.ONLY),
    "POST /pictures/crops": (*captions.IMAGES, *picture_tools.CROPS, *captions.ONLY),
    "POST /pictures/tag": (*captions.IMAGES, *captions.TAG),
    "POST /train": options_of(TrainOptions),
    "POST /train/{name}/finish": training.FINISH,
}
"""What the page calls a table -> its options."""


def table(options: Sequence[Option]) -> str:
    """Return options as a table in Markdown."""
    rows = ["| Field | means | without it |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| `{one.name}` | {_means(one)} | {_default(one)} |" for one in options)]) + "\n"


def written(page: str) -> str:
    """Return a page with every table as it should be now.

    Raises:
        KeyError: the page names a table that is not there.
    """
    return PLACE.sub(lambda found: f"{found[1]}{table(TABLES[found[2]])}{found[3]}", page)


def _means(one: Option) -> str:
    bounds = [_number(bound) for bound in (one.low, one.high) if math.isfinite(bound)]
    more = [" to ".join(bounds)] if bounds else []
    more += [", ".join(f"`{choice}`" for choice in one.choices)] if one.choices else []
    return " ".join([one.help.replace("|", "\\|").replace("<", "\\<"), *(f"({text})" for text in more)])


def _default(one: Option) -> str:
    if one.default is REQUIRED:
        return "required"
    if one.default in (None, "", (), {}):
        return "–"
    return str(one.default).lower() if one.kind is bool else _number(one.default)


def _number(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, int | float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
