"""Into a checkpoint: LoRAs become part of a model's file, tensor by tensor, without the model ever being loaded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.architectures.base import UNKNOWN
from lib_lora.architectures.registry import find_architecture
from lib_lora.architectures.stored import StoredLayer
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.checkpoint import COMPUTED, CheckpointFile
from lib_lora.formats.files import raw_bytes
from lib_lora.formats.header import encode_header
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile, in_order_of_blocks
from lib_lora.formats.one_by_one import OpenTensors, open_tensors
from lib_lora.formats.saving import save_hashed
from lib_lora.live.targets import fits_nothing, misfit, multiplier_of, unused_extras
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.merge.shares import Summand
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import Sentence, say

_SLICE = 2**22
"""Numbers of a tensor that are rounded at once."""


@dataclass(frozen=True)
class _Change:
    """One module's change of one layer, with its multiple."""

    adapter: Adapter
    layer: StoredLayer
    shape: tuple[int, ...]
    q: float


@dataclass(frozen=True)
class Plan:
    """What is going to be changed, known from the headers and the LoRAs.

    Attributes:
        checkpoint: whose copy is written.
        changes: by the name of the tensor that they change.
        notes: a LoRA's name and what was assumed, left out or fits no layer.
        unmatched: the modules of each LoRA that fit no layer.
    """

    checkpoint: CheckpointFile
    changes: dict[str, list[_Change]]
    notes: tuple[tuple[str, Sentence | str], ...]
    unmatched: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Written:
    """The new checkpoint.

    Attributes:
        path: its file.
        sha256: of the whole file, 64 hex digits.
        report: a row for each block; the error is what rounding to the checkpoint's own type made of the change.
        plan: what was changed.
    """

    path: Path
    sha256: str
    report: MergeReport
    plan: Plan


def plan(checkpoint: CheckpointFile, parts: Sequence[Summand]) -> Plan:
    """Return which tensors LoRAs change in a checkpoint; no weight is read.

    Raises:
        InputError: a LoRA is of another family, fits no layer or one of another size; the weights are quantized; or
            nothing is left to change.
    """
    changes: dict[str, list[_Change]] = {}
    notes: list[tuple[str, Sentence | str]] = []
    unmatched: dict[str, tuple[str, ...]] = {}
    for part in parts:
        _refuse_other_family(part.lora, checkpoint)
        missing, without_bias = [], []
        acting = list(_acting(part))
        for key, adapter, q in acting:
            layer = checkpoint.find(key)
            if layer is None or layer.weight is None:
                missing.append(key)
                continue
            change = _Change(adapter, layer, checkpoint.shape(layer), q)
            _refuse_misfit(change, checkpoint)
            for name in (layer.weight, layer.bias):
                if name is not None:
                    changes.setdefault(name, []).append(change)
            if layer.bias is None and adapter.bias_delta(None) is not None:
                without_bias.append(key)
        if acting and len(missing) == len(acting):
            raise fits_nothing(part.lora, checkpoint.family.name)
        said = [*part.lora.notes, *unused_extras(part.lora)]
        said += [misfit(part.lora.name, missing, of=len(part.lora.adapters))] if missing else []
        said += [_without_bias(part.lora.name, without_bias)] if without_bias else []
        notes += [(part.lora.name, note) for note in said]
        unmatched[part.lora.name] = tuple(missing)
    if not changes:
        raise InputError("Nothing is left: every block has weight 0", cure="Keep at least one block.")
    return Plan(checkpoint, changes, tuple(dict.fromkeys(notes)), unmatched)


def _without_bias(name: str, keys: Sequence[str]) -> Sentence:
    return say(
        "{n} {n:change|changes} of a bias in {name} {n:is|are} left out: the model's layer has none (e.g. {example}).",
        n=len(keys),
        name=name,
        example=keys[0],
    )


def _acting(part: Summand) -> Iterator[tuple[str, Adapter, float]]:
    for block, keys in part.lora.blocks().items():
        q = multiplier_of(block, part.multipliers)
        yield from ((key, part.lora.adapters[key], q) for key in keys if q != 0)


def _refuse_other_family(lora: LoraFile, checkpoint: CheckpointFile) -> None:
    """Refuse a LoRA of another family; one that tells too little counts by whether all of it fits."""
    own, known = checkpoint.family, find_architecture(lora.family)
    alike = known is own or (known is not None and known.labels is not None and known.labels == own.labels)
    if alike or lora.family == UNKNOWN:
        return
    unet = None if known is None else known.unet
    same_layers = unet is not None and own.unet is not None and unet.depths == own.unet.depths
    if not same_layers or not _all_fit(lora, checkpoint):
        raise fits_nothing(lora, checkpoint.family.name)


def _all_fit(lora: LoraFile, checkpoint: CheckpointFile) -> bool:
    """Whether every module has a layer of its size."""
    layers = [(adapter, checkpoint.find(key)) for key, adapter in lora.adapters.items()]
    return all(layer is not None and adapter.fits(checkpoint.shape(layer)) for adapter, layer in layers)


def _refuse_misfit(change: _Change, checkpoint: CheckpointFile) -> None:
    """Refuse a change of a layer of another size, or of weights that cannot be computed with."""
    adapter, shape = change.adapter, change.shape
    if not (adapter.fits(shape) and (len(shape) > 1 or adapter.takes_norms)) and not _is_padded(change):
        raise adapter.misfit(shape)
    assert change.layer.weight is not None  # asked by the caller
    kind = checkpoint.header.tensors[change.layer.weight].dtype
    if kind not in COMPUTED:
        raise InputError(
            "The weights are quantized ({kind}), so what the LoRA adds would be lost in their rounding",
            kind=kind,
            where=checkpoint.path.name,
            cure="Use an fp16, bf16 or fp32 file of this model.",
        )


