"""Tier 2, in a minute: how much each block changes the model's prediction, for the trigger and for other prompts.

Nothing is rendered: latents on their way through the noise, as the model with the LoRA makes them, are predicted once
more with each block examined. *Influence* is ``‖ε_b − ε‖ / ‖ε‖``, ε being the prediction with the source's weights and
ε_b with the block's; *selectivity* is the influence with the trigger over that with neutral prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lib_lora.analysis.effective_block import SweepSpec
from lib_lora.analysis.tiers.result import PREDICTION, BlockResult, BlockRow, Column, Value
from lib_lora.blocks.layouts import BASE, text_blocks
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import Conditioning, LoadedModel
from lib_lora.host.noise_schedule import VELOCITY
from lib_lora.live.attach import Attached, attach
from lib_lora.process import side_by_side
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

WALK = 5
"""Steps of the way through the noise for each level that is looked at; odd, so that a level is one of them."""
SELECTIVE = 1.5
"""From this ratio on a block is said to act mostly on the trigger, below its reciprocal mostly on everything else."""


@dataclass(frozen=True)
class PredictionSpec:
    """What is asked of the model.

    Attributes:
        plan: the values that a block is examined with, and which blocks; its seeds are draws of noise.
        triggers, neutrals: captions with the trigger word, and others.
        levels: how many noise levels, 3 or more.
        seed: of the noise.
        clip_skip: as for pictures.
        te, unet: strengths of the tag.
        chunk: settings of the blocks that are predicted in one batch.
    """

    plan: SweepSpec
    triggers: tuple[str, ...]
    neutrals: tuple[str, ...]
    levels: int = 3
    seed: int = 0
    clip_skip: int = 1
    te: float = 1.0
    unet: float = 1.0
    chunk: int = 16

    def __post_init__(self) -> None:
        if not self.triggers or not self.neutrals:
            raise InputError(
                "The prediction is compared for captions with the trigger and without it, and one kind is missing",
                where=say("prompt"),
                cure="Give at least one caption with the trigger and one without.",
            )

    @property
    def draws(self) -> int:
        """How many draws of noise."""
        return self.plan.options.seeds

    def levels_of(self, steps: int) -> list[int]:
        """Return the timesteps that are looked at, the noisiest last: the middles of as many equal parts."""
        return [round(steps * (2 * part + 1) / (2 * self.levels)) for part in range(self.levels)]

    def calls(self, filled: frozenset[str]) -> int:
        """Return how many samples the model predicts."""
        walk, settings = WALK * self.levels, 2 + len(examined(self.plan, filled))
        return (len(self.triggers) + len(self.neutrals)) * self.draws * (walk + settings * self.levels)


def examined(plan: SweepSpec, filled: frozenset[str]) -> list[tuple[str, ...]]:
    """Return the entries of a plan that have modules."""
    return [entry for entry in plan.entries if any(block in filled for block in entry)]


def measure_prediction(
    model: LoadedModel, lora: LoraFile, spec: PredictionSpec, *, filled: frozenset[str], progress: Progress = QUIET
) -> BlockResult:
    """Return influence and selectivity of every entry of the plan, with their spread over captions, noise and levels.

    Args:
        model: a loaded model; nothing of it stays changed.
        lora: the file.
        spec: what is asked.
        filled: blocks in which the file has modules; others change nothing and are not predicted.
        progress: is told of every sample, and may stop it.

    Raises:
        InputError: the LoRA does not fit. StoppedError: somebody asked to stop.
    """
    entries = examined(spec.plan, filled)
    with torch.no_grad(), attach(model, lora, _numbers(spec, model, None), strategy="factors") as attached:
        work = _Work(model, attached, spec, entries, filled, progress)
        trigger, neutral = work.influences(spec.triggers), work.influences(spec.neutrals)
    return _result(lora, spec, model, entries, trigger, neutral)


def _numbers(spec: PredictionSpec, model: LoadedModel, entry: tuple[str, ...] | None) -> dict[str, float]:
    """Return the multipliers of every block: of the source, or with an entry examined."""
    weights = spec.plan.source() if entry is None else spec.plan.weights(entry)
    return ResolvedTag("", te=spec.te, unet=spec.unet, weights=weights).multipliers(model.family)


class _Work:
    """The predictions of one LoRA."""

    def __init__(
        self,
        model: LoadedModel,
        attached: Attached,
        spec: PredictionSpec,
        entries: Sequence[tuple[str, ...]],
        filled: frozenset[str],
        progress: Progress,
    ) -> None:
        self.model, self.attached, self.spec, self.entries = model, attached, spec, entries
        self.progress, self.done, self.total = progress, 0, spec.calls(filled)
        self.source = _numbers(spec, model, None)
        self.levels = spec.levels_of(len(model.alphas_cumprod))

    def influences(self, captions: Sequence[str]) -> Tensor:
        """Return ``(captions, draws, levels, 1 + entries)`` of ‖change‖ / ‖prediction‖; first the source once more."""
        found = []
        for caption in captions:
            conditions = self._encoded(caption)
            for draw in range(self.spec.draws):
                latents = self._walk(conditions[None], draw)
                found.append(self._changes(latents, conditions))
        return torch.stack(found).reshape(len(captions), self.spec.draws, len(self.levels), -1)

    def _encoded(self, caption: str) -> dict[tuple[str, ...] | None, Conditioning]:
        """Return the caption's conditioning by setting, encoded again only where the text encoder is examined."""
        found = {}
        for setting in (None, *(entry for entry in self.entries if {BASE, *text_blocks()} & set(entry))):
            self.attached.set_weights(_numbers(self.spec, self.model, setting))
            found[setting] = self.model.encode_text([caption], self.spec.clip_skip)
        return found

    def _walk(self, condition: Conditioning, draw: int) -> list[Tensor]:
        """Return latents ``(1, 4, h, w)`` at every level: from noise with the source's weights, DDIM without guidance.

        Song et al. 2020, arXiv:2010.02502, equation 12 with σ = 0.
        """
        model, spec = self.model, self.spec
        side = model.native_side // model.pixels_per_latent
        latents = noise_of(spec.seed + draw, side).to(model.device)
        alphas = model.alphas_cumprod.double()
        parts = WALK * spec.levels
        steps = [round(len(alphas) * (2 * part + 1) / (2 * parts)) for part in reversed(range(parts))]
        self.attached.set_weights(self.source)
        found: dict[int, Tensor] = {}
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if step in self.levels:
                found[step] = latents
            said = model.predict(latents, torch.full((1,), step, device=model.device), condition)
            latents = stepped(latents, said, alphas, step, following, velocity=model.prediction_type == VELOCITY)
            self._passed(1)
        return [found[level] for level in self.levels]

    def _changes(self, latents: Sequence[Tensor], conditions: Mapping[tuple[str, ...] | None, Conditioning]) -> Tensor:
        """Return ``(levels, 1 + entries)`` of ‖change‖ / ‖prediction‖."""
        settings: list[tuple[str, ...] | None] = [None, *self.entries]
        self.attached.set_weights(self.source)
        sources = self._predicted(latents, conditions, [None])
        parts = []
        for start in range(0, len(settings), self.spec.chunk):
            some = settings[start : start + self.spec.chunk]
            self.attached.set_weights(_side_by_side([_numbers(self.spec, self.model, one) for one in some]))
            parts.append(self._predicted(latents, conditions, some))
        changed = torch.cat(parts, dim=1)
        away = (changed - sources).flatten(2).double().norm(dim=2)
        return away / sources.flatten(2).double().norm(dim=2).clamp(min=1e-12)

    def _predicted(
        self,
        latents: Sequence[Tensor],
        conditions: Mapping[tuple[str, ...] | None, Conditioning],
        settings: Sequence[tuple[str, ...] | None],
    ) -> Tensor:
        """Return predictions ``(levels, settings, 4, h, w)`` with the weights that are set, a sample a setting."""
        condition = _stacked([conditions.get(one, conditions[None]) for one in settings])
        work: list[Callable[[], Tensor]] = [
            partial(
                self.model.predict,
                latent.expand(len(settings), -1, -1, -1),
                torch.full((len(settings),), level, device=self.model.device),
                condition,
            )
            for latent, level in zip(latents, self.levels, strict=True)
        ]
        found = side_by_side(work) if self.model.side_by_side else [each() for each in work]
        self._passed(len(work) * len(settings))
        return torch.stack(found)

    def _passed(self, samples: int) -> None:
        self.done += samples
        self.progress.passed(self.done, self.total, say("predicting"))


