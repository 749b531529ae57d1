"""LoRAs become one, by any method, and smaller if asked.

What a weight (strength times block weight) means:

- ``sum``: Σ w·Δ, exactly.
- ``ties``: w·Δ is what is trimmed and votes; all weights doubled double the result.
- ``dare``: w·Δ is what loses numbers; over all seeds the mean is the sum.
- ``k_lora``: w·Δ is what is compared and taken.
- ``project``: of the first what is left counts w times; of the second w is the share that is taken out, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import HasLayers
from lib_lora.merge.bake import bake
from lib_lora.merge.budget import SavedAs
from lib_lora.merge.compress import compress
from lib_lora.merge.layerwise import pick_layers
from lib_lora.merge.method import DENSITY, MethodOptions
from lib_lora.merge.numberwise import join_numbers
from lib_lora.merge.project import Removal, project
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.report import MergeReport, then
from lib_lora.merge.shares import Summand, family_of_all
from lib_lora.merge.sum import add
from lib_lora.progress import QUIET, Progress


@dataclass(frozen=True)
class Joined:
    """One LoRA of several, its report, and what `pick_layers` and `project` tell of blocks."""

    lora: LoraFile
    report: MergeReport
    taken: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    removed: Mapping[str, Removal] = field(default_factory=dict)


def join(
    parts: Sequence[Summand],
    method: MethodOptions,
    rule: RankRule | None = None,
    progress: Progress = QUIET,
    *,
    model: HasLayers | None = None,
    saved: SavedAs | None = None,
) -> Joined:
    """Return the LoRA that a method makes of the parts, with fewer ranks if there is a rule.

    Args:
        parts: one or more, with their multiples by block.
        method: how they are joined; the module says what a multiple means to each.
        rule: ranks that stay; without it all, of `ties` and `dare` as many as the sum would have.
        progress: is told of every module, and may stop it.
        model, saved: what some rules ask for; see `compress`.

    Raises:
        InputError: the parts cannot be joined so, or nothing is left.
        StoppedError: somebody asked to stop.
    """
    family_of_all(parts)
    method.check(len(parts))
    if rule is not None:
        blocks = {key: block for part in parts for block, keys in part.lora.blocks().items() for key in keys}
        rule.refuse_unused(blocks, where=", ".join(part.lora.name for part in parts))
    more: Any = {"model": model, "saved": saved}
    if method.method in DENSITY and (rule is None or rule.by_module):
        return Joined(*join_numbers(parts, method, rule, progress))  # a dense layer is cut to its rank at once
    if rule is not None and method.method == "sum" and len(parts) == 1 and set(parts[0].multipliers.values()) == {1.0}:
        return Joined(*compress(parts[0].lora, rule, progress, **more))  # what is 1 everywhere is not baked first
    if rule is not None and rule.by_module and method.method == "sum" and len(parts) > 1:
        return Joined(*add(parts, progress, rule=rule))
    joined = _joined(parts, method, progress)
    if rule is None:
        return joined
    lora, report = compress(joined.lora, rule, progress, **more)
    return replace(joined, lora=lora, report=then(joined.report, report))


def _joined(parts: Sequence[Summand], method: MethodOptions, progress: Progress) -> Joined:
    if method.method in DENSITY:
        return Joined(*join_numbers(parts, method, None, progress))
    if method.method == "k_lora":
        return Joined(*pick_layers(parts, progress))
    if method.method == "project":
        lora, report, removed = project(parts, method, progress)
        return Joined(lora, report, removed=removed)
    if len(parts) > 1:
        return Joined(*add(parts, progress))
    return Joined(*bake(parts[0].lora, parts[0].multipliers, progress))