def _is_padded(change: _Change) -> bool:
    """Whether a change of a plain model's first convolution fits one with more inputs, as inpainting models have."""
    own, shape = change.adapter.shape, change.shape
    if not change.layer.first or change.adapter.needs_weight or len(own) != 4 or len(shape) != 4:
        return False
    return own[0] == shape[0] and own[1] < shape[1] and own[2:] == shape[2:]


@dataclass
class _Writing:
    """A checkpoint on its way through: yields its bytes and gathers what was done."""

    plan: Plan
    metadata: dict[str, str]
    progress: Progress
    results: list[ModuleResult] = field(default_factory=list)

    def blocks(self, source: OpenTensors) -> Iterator[bytes | memoryview]:
        """Yield the new file: its header, then every tensor in its place."""
        header = source.header
        yield encode_header(header.tensors, self.metadata, in_order=True)
        whole = max(1, header.size // 2**20)
        for name in sorted(header.tensors, key=lambda name: (header.tensors[name].start, header.tensors[name].end)):
            changes = self.plan.changes.get(name)
            if changes is None:
                yield from source.blocks(name)
            else:
                yield raw_bytes(self._changed(source, name, changes))
            self.progress.passed(min(whole, header.tensors[name].end // 2**20), whole, say("writing"))
        self.progress.passed(whole, whole, say("writing"))

    @torch.no_grad()
    def _changed(self, source: OpenTensors, name: str, changes: Sequence[_Change]) -> Tensor:
        """Return a tensor with what LoRAs add to it, ``W + Σ q·Δ(W)`` in fp32, rounded to its own type."""
        tensor = source.tensor(name)
        total: Tensor | None = None
        for change in changes:
            delta = _delta(change, name, tensor)
            if delta is None:
                continue
            if total is None:
                total = torch.zeros(tensor.shape, dtype=delta.dtype)
            _own(total, change.layer, weight=name == change.layer.weight).add_(delta, alpha=change.q)
            del delta
        if total is None:
            return tensor
        block = block_of_key(changes[0].adapter.key, self.plan.checkpoint.family.name)
        wanted, error = _add(tensor, total, where=f"{self.plan.checkpoint.path.name}: {name}")
        rank = max(change.adapter.rank for change in changes)
        self.results.append(ModuleResult(block, rank, rank, wanted=wanted, kept=wanted, error=error))
        return tensor


def _own(tensor: Tensor, layer: StoredLayer, *, weight: bool) -> Tensor:
    """Return the part of a tensor that is a layer's, in the form of a Linear or a convolution."""
    part = tensor if layer.third is None else tensor.chunk(3)[layer.third]
    return part.T if layer.turned and weight else part


def _delta(change: _Change, name: str, tensor: Tensor) -> Tensor | None:
    """Return a module's change of a weight or a bias at strength 1; None where there is none."""
    adapter, layer = change.adapter, change.layer
    if name != layer.weight:
        bias = adapter.bias_delta(_own(tensor, layer, weight=False))
        return None if bias is None else bias.detach()
    if adapter.weight_part is None:
        return None
    if not _is_padded(change) or adapter.fits(change.shape):
        return adapter.delta(_own(tensor, layer, weight=True)).detach().reshape(change.shape)
    delta = adapter.delta().detach()
    return torch.nn.functional.pad(delta, (0, 0, 0, 0, 0, change.shape[1] - delta.shape[1]))


def _add(tensor: Tensor, change: Tensor, *, where: str) -> tuple[float, float]:
    """Add a change to a tensor in place, a slice at a time; return its squared norm and the squared rounding error.

    Raises:
        InputError: the tensor's type cannot hold the sum.
    """
    wanted = error = 0.0
    flat, more = tensor.view(-1), change.view(-1)
    for start in range(0, len(flat), _SLICE):
        part, delta = flat[start : start + _SLICE], more[start : start + _SLICE]
        exact = part.to(torch.promote_types(part.dtype, delta.dtype)) + delta
        rounded = exact.to(part.dtype)
        wanted += float(delta.double().square().sum())
        error += float((rounded.double() - exact.double()).square().sum())
        part.copy_(rounded)
    if not math.isfinite(error):
        raise InputError(
            "Numbers are too large for {kind}", kind=tensor.dtype, where=where, cure="Choose smaller strengths."
        )
    return wanted, error


def write(
    plan: Plan, target: Path, metadata: dict[str, str], *, overwrite: bool = False, progress: Progress = QUIET
) -> Written:
    """Write the checkpoint with what LoRAs change; every other tensor is copied byte for byte, each in its place.

    Tensors keep their types, their order in the header and their places. In memory are the LoRAs and one tensor at a
    time. The change of each layer is made from the untouched weight, as live LoRAs do it.

    Args:
        plan: what `plan` returned.
        target: the new file; not the checkpoint's own.
        metadata: the header's texts.
        overwrite: replace a file of this name.
        progress: is told the megabytes written, and may stop it.

    Raises:
        InputError: a number is too large for its type. FileError: a file cannot be read or written; a file that was
            there stays. StoppedError: somebody asked to stop; no file was written.
    """
    writing = _Writing(plan, metadata, progress)
    with open_tensors(plan.checkpoint.path) as source:
        head = len(encode_header(source.header.tensors, metadata, in_order=True))
        size = head + source.header.size - source.header.data_start
        digest = save_hashed(target, writing.blocks(source), size=size, overwrite=overwrite, progress=progress)
    found = in_order_of_blocks({one.block: None for one in writing.results}, plan.checkpoint.family.name)
    rows = rows_of(writing.results, list(found))
    return Written(target, digest, MergeReport(rows, source.header.size, size, ()), plan)