def noise_of(seed: int, side: int) -> Tensor:
    """Return unit noise ``(1, 4, side, side)``, the same for the same seed on every device."""
    return torch.randn((1, 4, side, side), generator=torch.Generator().manual_seed(seed))


def stepped(
    latents: Tensor, said: Tensor, alphas: Tensor, step: int, following: int | None, *, velocity: bool
) -> Tensor:
    """Return latents one deterministic step nearer to the picture; ``following`` None is the picture itself."""
    alpha = float(alphas[step])
    signal, sigma = math.sqrt(alpha), math.sqrt(1 - alpha)
    clean = signal * latents - sigma * said if velocity else (latents - sigma * said) / signal
    noise = sigma * latents + signal * said if velocity else said
    left = 1.0 if following is None else float(alphas[following])
    return math.sqrt(left) * clean + math.sqrt(1 - left) * noise


def _side_by_side(settings: Sequence[Mapping[str, float]]) -> dict[str, float | Tensor]:
    """Return block to number, or to one number a setting where they differ."""
    columns = {block: [numbers[block] for numbers in settings] for block in settings[0]}
    return {block: column[0] if len(set(column)) == 1 else torch.tensor(column) for block, column in columns.items()}


def _stacked(rows: Sequence[Conditioning]) -> Conditioning:
    pooled = [row.pooled for row in rows if row.pooled is not None]
    return Conditioning(torch.cat([row.tokens for row in rows]), torch.cat(pooled) if pooled else None)


