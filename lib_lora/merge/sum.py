"""Adding: several LoRAs become one whose change is their exact weighted sum, by stacking factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, Factors, LoraAdapter
from lib_lora.formats.keys import block_of_key, find_module
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.bake import multiplier_of, rounded_part
from lib_lora.merge.dense import dense_sum
from lib_lora.merge.difference import dependent
from lib_lora.merge.rank import NOISE, full_shape, product_norm, spectrum, squared_difference
from lib_lora.merge.recipe import merged_from_many, short
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


@dataclass(frozen=True)
class Summand:
    """One summand: a LoRA and the multiple of it in every block that it has modules in."""

    lora: LoraFile
    multipliers: Mapping[str, float]

    @property
    def used(self) -> dict[str, float]:
        """The multiples of the blocks that the LoRA has modules in, as recipes show them."""
        return {block: short(self.multipliers[block]) for block in self.lora.blocks()}


@dataclass(frozen=True)
class _Share:
    """One file's adapter of a module and its multiple."""

    adapter: Adapter
    q: float
    source: str


def add(parts: Sequence[Summand], progress: Progress = QUIET) -> tuple[LoraFile, MergeReport]:
    """Return the LoRA whose change of every module is ``Σ q·Δ`` over the parts.

    A module of several files becomes one plain LoRA, or with a full difference, a bias or a normalization among them
    one full difference: ``up = [q₁s₁U₁ | q₂s₂U₂ | …]``, ``down = [D₁; D₂; …]``, alpha =
    rank = the sum of the ranks, or the layer's smaller side where that is less. A module of one file only keeps its
    kind. The numbers are computed in fp32 and saved in the widest type of the sources; a module that fp16 cannot hold
    stays fp32.

    Args:
        parts: what is added; the same file may come twice.
        progress: is told of every module, and may stop it.

    Raises:
        InputError: no part, files for different families, shapes that do not fit, a change that depends on the model's
            weights beside another one, extras that contradict each other, a number is missing or not finite, or
            nothing is left.
        StoppedError: somebody asked to stop.
    """
    family = _family(parts)
    shares = _by_module(parts, family)
    dtype = _widest(parts)
    adapters: dict[str, Adapter] = {}
    results, dropped = [], []
    for done, (key, found) in enumerate(shares.items(), start=1):
        summed, result = _sum(key, found, block=block_of_key(key, family), dtype=dtype)
        results.append(result)
        if summed is None:
            dropped.append(key)
        else:
            adapters[key] = summed
        progress.passed(done, len(shares), say("adding"))
    if not adapters:
        raise InputError("Nothing is left: the sum changes nothing", cure="Keep a strength that is not 0.")
    whole = LoraFile(adapters, extras=_extras(parts))
    order = list(LoraFile({key: found[0].adapter for key, found in shares.items()}).blocks())
    saved = merged_from_many(whole, [(part.lora, part.used) for part in parts])
    before = sum(part.lora.size for part in parts)
    return saved, MergeReport(rows_of(results, order), before, saved.size, tuple(dropped))


def _family(parts: Sequence[Summand]) -> str:
    if not parts:
        raise InputError("There is nothing to add", cure="Choose at least one LoRA.")
    known = {part.lora.name: part.lora.family for part in parts}
    found = dict.fromkeys(known.values())
    if len(found) > 1:
        where = ", ".join(f"{name}: {family}" for name, family in known.items())
        raise InputError("LoRAs for different models cannot be added", where=where, cure="Choose files of one family.")
    return next(iter(found))


def _widest(parts: Sequence[Summand]) -> torch.dtype:
    """Return the type that holds the numbers of every part; fp8 becomes fp16 at least."""
    types = {adapter.parameters()[0].dtype for part in parts for adapter in part.lora.adapters.values()}
    wide = [dtype if dtype.itemsize > 1 else torch.float16 for dtype in types]
    result = wide[0]
    for dtype in wide[1:]:
        result = torch.promote_types(result, dtype)
    return result


def _by_module(parts: Sequence[Summand], family: str) -> dict[str, list[_Share]]:
    """Return the shares of every module; two spellings of one SDXL module are one, in the first file's spelling."""
    spelled: dict[str, str] = {}
    shares: dict[str, list[_Share]] = {}
    for part in parts:
        block_of = {key: block for block, keys in part.lora.blocks().items() for key in keys}
        strengths = {block: multiplier_of(block, part.multipliers) for block in set(block_of.values())}
        for key, adapter in part.lora.adapters.items():
            module = find_module(key, family)
            name = spelled.setdefault(module.key if module is not None else key, key)
            shares.setdefault(name, []).append(_Share(adapter, strengths[block_of[key]], part.lora.name))
    return shares


