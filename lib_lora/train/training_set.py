"""From pictures to what the loop draws: cached latents and captions, in batches of one bucket."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.data.buckets import BucketPlan, batch_count, epoch_batches, plan_bucket, plan_fixed
from lib_lora.data.captions import CaptionRules
from lib_lora.data.dataset import FolderScan, Picture
from lib_lora.data.leaves import Source
from lib_lora.data.remarks import about_fit, grouped
from lib_lora.data.sdxl_sizes import sdxl_sizes
from lib_lora.errors import InputError, StoppedError
from lib_lora.host.base import LoadedModel, is_small
from lib_lora.host.interruption import Interrupted, interruptible
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.train.captions import caption_lengths, full_caption, rules_of
from lib_lora.train.encoding import encode_picture, mask_folder
from lib_lora.train.holdout import held_remarks, parted
from lib_lora.train.latent_cache import LatentCache
from lib_lora.train.length import length_remarks, shown_by, total_steps
from lib_lora.train.options import TrainOptions, usual_values
from lib_lora.train.pictures import batch_sizes, options_for, scan_pictures
from lib_lora.train.recipes import facts_of
from lib_lora.train.varied import DecodedPictures, Varied, varied_remarks, varies


@dataclass(frozen=True)
class Sample:
    """One picture as the loop sees it.

    Attributes:
        picture: where it came from; its repeats are those of this run.
        caption: the caption, trigger word first.
        latents: ``(4, h, w)``, one or, with flip, two orientations.
        sizes: SDXL's size conditions of each orientation, see `data/sdxl_sizes`.
        weight: its weight in the loss (regularization pictures have their own).
        rules: what is done to its caption each time that it is drawn.
        masks: how much each latent counts, ``(h, w)`` of each orientation; None where all count 1.
        varied: how it is made anew each time; None where it stays what it is.
    """

    picture: Picture
    caption: str
    latents: tuple[Tensor, ...]
    sizes: tuple[tuple[int, ...], ...]
    weight: float
    rules: CaptionRules
    masks: tuple[Tensor, ...] | None = None
    varied: Varied | None = None

    def mask(self, orientation: int) -> Tensor:
        """Return how much each latent counts, ``(1, h, w)``."""
        if self.masks is None:
            return torch.ones(1, *self.latents[orientation].shape[-2:])
        return self.masks[orientation][None]


@dataclass(frozen=True)
class TrainingSet:
    """Everything that a run learns from, what a person should know of it, and the pictures that are only measured."""

    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    fingerprint: str
    held: tuple[Sample, ...] = ()

    def batches(self, epoch: int, *, batch_size: int, seed: int) -> list[list[Sample]]:
        """Return the batches of an epoch; the order depends on ``seed`` and ``epoch`` alone."""
        drawn = []
        for number, items in _by_dataset(self.samples).items():
            sizes = [(item.latents[0].shape[-1], item.latents[0].shape[-2]) for item in items]
            repeats = [item.picture.repeats for item in items]
            own = dict(items[0].picture.own).get("batch_size", batch_size)
            rows = epoch_batches(sizes, repeats, batch_size=own, seed=seed + number, epoch=epoch)
            drawn += [[items[index] for index in batch.indices] for batch in rows]
            if number:
                random.Random(seed + epoch).shuffle(drawn)
        return drawn


def _by_dataset(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    """Return the samples of each dataset, which share no batch."""
    found: dict[int, list[Sample]] = {}
    for item in samples:
        found.setdefault(item.picture.dataset, []).append(item)
    return found


def prepare(
    model: LoadedModel,
    options: TrainOptions,
    progress: Progress,
    *,
    cache_folder: Path | None = None,
    drawn: Source | None = None,
) -> TrainingSet:
    """Read, crop and encode every picture; latents are kept in ``cache_folder`` where the options ask for it.

    ``drawn`` are regularization pictures beside those of the options.

    Raises:
        InputError: no picture can be used, or the run would be too long.
        StoppedError: somebody asked to stop; it is looked at after each picture, and while one is encoded.
    """
    found = scan_pictures(options, min_side=model.pixels_per_latent * 8, progress=progress, drawn=drawn)
    shown = shown_by(options, found)
    steps = total_steps(options, steps_an_epoch(model, options, shown))
    items, held = [], parted(options, found)[1]
    kept = cache_folder is not None and options.cache_to_disk
    cache = LatentCache(cache_folder, model) if kept and cache_folder is not None else None
    decoded = DecodedPictures()
    with _stopping(model, progress):
        for done, picture in enumerate((*shown, *held)):
            items.append(_item(model, options_for(picture, options), picture, cache, decoded))
            progress.passed(done + 1, len(shown) + len(held), say("encoding pictures"))
    remarks = (
        *found.remarks,
        *fit_remarks(model, options, found),
        *_remarks(found, shown),
        *held_remarks(options, found),
        *mask_remarks(options, items),
        *varied_remarks(options, shown),
        *_cache_remarks(cache),
        *length_remarks(options, found, steps=steps, usual=usual_goal(model, options)),
    )
    learned, measured = tuple(items[: len(shown)]), tuple(items[len(shown) :])
    return TrainingSet(learned, remarks, fingerprint_of(options, found), measured)


def _cache_remarks(cache: LatentCache | None) -> tuple[str, ...]:
    if cache is None or not cache.damaged:
        return ()
    return (cache.remark,)


@contextmanager
def _stopping(model: LoadedModel, progress: Progress) -> Iterator[None]:
    """Let a stop act in the middle of a picture: a large one takes a CPU many seconds.

    Raises:
        StoppedError: somebody asked to stop.
    """
    try:
        with interruptible(model.vae, progress) if model.vae is not None else nullcontext():
            yield
    except Interrupted as stop:
        raise StoppedError from stop


def _remarks(found: FolderScan, shown: Sequence[Picture]) -> tuple[str, ...]:
    """Return what a person should know of how often pictures are shown."""
    notices = []
    used = [picture.repeats for picture in shown if picture.is_reg]
    draws = sum(picture.repeats for picture in shown if not picture.is_reg)
    if used:
        notices.append(
            say(
                "regularization: {used} of {all} pictures, drawn {n} times for {draws} training draws; this "
                "doubles the steps of an epoch",
                used=len(used),
                all=len(found.reg),
                n=sum(used),
                draws=draws,
            )
        )
    return tuple(notices)


def fingerprint_of(options: TrainOptions, found: FolderScan) -> str:
    """Return what changes with any picture, caption or mask."""
    masked = [(picture, options_for(picture, options).masks) for picture in found.pictures]
    if not any(place for _, place in masked):
        return found.fingerprint()
    rows = sorted(picture.digest + mask_folder(place).digest(picture.path) for picture, place in masked if place)
    return hashlib.sha256("\n".join([found.fingerprint(), *rows]).encode()).hexdigest()


def mask_remarks(options: TrainOptions, items: Sequence[Sample]) -> tuple[str, ...]:
    """Return which pictures have no mask though masks are asked for."""
    asked = [item for item in items if not item.picture.is_reg and _asks_for_mask(item, options)]
    bare = [item.picture.path for item in asked if item.masks is None]
    return (grouped(say("without a mask: all of it is learned"), bare),) if bare else ()


def _asks_for_mask(item: Sample, options: TrainOptions) -> bool:
    own = options_for(item.picture, options)
    return own.alpha_mask or bool(own.masks)


def fit_remarks(model: LoadedModel, options: TrainOptions, found: FolderScan) -> tuple[str, ...]:
    """Return what a person should know of how pictures and captions fit this model at this training size."""
    plans = [plan_for(picture.size, model, options_for(picture, options)) for picture in found.pictures]
    return about_fit(found.pictures, plans, caption_lengths(model, options, found.pictures), longest=options.max_tokens)


def steps_an_epoch(model: LoadedModel, options: TrainOptions, shown: Sequence[Picture]) -> int:
    """Return the optimizer steps of an epoch that shows these pictures as often as they say."""
    count = 0
    for number, size in batch_sizes(shown, options).items():
        pictures = [picture for picture in shown if picture.dataset == number]
        buckets = [plan_for(picture.size, model, options_for(picture, options)).bucket for picture in pictures]
        count += batch_count(buckets, [picture.repeats for picture in pictures], batch_size=size)
    return -(-count // options.gradient_accumulation_steps)


def usual_goal(model: LoadedModel, options: TrainOptions) -> int:
    """Return the steps that the recipe aims at for this model."""
    return int(usual_values(options.kind, model=facts_of(model))["target_steps"])


def plan_for(size: tuple[int, int], model: LoadedModel, options: TrainOptions) -> BucketPlan:
    """Return how a picture of ``size`` is scaled and cropped for this model.

    Raises:
        InputError: the chosen step of the buckets does not fit the model.
    """
    wanted, step = training_size(model, options), bucket_step(model, options)
    if not options.buckets:
        return plan_fixed(size, (wanted[0] // step * step, wanted[1] // step * step))
    smallest, largest = bucket_limits(model, options)
    return plan_bucket(size, wanted, step=step, min_side=smallest, max_side=largest, upscale=options.bucket_upscale)


def training_size(model: LoadedModel, options: TrainOptions) -> tuple[int, int]:
    """Return width and height in px that pictures are trained at, by their area."""
    width = options.resolution or model.native_side
    return width, options.resolution_height or width


def bucket_limits(model: LoadedModel, options: TrainOptions) -> tuple[int, int]:
    """Return the shortest and the longest side of a bucket in px.

    The longest is twice the side that the model was made for (or the training size, where that is larger), the shortest
    half of it, but 256 px at most, so that SD1 has sd-scripts' own 256 and 1024, and SDXL what is usual with it.
    """
    native = model.native_side
    sides = (options.resolution, options.resolution_height)
    return options.bucket_min or min(256, native // 2), options.bucket_max or max(2 * native, *sides)


def bucket_step(model: LoadedModel, options: TrainOptions) -> int:
    """Return the number of px that a bucket's sides are multiples of.

    Raises:
        InputError: sides of the chosen step are no whole number of the model's latents.
    """
    whole = model.pixels_per_latent
    if options.bucket_step % whole:
        what = say("A bucket step of {step} px does not fit the model", step=options.bucket_step)
        raise InputError(what, where="bucket_step", cure="Use a multiple of {n} px.", n=whole)
    return options.bucket_step or (32 if is_small(model.native_side) else 64)


def _item(
    model: LoadedModel, options: TrainOptions, picture: Picture, cache: LatentCache | None, decoded: DecodedPictures
) -> Sample:
    plan = plan_for(picture.size, model, options)
    mirrored = options.flip if picture.flip is None else picture.flip
    encoded = encode_picture(model, options, picture, plan, mirrored=mirrored, cache=cache)
    sizes = tuple(sdxl_sizes(plan, mirrored=bool(one)) for one in range(len(encoded.latents)))
    weight = options.prior_loss_weight if picture.is_reg else 1.0
    caption = full_caption(picture, options)
    varied = Varied(model, options, picture, plan, decoded) if varies(options) else None
    return Sample(picture, caption, encoded.latents, sizes, weight, rules_of(options), encoded.masks, varied)
