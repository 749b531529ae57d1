"""Plans of block weights for every door: from what a person writes to a plan, and from the plan to texts for others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.blocks.block_list import parse_block_list
from lib_lora.blocks.errors import PositionError
from lib_lora.blocks.layouts import blocked_families, full_layout, lengths_of, title_of, unet_families
from lib_lora.blocks.lr_weights import has_lr_weights, lr_weights_of, read_lr_weights
from lib_lora.blocks.plan import LEAST_STEP, MODES, BlockPlan, in_layouts
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import meant_as_tag, parse_tag
from lib_lora.blocks.typed import half_width, without_invisible
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.options import REQUIRED, option, settle
from lib_lora.sentences import Sentence, say


@dataclass(frozen=True)
class PlanOptions:
    """What a person says of a plan."""

    vector: str = option(
        REQUIRED,
        "Block weights",
        "The weights as they are now: NAME:numbers, numbers, a preset's name, a LoRA tag with them, or sd-scripts' "
        "down_lr_weight=… mid_lr_weight=… up_lr_weight=….",
        form="[NAME:]VECTOR",
    )
    fix: str = option("", "Fixed blocks", "Blocks that stay as they are: IN00,IN02,OUT09-OUT11.", form="LIST")
    step: float = option(0.5, "Step", "What is taken off or added.", low=LEAST_STEP, high=100, offered=(0.05, 1))
    mode: str = option(
        "sub",
        "Direction",
        "sub: one block less at a time; add: one more; subadd and addsub: both, in this order.",
        choices=MODES,
    )
    fill: float | None = option(
        None,
        "Fill value",
        "Writes a shorter vector out for all blocks of the family: those that it does not name get this.",
        low=-100,
        high=100,
    )
    family: str | None = option(
        None, "Family", "Of the model, where numbers alone do not tell it.", choices=blocked_families()
    )

    def __post_init__(self) -> None:
        settle(self)


@dataclass(frozen=True)
class Planned:
    """A plan, the name of its base ("" for none), and what is to be said of it."""

    plan: BlockPlan
    name: str
    notes: tuple[Sentence, ...]

    @property
    def line(self) -> str:
        """The base as a line of a preset file; without a name the vector alone."""
        vector = self.plan.base.format()
        return f"{self.name}:{vector}" if self.name else vector


def plan_of(options: PlanOptions, presets: PresetFile, *, present: Collection[str] | None = None) -> Planned:
    """Return the plan that options describe.

    Args:
        options: what a person says.
        presets: where names are looked up.
        present: the blocks in which the LoRA has modules; the others are fixed, as nothing would change.

    Raises:
        InputError: a vector, a name or a block that cannot be right; near names are told.
    """
    name, base, notes = read_vector(options.vector, presets, options.family)
    if options.fill is not None:
        if base.layout == full_layout(base.layout.family):
            notes = (*notes, say("These weights name every block: there is nothing to fill."))
        base, _ = base.convert(full_layout(base.layout.family), fill=options.fill)
    fixed = fixed_blocks(options.fix, base.layout.family)
    absent = [block for block in fixed if block not in base.layout.names]
    if absent:
        notes = (*notes, say("This vector has no {blocks}: there is nothing to fix.", blocks=absent))
    empty = [block for block in base.layout.names if present is not None and block not in present]
    if empty:
        notes = (*notes, say("The file has no modules in {blocks}, which are not tried.", blocks=empty))
    plan = BlockPlan(base, frozenset((*fixed, *empty)), options.step, options.mode)
    return Planned(plan, name, (*notes, *plan.notes, *_of_rates(plan)))


def fixed_blocks(text: str, family: str) -> tuple[str, ...]:
    """Return the blocks of a list in the family's order.

    Raises:
        PositionError: pointing at what is none of its blocks.
    """
    layout = full_layout(family)
    try:
        named = {block for group in parse_block_list(text, layout) for block in group}
    except PositionError as error:
        error.option = "fix"
        raise
    return (*(block for block in layout.names if block in named), *sorted(named.difference(layout.names)))


def read_vector(
    text: str, presets: PresetFile, family: str | None = None
) -> tuple[str, BlockWeights, tuple[Sentence, ...]]:
    """Return the name, the weights and the remarks of what somebody wrote or copied; see `PlanOptions.vector`.

    Raises:
        InputError: it cannot be read, or is of another family than ``family``.
    """
    text = without_invisible(text).partition("#")[0].strip()  # as in a preset file
    if has_lr_weights(half_width(text)):
        weights, notes = read_lr_weights(half_width(text), family)
        return "", weights, notes
    x: float | None = None
    if meant_as_tag(text):
        tag = parse_tag(text)
        name, values, x = "", tag.weights.text if tag.weights else "", tag.x
    else:
        before, colon, values = text.partition(":" if ":" in text else "：")
        name, values = (before.strip(), values.strip()) if colon else ("", text)
    if not values:
        raise InputError("There are no block weights", where="vector", cure="Write numbers or a preset's name.")
    found = presets.vector(values, family or unet_families()[0])
    if family and found.layout.family != full_layout(family).family:
        what = say(
            "{n} block weights are those of {family}", n=found.layout.length, family=title_of(found.layout.family)
        )
        cure = say("Choose this family, or give {counts: or } values.", counts=lengths_of(family))
        raise InputError(what, where="family", cure=cure)
    weights = found.weights(x=1.0 if x is None else x)
    has_x = x is None and any(token.kind == "X" for token in found.tokens)
    return name or found.name, weights, (say("X counts 1 here."),) if has_x else ()


def answer(planned: Planned) -> dict[str, Any]:
    """Return a plan as JSON; its notes are said in the caller's language."""
    plan = planned.plan
    texts, lost = in_layouts(plan.base)
    return {
        "name": planned.name,
        "weight": planned.line,
        "family": plan.layout.family,
        "weights": plan.base.as_dict(),
        "fixed": [block for block in plan.layout.names if block in plan.fixed],
        "free": list(plan.free),
        "step": plan.step,
        "mode": plan.mode,
        "presets": list(plan.presets),
        "prompt_sr": plan.prompt_sr,
        "prompt_sr_safe": plan.prompt_sr_safe,
        "eba_blocks": plan.eba_blocks,
        "lr_weight": plan.lr_weight,
        "lr_weights": lr_weights_of(plan.base),
        "layouts": {str(length): text for length, text in texts.items()},
        "lost": {str(length): list(blocks) for length, blocks in lost.items()},
        "pictures": len(plan.pictures),
    }


def _of_rates(plan: BlockPlan) -> Sequence[Sentence]:
    if plan.layout.family not in unet_families():
        return [say("sd-scripts has no rates by block for {family}.", family=title_of(plan.layout.family))]
    below = [name for name, value in plan.base.as_dict().items() if value < 0 and name != "BASE"]
    found = [say("As a rate of sd-scripts a number below 0 counts 0: {blocks}.", blocks=below)] if below else []
    unnamed = [name for name in full_layout(plan.layout.family).names if name not in plan.layout.names]
    if unnamed:
        found.append(
            say(
                "As rates of sd-scripts blocks that this vector does not name get 0 and are not trained: {blocks}.",
                blocks=unnamed,
            )
        )
    return found
