"""Tier 1, at once: how much each block changes, exactly and without a single call of the model.

A thin change is the product ``U·D``; with ``M = UᵀU·DDᵀ`` its squared Frobenius norm is ``tr M = Σσ²`` and
``Σσ⁴ = tr M²``, so that no dense matrix and no decomposition is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lib_lora.analysis.file_comparison import compare
from lib_lora.analysis.tiers.result import NORMS, BlockResult, BlockRow, Column, Value
from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile, in_order_of_blocks
from lib_lora.host.base import LoadedModel
from lib_lora.live.attach import own_numbers
from lib_lora.live.targets import Target, find_targets, misfit
from lib_lora.merge.rank import squared
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

_CANCELS = 1e-3
"""Share of the products' sizes below which their sum is computed again in fp64: factors that nearly cancel."""

_RELATIVE = Column("relative", say("change relative to the model's weights"), "%")
_NORM = Column("norm", say("size of the change (Frobenius norm)"))
_SHARE = Column("share", say("share of the whole change's energy"), "%")
_RANK = Column("effective_rank", say("effective rank"))


@dataclass
class _Sums:
    """What is summed up in a block: energies of the change and of the weights below, and (energy, rank) a module."""

    energy: float = 0.0
    base: float = 0.0
    ranks: list[tuple[float, float]] = field(default_factory=list)
    unknown: int = 0

    def rank(self) -> Value:
        """Return the modules' mean effective rank, each weighted with its energy, and its spread."""
        whole = sum(energy for energy, _ in self.ranks)
        if not whole:
            return Value(math.nan)
        mean = sum(energy * rank for energy, rank in self.ranks) / whole
        return Value(mean, math.sqrt(sum(energy * (rank - mean) ** 2 for energy, rank in self.ranks) / whole))


def measure_norms(
    lora: LoraFile,
    model: LoadedModel | None = None,
    *,
    beside: Sequence[LoraFile] = (),
    progress: Progress = QUIET,
) -> BlockResult:
    """Return norms, shares of energy, effective ranks and cosines of every block of a file.

    The effective rank is the participation ratio ``(Σσ²)² / Σσ⁴``: r for r equal singular values, near 1 where one
    outweighs all others. The norm is absolute; relative to the weights below where ``model`` is of the file's family
    and widths.

    Args:
        lora: the file, of any kind.
        model: a loaded model; None, or one of another family: no relative norm, and changes that depend on the model's
            weights are not known.
        beside: LoRAs of the same family; a column each has the cosine between both changes.
        progress: is told of every module, and may stop it.

    Raises:
        InputError: a LoRA beside is for another family. StoppedError: somebody asked to stop.
    """
    pairs, notes = _pairs(lora, model)
    with_model = any(layer is not None for *_, layer in pairs)
    table: dict[str, _Sums] = {}
    for done, (block, adapter, layer) in enumerate(pairs, start=1):
        _add(table.setdefault(block, _Sums()), adapter, layer)
        progress.passed(done, len(pairs), say("measuring"))
    unknown = sum(sums.unknown for sums in table.values())
    if unknown:
        notes.append(
            say(
                "{n} {n:module changes|modules change} by an amount that depends on the model's weights; load its "
                "model to count {n:it|them}.",
                n=unknown,
            )
        )
    cosines, columns = _cosines(lora, beside, progress)
    whole = sum(sums.energy for sums in table.values())
    rows = tuple(
        _row(block, sums, whole, cosines, with_model=with_model)
        for block, sums in in_order_of_blocks(table, lora.family if model is None else model.family).items()
    )
    first = (_RELATIVE, _NORM) if with_model else (_NORM,)
    return BlockResult(NORMS, lora.name, (*first, _SHARE, _RANK, *columns), rows, notes=tuple(notes))


def _pairs(lora: LoraFile, model: LoadedModel | None) -> tuple[list[tuple[str, Adapter, nn.Module | None]], list[str]]:
    """Return (block, adapter, its live layer), and sentences on what is not relative or does not act."""
    alone: list[tuple[str, Adapter, nn.Module | None]] = [
        (block_of_key(key, lora.family), adapter, None) for key, adapter in lora.adapters.items()
    ]
    notes = list(lora.notes)
    if model is None or not model.layers:
        notes.append(say("No model is loaded, so norms are absolute: blocks of different width compare badly."))
        return alone, notes
    try:
        targets, unmatched = find_targets(model, lora)
    except InputError:
        notes.append(
            say(
                "{name} does not fit the loaded model, so norms are absolute: blocks of different width compare badly.",
                name=lora.name,
            )
        )
        return alone, notes
    if unmatched:
        notes.append(misfit(lora.name, unmatched, of=len(lora.adapters)))
    return [_placed(target) for target in targets], notes


