"""From a parsed tag to numbers, and from numbers back to a tag."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from lib_lora.blocks.elements import ElementFile, ElementRules
from lib_lora.blocks.errors import PositionError, TagError
from lib_lora.blocks.presets import Preset, PresetFile
from lib_lora.blocks.tag_model import ParsedTag, ResolvedTag, Span, Strengths, spell
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights, fit, unnamed_blocks
from lib_lora.errors import InputError
from lib_lora.sentences import say

_LARGE = 10.0  # no LoRA in use needs more; beyond it pictures turn black
_RESERVED = ":<>="


@dataclass(frozen=True)
class _Vector:
    weights: BlockWeights | None
    filled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def resolve(
    parsed: ParsedTag,
    presets: PresetFile,
    family: str,
    seed: int,
    *,
    fill: float = 0.0,
) -> ResolvedTag:
    """Turn a tag's names into numbers for a model family.

    Args:
        parsed: the tag.
        presets: where names of block weights and of `lbwe=` are looked up; a name comes before an inline vector.
        family: the model's family; the weights come out in its full layout.
        seed: of R and U values; the same seed, LoRA name and vector give the same numbers.
        fill: weight of blocks that a shorter vector of the same family does not name.

    Raises:
        TagError: an unknown name or weights that do not fit the model, pointing at it.
    """
    vector = (
        _vector(parsed, presets, family, seed=seed, fill=fill)
        if parsed.weights
        else _Vector(None, notes=x_notes(parsed, None))
    )
    resolved = ResolvedTag(
        name=parsed.name,
        te=parsed.te,
        unet=parsed.unet,
        dyn=parsed.dyn,
        weights=vector.weights,
        elements=_elements(parsed, presets.elements),
        start=parsed.start,
        stop=parsed.stop,
        other=parsed.other,
        frames=parsed.frames,
        hires=parsed.hires,
        sweep=parsed.sweep,
        sweeps_elements=parsed.sweeps_elements,
        filled=vector.filled,
        notes=(*parsed.notes, *vector.notes, *_large(parsed, vector.weights)),
    )
    _check_products(parsed, resolved)
    return resolved


def format_tag(resolved: ResolvedTag) -> str:
    """Return the tag that resolves to the same numbers, with the vector written out.

    Element rules have no inline form: the tag names their preset.

    Raises:
        InputError: the LoRA's or the element preset's name cannot stand in a tag.
    """
    named = {
        "dyn": None if resolved.dyn is None else str(resolved.dyn),
        "lbw": resolved.sweep if resolved.weights is None else resolved.weights.format(),
        "lbwe": None if resolved.elements is None else _safe(resolved.elements.name),
        "start": None if resolved.start is None else resolved.start.format(),
        "stop": None if resolved.stop is None else resolved.stop.format(),
        "other": None if resolved.other is None else format_number(resolved.other),
        "hrte": None if resolved.hires is None else format_number(resolved.hires.te),
        "hrunet": None if resolved.hires is None else resolved.hires.unet_text,
    }
    return spell(_safe(resolved.name), Strengths(resolved.te, resolved.unet, resolved.frames), named)


def _vector(parsed: ParsedTag, presets: PresetFile, family: str, *, seed: int, fill: float) -> _Vector:
    span = parsed.weights or Span("", 0)
    if span.sweep and not presets.has(span.text):
        note = say(
            "{item} stands for the analyzer's vector; without the analyzer every block counts 1.", item=span.sweep
        )
        return _Vector(None, notes=(note,))
    try:
        source = presets.vector(span.text, family)
        # seeded by text: stable across Python versions and processes, and each LoRA of a prompt draws its own values
        rng = random.Random(f"{seed}/{parsed.name}")
        written = source.weights(x=1.0 if parsed.x is None else parsed.x, rng=rng)
        return _Vector(fit(written, family, fill=fill), unnamed_blocks(written.layout, family), x_notes(parsed, source))
    except PositionError as error:
        raise TagError(
            error.what, text=parsed.text, position=span.position + error.position, cure=error.cure
        ) from error
    except InputError as error:
        raise TagError(error.what, text=parsed.text, position=span.position, cure=error.cure) from error


def x_notes(parsed: ParsedTag, source: Preset | None) -> tuple[str, ...]:
    """Return what is to be said where a tag has an X without its value, or a value without an X."""
    has_x = source is not None and any(token.kind == "X" for token in source.tokens)
    if parsed.x is None:
        return (say("X is 1 because the tag has no x=."),) if has_x else ()
    said = say("{x} is the value of X, and the block weights have no X: it does nothing.", x=format_number(parsed.x))
    return () if has_x else (said,)


def _elements(parsed: ParsedTag, elements: ElementFile) -> ElementRules | None:
    if parsed.elements is None:
        return None
    try:
        return elements.resolve(parsed.elements.text)
    except InputError as error:
        raise TagError(error.what, text=parsed.text, position=parsed.elements.position, cure=error.cure) from error


def plain_notes(parsed: ParsedTag) -> tuple[str, ...]:
    """Return what is to be said of a tag without block weights, as `resolve` does."""
    return (*parsed.notes, *x_notes(parsed, None), *_large(parsed, None))


def _large(parsed: ParsedTag, weights: BlockWeights | None) -> list[str]:
    """Return what is to be said of numbers that nobody means."""
    numbers = [("TE", parsed.te), ("UNet", parsed.unet)]
    if parsed.other is not None:
        numbers.append(("other", parsed.other))
    numbers += [("UNet", parsed.unet * weight) for weight in (parsed.frames.weights if parsed.frames else ())]
    numbers += list(weights.as_dict().items()) if weights else []
    return [
        say("{item} {value} is very large.", item=key, value=format_number(v)) for key, v in numbers if abs(v) > _LARGE
    ]


def _check_products(parsed: ParsedTag, resolved: ResolvedTag) -> None:
    """Refuse strengths whose product with a weight or ratio leaves the range of numbers."""
    factors = [1.0, resolved.other_weight]
    factors += resolved.weights.values if resolved.weights else ()
    factors += [rule.ratio for rule in resolved.elements.rules] if resolved.elements else []
    largest = max(map(abs, factors)) * max(abs(resolved.te), abs(resolved.unet))
    largest *= max(map(abs, resolved.frames.weights)) if resolved.frames else 1.0
    if not math.isfinite(largest):
        position = parsed.weights.position if parsed.weights else parsed.text.find(":") + 1
        raise TagError(
            "Strength × weight is too large", text=parsed.text, position=position, cure="Use smaller numbers."
        )


def _safe(name: str) -> str:
    bad = [char for char in _RESERVED if char in name]
    if bad or not name.strip():
        raise InputError(
            "“{name}” cannot stand in a LoRA tag",
            name=name,
            cure="It must not be empty or contain {characters: }",
            characters=list(_RESERVED),
        )
    return name