def _sum(key: str, shares: Sequence[_Share], *, block: str, dtype: torch.dtype) -> tuple[Adapter | None, ModuleResult]:
    """Return one module's adapter (None where nothing of it is left) and its part of the report."""
    before = max(share.adapter.rank for share in shares)
    acting = [share for share in shares if share.q != 0]
    if not acting:
        return None, ModuleResult(block, before, 0)
    if len(acting) == 1:
        share = acting[0]
        scaled = _renamed(share.adapter, key).scaled(share.q)
        return scaled, rounded_part(block, share.adapter, scaled, q=share.q)
    _refuse_dependent(key, acting)
    if not all(share.adapter.has_factors and share.adapter.weight_part is share.adapter for share in acting):
        adapter, wanted, error = dense_sum(key, [(share.adapter, share.q) for share in acting], dtype=dtype)
        return adapter, ModuleResult(block, before, 0 if adapter is None else adapter.rank, wanted, wanted, error)
    factors = _reduced(_stacked(key, acting))
    if factors is None:
        return None, ModuleResult(block, before, 0)
    wanted = product_norm(factors)
    adapter, error = _saved(key, factors, wanted, dtype=dtype)
    return adapter, ModuleResult(block, before, adapter.rank, wanted=wanted, kept=wanted, error=error)


def _refuse_dependent(key: str, shares: Sequence[_Share]) -> None:
    """Refuse to add changes of which one is known only with the model's weights."""
    kinds = dependent(share.adapter for share in shares)
    if kinds:
        where = f"{key}: {', '.join(share.source for share in shares)}"
        what = say(
            "A change of the kind {kinds} cannot be added to another one: it depends on the model's weights",
            kinds=kinds,
        )
        raise InputError(what, where=where, cure="Leave one of the files out, or make full differences of it first.")


def _renamed(adapter: Adapter, key: str) -> Adapter:
    return adapter if adapter.key == key else type(adapter).read(key, adapter.tensors())


def _stacked(key: str, shares: Sequence[_Share]) -> Factors:
    """Return ``Σ q·Δ`` as two stacked matrices, every summand's columns and rows of about equal size."""
    ups: list[Tensor] = []
    downs: list[Tensor] = []
    shapes: dict[tuple[int, ...], str] = {}
    for share in shares:
        factors = share.adapter.factors()
        up, down = _balanced(factors.up.detach() * share.q, factors.down.detach())
        ups.append(up)
        downs.append(down)
        shapes.setdefault(full_shape(key, factors), share.source)
    shape = max(shapes, key=len)
    if any(other[0] != shape[0] or math.prod(other) != math.prod(shape) for other in shapes) or _kernels(shapes) > 1:
        where = "; ".join(f"{source} {shape}" for shape, source in shapes.items())
        cure = say("Leave one of the files out.")
        raise InputError("The LoRAs change weights of different shapes: {shapes}", shapes=where, where=key, cure=cure)
    return Factors(torch.cat(ups, dim=1), torch.cat(downs, dim=0), shape)


def _kernels(shapes: Mapping[tuple[int, ...], str]) -> int:
    """Return how many different kernels the shapes have; one of a Linear says nothing about it."""
    return len({shape[2:] for shape in shapes if len(shape) == 4})


def _balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors with their largest numbers brought together by a power of two, which changes no product."""
    high, low = float(up.abs().max()), float(down.abs().max())
    if not (high and low and math.isfinite(high / low)):
        return up, down
    shift = round(math.log2(high / low) / 2)
    return torch.ldexp(up, torch.tensor(-shift)), torch.ldexp(down, torch.tensor(shift))


def _reduced(factors: Factors) -> Factors | None:
    """Return the same change with no more rank than the layer has; None where it changes nothing."""
    if not math.isfinite(float(factors.up.abs().sum()) + float(factors.down.abs().sum())):
        raise InputError("The sum holds numbers that are not finite", cure="Choose smaller strengths.")
    if factors.up.shape[1] < min(factors.up.shape[0], factors.down.shape[1]):
        product = product_norm(factors)
        scale = float(factors.up.double().square().sum() * factors.down.double().square().sum())
        return factors if product > (NOISE**2) * scale else None
    found = spectrum(factors)
    size = float(factors.up.norm() * factors.down.norm())
    count = int((found.sigma > NOISE * found.sigma[0]).sum()) if float(found.sigma[0]) > NOISE * size else 0
    if count == 0:
        return None
    root = found.sigma[:count].sqrt()
    return Factors(found.left[:, :count] * root, root[:, None] * found.right[:count], factors.shape)


def _saved(key: str, factors: Factors, wanted: float, *, dtype: torch.dtype) -> tuple[LoraAdapter, float]:
    """Return the factors as a LoRA with alpha = rank in a type that holds them, and the squared rounding error."""
    for kind in dict.fromkeys((dtype, torch.float32)):
        up, down = factors.up.to(kind), factors.down.to(kind)
        error = squared_difference(factors.up, factors.down, up.float(), down.float())
        if error <= (4 * torch.finfo(kind).eps) ** 2 * wanted:
            break
    if len(factors.shape) == 4:
        up, down = up[:, :, None, None], down.reshape(-1, *factors.shape[1:])
    return LoraAdapter(key, up.contiguous(), down.contiguous(), None, float(down.shape[0])), error


def _extras(parts: Sequence[Summand]) -> dict[str, Tensor]:
    """Return the tensors that belong to no module, of all parts."""
    found: dict[str, Tensor] = {}
    for part in parts:
        for name, tensor in part.lora.extras.items():
            if name in found and not torch.equal(found[name], tensor):
                cure = say("Leave one of the files out.")
                raise InputError("Two files hold different tensors of this name", where=name, cure=cure)
            found[name] = tensor
    return found