def _result(
    lora: LoraFile,
    spec: PredictionSpec,
    model: LoadedModel,
    entries: Sequence[tuple[str, ...]],
    trigger: Tensor,
    neutral: Tensor,
) -> BlockResult:
    """Put the influences together, in percent."""
    levels = spec.levels_of(len(model.alphas_cumprod))
    floor = 100 * float(torch.maximum(trigger[..., 0].max(), neutral[..., 0].max()))
    columns = (
        Column("influence", say("change of the prediction with the trigger"), "%"),
        Column("neutral", say("change of the prediction with other prompts"), "%"),
        Column("selectivity", say("with the trigger over with other prompts"), "×"),
        *(
            Column(f"influence_{level}", say("with the trigger at noise level {level}", level=level), "%")
            for level in levels
        ),
    )
    place = {entry: number + 1 for number, entry in enumerate(entries)}
    rows = tuple(_rows(spec, levels, place, 100 * trigger, 100 * neutral, floor))
    notes = (
        say("With the trigger: {captions:; }.", captions=spec.triggers),
        say("Other prompts: {captions:; }.", captions=spec.neutrals),
    )
    return BlockResult(PREDICTION, lora.name, columns, rows, floor, notes=notes)


def _rows(
    spec: PredictionSpec,
    levels: Sequence[int],
    place: Mapping[tuple[str, ...], int],
    trigger: Tensor,
    neutral: Tensor,
    floor: float,
) -> Iterator[BlockRow]:
    for entry in spec.plan.entries:
        name = " ".join(entry)
        if entry not in place:
            yield BlockRow(name, False, {}, say("{block} has no modules in this LoRA.", block=name))
            continue
        with_it, without = trigger[..., place[entry]], neutral[..., place[entry]]
        values = {
            "influence": _value(with_it),
            "neutral": _value(without),
            "selectivity": selectivity(with_it, without, floor),
            **{f"influence_{level}": _value(with_it[..., number]) for number, level in enumerate(levels)},
        }
        yield BlockRow(name, True, values, _said(name, values, floor))


def _value(samples: Tensor) -> Value:
    return Value.over(samples.flatten().tolist())


def selectivity(trigger: Tensor, neutral: Tensor, floor: float) -> Value:
    """Return the mean influence with the trigger over that without, its spread over draws and levels.

    NaN where neither is above the floor.

    Args:
        trigger, neutral: ``(captions, draws, levels)`` in percent.
        floor: what rounding alone shows.
    """
    if max(float(trigger.mean()), float(neutral.mean())) <= floor:
        return Value(math.nan)
    ratios = trigger.mean(dim=0) / neutral.mean(dim=0).clamp(min=max(floor, 1e-9))
    mean = float(trigger.mean()) / max(float(neutral.mean()), floor, 1e-9)
    return Value(mean, float(ratios.std(correction=0)))


def _said(block: str, values: Mapping[str, Value], floor: float) -> str:
    trigger, neutral, ratio = (values[key].mean for key in ("influence", "neutral", "selectivity"))
    if max(trigger, neutral) <= floor:
        return say("{block} does not change the prediction.", block=block)
    if ratio >= SELECTIVE:
        return say(
            "{block} acts mostly on the trigger: the prediction changes by {trigger:.2f} % with it and by "
            "{neutral:.2f} % for other prompts.",
            block=block,
            trigger=trigger,
            neutral=neutral,
        )
    if ratio <= 1 / SELECTIVE:
        return say(
            "{block} acts mostly on other prompts: the prediction changes by {neutral:.2f} % for them and by "
            "{trigger:.2f} % with the trigger.",
            block=block,
            trigger=trigger,
            neutral=neutral,
        )
    return say(
        "{block} acts on everything alike: the prediction changes by {trigger:.2f} % with the trigger and by "
        "{neutral:.2f} % for other prompts.",
        block=block,
        trigger=trigger,
        neutral=neutral,
    )
