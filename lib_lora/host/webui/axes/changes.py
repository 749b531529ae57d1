"""What an axis of the X/Y/Z plot does to the tags of a LoRA, and which tags of the prompt it can choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lib_lora.blocks.errors import shorten, suggest
from lib_lora.blocks.layouts import OTHER, full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import readable_tags
from lib_lora.blocks.tag_model import Moment, ParsedTag, Span
from lib_lora.blocks.tokens import Token
from lib_lora.blocks.typed import half_width
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.host.webui.prompt.overrides import ATTRIBUTE, overrides_of
from lib_lora.host.webui.protocols import Processing
from lib_lora.sentences import say

EVERY = ""
"""The key of `GenerationOverrides.changes` under which all of ours stand: each looks at the tag's name itself."""

WHERE = say("X/Y/Z plot")


@dataclass(frozen=True)
class AxisChange:
    """A change of the tags of ``loras`` (names, case does not count; None: of every tag).

    ``rank`` orders the changes of one picture, whichever axis they come from: whole weights before a single block.
    """

    rank: ClassVar[int] = 1
    loras: frozenset[str] | None

    def __call__(self, tag: ParsedTag) -> ParsedTag:
        """Return the tag as it is to be in this cell."""
        if self.loras is not None and tag.name.casefold() not in self.loras:
            return tag
        return self.edit(tag)

    def edit(self, tag: ParsedTag) -> ParsedTag:
        """Return the changed tag; of the plain change, the tag itself."""
        return tag


@dataclass(frozen=True)
class Weights(AxisChange):
    """Other block weights: the name of a preset, or a vector."""

    rank: ClassVar[int] = 0
    text: str

    def edit(self, tag: ParsedTag) -> ParsedTag:
        """Return the tag with these weights."""
        return replace(tag, weights=Span(self.text, 0))


@dataclass(frozen=True)
class OneBlock(AxisChange):
    """One weight for some blocks; the tag's other blocks keep theirs."""

    blocks: tuple[str, ...]
    weight: float
    presets: PresetFile
    family: str

    def edit(self, tag: ParsedTag) -> ParsedTag:
        """Return the tag with the weight in these blocks; weights of another family stay, for the tag's own error."""
        layout = full_layout(self.family)
        tokens = dict.fromkeys(layout.names, Token("number", 1.0))
        if tag.weights is not None and tag.sweep is None:
            written = self.presets.vector(tag.weights.text, self.family)
            if written.layout.family != layout.family:
                return tag
            tokens = dict.fromkeys(layout.names, Token("number", 0.0))  # blocks that a shorter vector does not name
            tokens.update(zip(written.layout.names, written.tokens, strict=True))
        tokens.update({name: Token("number", self.weight) for name in self.blocks if name != OTHER})
        other = self.weight if OTHER in self.blocks else tag.other
        return replace(tag, weights=Span(",".join(token.text for token in tokens.values()), 0), other=other)


@dataclass(frozen=True)
class Range(AxisChange):
    """One weight for the examined blocks, another for all others; without examined blocks the source picture."""

    rank: ClassVar[int] = 0
    examined: float
    others: float
    blocks: tuple[str, ...]
    family: str

    def edit(self, tag: ParsedTag) -> ParsedTag:
        """Return the tag with the weights of this cell."""
        weights = BlockWeights.uniform(full_layout(self.family), self.others)
        weights = weights.replaced({name: self.examined for name in self.blocks if name != OTHER})
        other = self.examined if OTHER in self.blocks else tag.other
        return replace(tag, weights=Span(weights.format(), 0), x=None, other=other)


@dataclass(frozen=True)
class Strength(AxisChange):
    """Another strength of the text encoder (``te``) or of the UNet (``unet``)."""

    part: str
    value: float

    def edit(self, tag: ParsedTag) -> ParsedTag:
        """Return the tag with this strength; the other one stays as it is."""
        return replace(tag, te=self.value) if self.part == "te" else replace(tag, unet=self.value)


@dataclass(frozen=True)
class Step(AxisChange):
    """Another first step (``start``) or first step off (``stop``); None takes it away."""

    end: str
    moment: Moment | None

    def edit(self, tag: ParsedTag) -> ParsedTag:
        """Return the tag with this moment."""
        return replace(tag, start=self.moment) if self.end == "start" else replace(tag, stop=self.moment)


@dataclass(frozen=True)
class File(AxisChange):
    """Another file in the tag's place; last, because the other changes know the tag by the name in the prompt."""

    rank: ClassVar[int] = 2
    name: str

    def edit(self, tag: ParsedTag) -> ParsedTag:
        """Return the tag with this LoRA's name."""
        return replace(tag, name=self.name)


def put_change(p: Processing, change: AxisChange) -> None:
    """Let ``p`` carry one change more. The cells of a plot are shallow copies: what they share is never altered."""
    overrides = overrides_of(p)
    mine = tuple(sorted((*overrides.changes.get(EVERY, ()), change), key=_rank))
    changes: Mapping[str, Any] = {**overrides.changes, EVERY: mine}
    setattr(p, ATTRIBUTE, replace(overrides, changes=changes))


def _rank(change: Any) -> int:
    return getattr(change, "rank", 1)


@dataclass(frozen=True)
class PromptTags:
    """The tags of a prompt that can be read, in their order."""

    tags: tuple[ParsedTag, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The LoRAs' names, each once."""
        return tuple(dict.fromkeys(tag.name for tag in self.tags))

    def chosen(self, key: str) -> frozenset[str] | None:
        """Return the LoRA that ``key`` names, in lower case; None (every LoRA) where it is empty.

        Full-width letters are taken as half-width ones.

        Raises:
            InputError: the prompt has no LoRA, or none of this name.
        """
        self.require()
        if not key:
            return None
        wanted = half_width(key).casefold()
        found = frozenset(name.casefold() for name in self.names if half_width(name).casefold() == wanted)
        if not found:
            cure = suggest(key, self.names) or say("It has: {names}.", names=self.names)
            raise InputError("The prompt has no LoRA “{name}”", name=shorten(key), where=WHERE, cure=cure)
        return found

    def require(self) -> None:
        """Refuse a prompt without a LoRA.

        Raises:
            InputError: there is none.
        """
        if not self.tags:
            cure = say("Write <lora:NAME:1> into the prompt.")
            raise InputError("The prompt has no LoRA that this axis could change", where=WHERE, cure=cure)

    def of(self, change: Callable[[ParsedTag], ParsedTag]) -> Sequence[ParsedTag]:
        """Return the tags that a change alters, altered."""
        both = ((tag, change(tag)) for tag in self.tags)
        return [after for before, after in both if after is not before]


def tags_of(p: Processing) -> PromptTags:
    """Return the tags of the prompts of ``p``, of its styles and its hires pass included; broken ones are left out."""
    texts = [p.prompt, getattr(p, "hr_prompt", "")]
    prompts = [text for each in texts for text in (each if isinstance(each, list) else [each]) if text]
    styles = list(getattr(p, "styles", None) or ())
    if styles:
        from modules import shared

        prompts = [shared.prompt_styles.apply_styles_to_prompt(text, styles) for text in prompts or [""]]
    return PromptTags(tuple(tag for text in prompts for tag in readable_tags(text)))
