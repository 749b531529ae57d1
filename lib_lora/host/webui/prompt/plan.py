"""What is to be done with the LoRA tags of one pass: what the host's loader gets, and what we attach ourselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from lib_lora.blocks.layouts import BASE
from lib_lora.blocks.tag import format_tag, resolve
from lib_lora.blocks.tag_model import ParsedTag, ResolvedTag
from lib_lora.blocks.tag_resolve import plain_notes
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import AtelierError
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import LoadedModel
from lib_lora.host.prompt.read import multipliers_of
from lib_lora.host.prompt.remarks import idle_notes
from lib_lora.host.webui.model.live_model import no_model
from lib_lora.host.webui.prompt.host_loader import text_left_out
from lib_lora.host.webui.prompt.overrides import GenerationOverrides, plain
from lib_lora.host.webui.prompt.tags import Handed, HostReading, PassTag, is_plain, read_tags, reading_of, without_twins
from lib_lora.host.webui.protocols import ExtraNetworkParams
from lib_lora.live.rank import cut_rank
from lib_lora.live.targets import Strength, find_targets, misfit
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.host.webui.host import WebuiHost

_BUNDLED = "bundle_emb"


@dataclass(frozen=True)
class TagOrder:
    """What a pass is resolved with.

    Attributes:
        loras: where LoRA files and presets are.
        find_model: returns the live model; asked only where a tag needs it.
        seed: of the first picture; random weights are drawn from it.
        overrides: what the generation wants.
        implied: a LoRA that the host adds to every prompt where its loader is not given it, "" for none.
        lists_missing: the host itself names LoRAs that it does not find; else one stops all the others.
        hires: it is the hires pass.
        steps: of the pass; None where the sampler decides how many of them it makes.
    """

    loras: WebuiHost
    find_model: Callable[[], LoadedModel | None]
    seed: int
    overrides: GenerationOverrides = field(default_factory=GenerationOverrides)
    implied: str = ""
    lists_missing: bool = True
    hires: bool = False
    steps: int | None = None

    @property
    def model(self) -> LoadedModel:
        """The live model.

        Raises:
            AtelierError: there is none.
        """
        model = self.find_model()
        if model is None:
            raise no_model()
        return model


@dataclass(frozen=True)
class Ours:
    """A LoRA whose UNet part we attach: its adapters there, and one number for every block."""

    tag: ResolvedTag
    lora: LoraFile
    multipliers: Mapping[str, Strength]


@dataclass
class TagPlan:
    """The tags of one pass.

    Attributes:
        for_host: what the host's loader is given.
        ours: what we attach.
        named: the LoRAs in use of which the host's loader may hear nothing; its list of hashes should have them.
        texts: the weighted tags in numbers; one text for all pictures, or one a picture.
        problems: the tags that were left out.
        notes: remarks by the name of the LoRA.
    """

    for_host: list[Handed] = field(default_factory=list)
    ours: list[Ours] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    problems: list[AtelierError] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)


def make_plan(params_list: Iterable[ExtraNetworkParams], order: TagOrder) -> TagPlan:
    """Resolve the tags of a pass; one that cannot be right is left out and named, the others are not touched by it."""
    planner = _Planner(order)
    for tag in read_tags(params_list):
        try:
            planner.add(tag)
        except AtelierError as error:
            planner.plan.problems.append(error)
    return planner.finished()


class _Planner:
    """A plan while tag after tag is added to it."""

    def __init__(self, order: TagOrder) -> None:
        self.order, self.plan = order, TagPlan()
        self._handed: list[Handed] = []
        self._texts: list[list[str]] = []

    def finished(self) -> TagPlan:
        """Return the plan of all tags."""
        for name, notes in self.plan.notes.items():
            notes += self.order.loras.namesakes(name)
        self.plan.for_host = without_twins(self._handed, ours=self.plan.named)
        pictures = max(map(len, self._texts), default=0)
        self.plan.texts = [" ".join(one[row % len(one)] for one in self._texts) for row in range(pictures)]
        return self.plan

    def add(self, tag: PassTag) -> None:
        """Add a tag.

        Raises:
            AtelierError: it cannot be right; nothing of it was added.
        """
        if tag.parsed is None:
            self._add_unread(tag)
            return
        overrides = self.order.overrides
        parsed = overrides.changed(tag.parsed.in_hires() if self.order.hires else tag.parsed)
        notes = self.plan.notes.setdefault(parsed.name, [])
        if overrides.off and not is_plain(parsed):
            notes.append(say("LoRA Block Weight is off: weights, elements and steps do not count."))
            parsed = plain(parsed)
        if is_plain(parsed):
            notes += plain_notes(parsed)
            self._add_plain(tag, reading_of(parsed))
        else:
            self._add_ours(parsed, notes)

    def _add_unread(self, tag: PassTag) -> None:
        """Leave a tag to the host that says nothing of ours, though we cannot read all of it; else it is a problem."""
        if tag.error is not None and not tag.is_foreign:
            self.plan.problems.append(tag.error)
        elif tag.host is not None:
            notes = self.plan.notes.setdefault(tag.host.name, [])
            said = say("Its tag has an item of another extension; the WebUI gets the tag as it is.")
            if tag.error is not None and not tag.params.named:
                said = say("{said}; the WebUI gets the tag as it is.", said=tag.error.what)
            notes.append(said)
            self._handed.append(Handed(tag.host, tag.params))

    def _add_plain(self, tag: PassTag, reading: HostReading) -> None:
        """Give the host a plain tag as it is, or in its own spelling where it would stumble over ours."""
        try:
            self.order.loras.find_lora(reading.name)
        except AtelierError as error:
            self.plan.problems.append(error)
            if not self.order.lists_missing:
                return
        self._handed.append(Handed(reading, tag.params) if tag.host == reading else Handed.of(reading))

    def _add_ours(self, parsed: ParsedTag, notes: list[str]) -> None:
        order, model = self.order, self.order.model
        tag = resolve(parsed, order.loras.presets, model.family, order.seed)
        lora = cut_rank(order.loras.read_lora(tag.name), tag.dyn)
        multipliers = multipliers_of(tag, model.family, order.overrides.sweep)
        unet = replace(lora, adapters={key: one for key, one in lora.adapters.items() if not _is_text(key)})
        unmatched: tuple[str, ...] = ()
        if unet.adapters:
            _, unmatched = find_targets(model, unet)
        swept = tag.sweep is not None and order.overrides.sweep is not None
        text = [format_tag(one) for one in _each_picture(tag, model.family, order.overrides)]
        reading = self._text_part(tag, lora, multipliers, notes)
        # Nothing can go wrong with the tag any more.
        if unet.adapters:
            self.plan.ours.append(Ours(tag, unet, multipliers))
        if reading is not None:
            self._handed.append(Handed.of(reading))
        if tag.weights is not None or swept:
            self._texts.append(text)
        self.plan.named.append(tag.name)
        notes += parsed.notes if swept else tag.notes  # in a sweep the analyzer brings the vector: no news
        notes += lora.notes
        if unmatched:
            notes.append(misfit(tag.name, unmatched, of=len(lora.adapters)))
        _note_empty_blocks(notes, tag, unet, model.family)
        fitting = [key for key in lora.adapters if key not in unmatched]
        notes += [] if swept else idle_notes(tag, fitting, model.family, order.steps)

    def _text_part(
        self, tag: ResolvedTag, lora: LoraFile, multipliers: Mapping[str, Strength], notes: list[str]
    ) -> HostReading | None:
        """Return what the host's loader does for the text encoder: strength × BASE; None where that is nothing."""
        keys = [key for key in lora.adapters if _is_text(key)]
        base = multipliers[BASE]
        strength = float(base.flatten()[0]) if isinstance(base, Tensor) else base
        if tag.elements is not None:
            ratios = {tag.elements.ratio(BASE, key) for key in keys}
            if len(ratios) == 1 and None not in ratios:
                strength = tag.te * float(ratios.pop() or 0.0)
            elif len(ratios) > 1:
                notes.append(say("Element rules cannot tell parts of the text encoder apart here: BASE counts in all."))
        needed = bool(keys) and strength != 0.0
        left_out = text_left_out(lora) if needed else ""
        if left_out:
            notes.append(left_out)
            return None
        bundled = any(key.startswith(_BUNDLED) for key in lora.extras)
        if needed or bundled or tag.name == self.order.implied:
            return HostReading(tag.name, strength if keys else 0.0, 0.0, tag.dyn)
        return None


def _each_picture(tag: ResolvedTag, family: str, overrides: GenerationOverrides) -> Sequence[ResolvedTag]:
    """Return the tag as each picture of a sweep has it, else itself."""
    if not tag.sweep or overrides.sweep is None:
        return (tag,)
    vectors = [fit(weights, family) for weights in overrides.sweep]
    return [tag.with_weights(_of_sweep(tag, weights)) for weights in vectors]


def _of_sweep(tag: ResolvedTag, weights: BlockWeights) -> BlockWeights:
    return weights.complement() if tag.sweep == "ZYX" else weights


def _note_empty_blocks(notes: list[str], tag: ResolvedTag, unet: LoraFile, family: str) -> None:
    """Say where a short vector leaves blocks at 0 that the file has modules in."""
    if tag.weights is None or not tag.filled:
        return
    has = {block_of_key(key, family) for key in unet.adapters}
    lost = [block for block in tag.filled if block in has and tag.weights[block] == 0]
    if lost:
        notes.append(
            say("The weights do not name {blocks}, so they are off. Write every block to use them.", blocks=lost)
        )


def _is_text(key: str) -> bool:
    return key.startswith("lora_te")
