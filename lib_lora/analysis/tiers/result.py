"""What every tier says of a LoRA's blocks: values with their spread and their unit, a sentence a block, and a table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NORMS, PREDICTION, PICTURES = "norms", "prediction", "pictures"


@dataclass(frozen=True)
class Column:
    """What is measured: its key in CSV and JSON, what people call it (a sentence), and its unit ("%", "×" or none)."""

    key: str
    title: str
    unit: str = ""


@dataclass(frozen=True)
class Value:
    """A number, NaN where it is not known, and its standard deviation over repetitions; None: it is exact."""

    mean: float
    spread: float | None = None

    @classmethod
    def over(cls, samples: Sequence[float]) -> Value:
        """Return mean and standard deviation (of the population) of some samples; NaN of none."""
        known = [sample for sample in samples if not math.isnan(sample)]
        if not known:
            return cls(math.nan)
        mean = sum(known) / len(known)
        return cls(mean, math.sqrt(sum((sample - mean) ** 2 for sample in known) / len(known)))


@dataclass(frozen=True)
class BlockRow:
    """One block, or several examined together: its values by column, whether it has modules, and a sentence."""

    block: str
    has_modules: bool
    values: Mapping[str, Value]
    said: str = ""


@dataclass(frozen=True)
class BlockResult:
    """What one tier found.

    Attributes:
        tier: `NORMS`, `PREDICTION` or `PICTURES`.
        lora: the file's name.
        columns: what was measured; the first one ranks the blocks.
        rows: in the order of the layout.
        floor: what the first column shows where nothing was changed; None where it is exact.
        finished: False after a stop.
        notes: sentences: what was assumed, left out or not known.
    """

    tier: str
    lora: str
    columns: tuple[Column, ...]
    rows: tuple[BlockRow, ...]
    floor: float | None = None
    finished: bool = True
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> Column:
        """What ranks the blocks."""
        return self.columns[0]

    def means(self, key: str = "") -> dict[str, float]:
        """Return block to number of one column, the first without a key; blocks where it is known."""
        key = key or self.main.key
        means = {row.block: row.values[key].mean for row in self.rows if key in row.values}
        return {block: mean for block, mean in means.items() if not math.isnan(mean)}

    def ranking(self, key: str = "") -> list[str]:
        """Return the blocks with modules, the largest value of a column first."""
        filled = {row.block for row in self.rows if row.has_modules}
        means = self.means(key)
        return sorted((block for block in means if block in filled), key=lambda block: -means[block])

    def carrying(self, share: float) -> tuple[str, ...]:
        """Return the fewest blocks that have at least ``share`` (0 to 1) of the first column's sum."""
        means, found, sum_ = self.means(), [], 0.0
        whole = sum(means[block] for block in self.ranking())
        for block in self.ranking():
            if sum_ >= share * whole * (1 - 1e-12):
                break
            found.append(block)
            sum_ += means[block]
        return tuple(found)

    def to_csv(self) -> str:
        """Return a line a block: every column and, where it was repeated, its spread; what is not known is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = ["block", "modules"]
        for column in self.columns:
            name = f"{column.key} {column.unit}".strip()
            heads += [name, f"{name} spread"] if self._repeated(column.key) else [name]
        writer.writerow(heads)
        for row in self.rows:
            cells = [row.block, "yes" if row.has_modules else "no"]
            for column in self.columns:
                value = row.values.get(column.key, Value(math.nan))
                cells.append(_cell(value.mean))
                if self._repeated(column.key):
                    cells.append(_cell(math.nan if value.spread is None else value.spread))
            writer.writerow(cells)
        if self.floor is not None:
            writer.writerow(["noise floor", "", _cell(self.floor)])
        return text.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """Return all but the sentences as JSON can hold it; what is not known is None."""
        return {
            "tier": self.tier,
            "lora": self.lora,
            "units": {column.key: column.unit for column in self.columns},
            "noise_floor": self.floor,
            "finished": self.finished,
            "blocks": {
                row.block: {
                    "modules": row.has_modules,
                    **{key: {"mean": _number(one.mean), "spread": one.spread} for key, one in row.values.items()},
                }
                for row in self.rows
            },
            "ranking": self.ranking(),
        }

    def _repeated(self, key: str) -> bool:
        return any(row.values[key].spread is not None for row in self.rows if key in row.values)


def _cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"


def _number(number: float) -> float | None:
    return None if math.isnan(number) else number