def _placed(target: Target) -> tuple[str, Adapter, nn.Module | None]:
    return target.block, target.adapter, target.layer


def _add(sums: _Sums, adapter: Adapter, layer: nn.Module | None) -> None:
    """Add one module."""
    if adapter.needs_weight and layer is None:
        sums.unknown += 1
        return
    weight, bias = (None, None) if layer is None else own_numbers(layer)
    change = adapter.bias_delta(None if bias is None else bias.detach())
    energy = 0.0 if change is None else squared(change)
    part = adapter.weight_part
    if part is not None:
        second, fourth = moments(part, weight)
        energy += second
        if fourth:
            sums.ranks.append((second, second * second / fourth))
    sums.energy += energy
    if weight is not None:
        sums.base += float(torch.linalg.vector_norm(weight.detach().float())) ** 2


def moments(adapter: Adapter, weight: Tensor | None = None) -> tuple[float, float]:
    """Return ``Σσ²`` and ``Σσ⁴`` over the singular values of a change of the weight.

    Raises:
        InputError: the change depends on ``weight``, and it is not given.
    """
    if adapter.is_thin:
        factors = adapter.factors()
        return _thin_moments(factors.up.detach(), factors.down.detach())
    change = adapter.delta(weight).detach()
    delta = change.reshape(len(change if weight is None else weight), -1)
    second = squared(delta)
    gram = delta @ delta.T if delta.shape[0] <= delta.shape[1] else delta.T @ delta
    return second, squared(gram)


def _thin_moments(up: Tensor, down: Tensor) -> tuple[float, float]:
    """Return both moments of ``up @ down``; in fp64 by QR where they nearly cancel: Gram matrices square the rest."""
    ups, downs = up.T @ up, down @ down.T
    second = float((ups * downs).double().sum())
    if second < _CANCELS * float((ups * downs).abs().double().sum()):
        core = _triangle(up.double()) @ _triangle(down.double().T).T
        return squared(core), squared(core @ core.T)
    product = ups @ downs
    return max(0.0, second), max(0.0, float((product * product.T).double().sum()))


def _triangle(factor: Tensor) -> Tensor:
    """Return R of ``factor = Q R``: it has the same singular values, and products with it the same norms."""
    return torch.linalg.qr(factor, mode="r").R


def _cosines(
    lora: LoraFile, beside: Sequence[LoraFile], progress: Progress
) -> tuple[dict[str, dict[str, Value]], list[Column]]:
    """Return block to column to cosine, and the columns."""
    table: dict[str, dict[str, Value]] = {}
    columns = []
    for number, other in enumerate(beside, start=1):
        column = Column(f"cosine_{number}", say("cosine to {name}", name=other.name))
        columns.append(column)
        for one in compare(lora, other, progress).blocks:
            cosine = one.sums.cosine
            table.setdefault(one.block, {})[column.key] = Value(math.nan if cosine is None else cosine)
    return table, columns


def _row(block: str, sums: _Sums, whole: float, cosines: dict[str, dict[str, Value]], *, with_model: bool) -> BlockRow:
    known = bool(sums.energy) or not sums.unknown
    share = 100 * sums.energy / whole if whole else 0.0
    values = {
        "norm": Value(math.sqrt(sums.energy) if known else math.nan),
        "share": Value(share if known else math.nan),
        "effective_rank": sums.rank(),
        **cosines.get(block, {}),
    }
    if not known:
        return BlockRow(
            block, True, values, say("{block}: how much it changes is not known without its model.", block=block)
        )
    if not with_model:
        said = say("{block} holds {share:.1f} % of the LoRA's change.", block=block, share=share)
        return BlockRow(block, True, values, said)
    relative = 100 * math.sqrt(sums.energy / sums.base) if sums.base else 0.0
    said = say(
        "{block} changes its weights by {relative:.2f} %, and holds {share:.1f} % of the LoRA's change.",
        block=block,
        relative=relative,
        share=share,
    )
    return BlockRow(block, True, {"relative": Value(relative), **values}, said)
