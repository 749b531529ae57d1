"""What a merge did, block by block: ranks, energy kept and the error made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt


@dataclass(frozen=True)
class BlockRow:
    """One block's result.

    Args:
        block: its name.
        modules: modules left in it.
        rank_before: largest rank of a module before; for LoHa and LoKr the rank that their files state.
        rank_after: largest rank after; 0 when none is left.
        energy_kept: share of the wanted change's squared Frobenius norm that the result can hold; 1 when none was
            wanted.
        relative_error: Frobenius norm of (result − wanted) over that of the wanted change, rounding included.
        size: squared Frobenius norm of the wanted change.
    """

    block: str
    modules: int
    rank_before: int
    rank_after: int
    energy_kept: float
    relative_error: float
    size: float = 0.0


@dataclass(frozen=True)
class MergeReport:
    """Rows in the order of the blocks, bytes of all tensors before and after, and the keys that were dropped."""

    rows: tuple[BlockRow, ...]
    bytes_before: int
    bytes_after: int
    dropped: tuple[str, ...]

    @property
    def energy_kept(self) -> float:
        """Return the share of all blocks' squared norms that the result holds; 1 when none was wanted."""
        wanted = sum(row.size for row in self.rows)
        return sum(row.energy_kept * row.size for row in self.rows) / wanted if wanted else 1.0

    @property
    def relative_error(self) -> float:
        """Return the relative error of all blocks together."""
        wanted = sum(row.size for row in self.rows)
        return sqrt(sum(row.relative_error**2 * row.size for row in self.rows) / wanted) if wanted else 0.0

    def by_block(self) -> dict[str, dict[str, int | float]]:
        """Return each block's numbers by their names, as they are given in JSON."""
        told = ("modules", "rank_before", "rank_after", "energy_kept", "relative_error")
        return {row.block: {name: getattr(row, name) for name in told} for row in self.rows}


@dataclass(frozen=True)
class ModuleResult:
    """One module's part in a row: ranks, and squared Frobenius norms of the wanted change, the kept one, the error."""

    block: str
    rank_before: int
    rank_after: int
    wanted: float = 0.0
    kept: float = 0.0
    error: float = 0.0


def rows_of(results: Iterable[ModuleResult], order: Sequence[str]) -> tuple[BlockRow, ...]:
    """Sum modules up to one row for each block, in the order given."""
    found = list(results)
    return tuple(_row(block, [r for r in found if r.block == block]) for block in order)


def _row(block: str, results: Sequence[ModuleResult]) -> BlockRow:
    wanted = sum(result.wanted for result in results)
    return BlockRow(
        block=block,
        modules=sum(result.rank_after > 0 for result in results),
        rank_before=max((result.rank_before for result in results), default=0),
        rank_after=max((result.rank_after for result in results), default=0),
        energy_kept=sum(result.kept for result in results) / wanted if wanted else 1.0,
        relative_error=sqrt(sum(result.error for result in results) / wanted) if wanted else 0.0,
        size=wanted,
    )


def then(first: MergeReport, second: MergeReport) -> MergeReport:
    """Return the report of two steps in a row: their errors are independent, so their squares add up."""
    later = {row.block: row for row in second.rows}
    rows = tuple(_both(row, later.get(row.block)) for row in first.rows)
    return MergeReport(rows, first.bytes_before, second.bytes_after, first.dropped + second.dropped)


def _both(first: BlockRow, second: BlockRow | None) -> BlockRow:
    if second is None:  # all of its modules were dropped before
        return first
    return BlockRow(
        block=first.block,
        modules=second.modules,
        rank_before=first.rank_before,
        rank_after=second.rank_after,
        energy_kept=first.energy_kept * second.energy_kept,
        relative_error=hypot(first.relative_error, second.relative_error),
        size=first.size,
    )
