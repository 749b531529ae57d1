"""Pictures through the host's own txt2img and img2img, one batch after the other: which go together, and how many."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from PIL import Image

from lib_lora.blocks.layouts import text_blocks
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest, GenerateResult, LoadedModel
from lib_lora.host.gpu_memory import gpu_memory
from lib_lora.host.webui.prompt.overrides import ATTRIBUTE, GenerationOverrides
from lib_lora.host.webui.protocols import Processed, Processing
from lib_lora.host.webui.render.samplers import chosen_sampler, chosen_scheduler, noise_by_batch
from lib_lora.host.webui.session.progress import watched
from lib_lora.host.webui.session.restore import bars_cleared, prompt_history_kept, same_encoder_noise, settings_kept
from lib_lora.progress import Progress
from lib_lora.sentences import say

SEEDS = 2**32
logger = logging.getLogger(__name__)

_Made = tuple[Image.Image, str]

T = TypeVar("T")

MOST = 32
"""Pictures at once, however small they are: more are no faster, and a stop would take longer."""

CPU_POSITIONS = 4 * 4096
"""Latent positions at once on a CPU: four pictures of 512 px; more only take memory."""

BYTES_PER_POSITION = 24 * 1024
"""Memory of one UNet pass a latent position and row in half precision: 100 MB for a row of 512 px, with the decoder's
share. An estimate; an order that does not fit is halved and tried again."""

_AND = re.compile(r"\bAND\b")
_SHARED_STEPS = ("dpm adaptive",)
"""Samplers that choose one length of step for the whole batch: a picture would depend on its neighbors."""


@dataclass
class Rendering:
    """One order while the host works on it.

    Attributes:
        request: checked, its names in the host's spelling.
        model: what renders it.
        progress: of the whole order.
        pinned: the host's setting of the checkpoint is held to the loaded one: a training stands on its layers.
    """

    request: GenerateRequest
    model: LoadedModel
    progress: Progress
    pinned: bool = False
    made: list[tuple[int, _Made]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    caches: dict[str, list[Any]] = field(default_factory=dict)

    def run(self) -> GenerateResult:
        """Render everything; after a stop, what was finished from the first picture on."""
        request = self.request
        by_batch = noise_by_batch(request.sampler)
        waiting = batches(request, size=batch_size(request, self.model, request.sampler, noise_by_batch=by_batch))
        with prompt_history_kept(), bars_cleared():
            while waiting and not self.progress.stopped:
                rows = waiting.pop(0)
                try:
                    finished = self._batch(rows, left=len(waiting))
                except torch.cuda.OutOfMemoryError:
                    if len(rows) == 1:
                        raise
                    logger.info("%d pictures at once do not fit into the memory; half of them are tried", len(rows))
                    half = len(rows) // 2
                    waiting[:0] = [rows[:half], rows[half:]]
                    continue
                if not finished:
                    self.progress.stop()  # the host's own Interrupt ends all the work that this order belongs to
                    break
        pictures = in_order(self.made)
        images, texts = tuple(one[0] for one in pictures), tuple(one[1] for one in pictures)
        return GenerateResult(images, texts, tuple(self.notes))

    def _batch(self, rows: tuple[int, ...], *, left: int) -> bool:
        """Render the pictures ``rows`` together; False where somebody interrupted the host."""
        from modules import processing, shared

        request, state = self.request, shared.state
        count = len(request.sweep) if request.sweep is not None else request.batch
        if state.job_count < 0:
            state.job_count = left + 1
        with ExitStack() as stack:
            p = stack.enter_context(closing(self._processing(rows)))
            stack.enter_context(settings_kept(p.override_settings))
            stack.enter_context(same_encoder_noise(request))
            before, units = len(self.made) * request.steps, len(rows) * request.steps
            stack.enter_context(watched(state, self.progress, before=before, units=units, total=count * request.steps))
            processed: Processed = processing.process_images(p)
        self.notes.update(dict.fromkeys(line for line in (processed.comments or "").splitlines() if line.strip()))
        if state.interrupted or state.skipped:
            return False  # a picture that was interrupted is noise in part
        first = processed.index_of_first_image
        made = list(zip(processed.images[first:], processed.infotexts[first:], strict=False))[: len(rows)]
        self.made += list(zip(rows, made, strict=False))
        self.progress.update(len(self.made) * request.steps, count * request.steps, say("sampling"))
        return len(made) == len(rows) and not state.stopping_generation

    def _processing(self, rows: tuple[int, ...]) -> Processing:
        """Return the host's processing object for the pictures ``rows``."""
        from modules import processing, scripts

        request = self.request
        kind = processing.StableDiffusionProcessingTxt2Img
        more: dict[str, Any] = {}
        if request.init is not None:
            kind = processing.StableDiffusionProcessingImg2Img
            more = {"init_images": [request.init.convert("RGB")], "denoising_strength": request.denoise}
        known = {each.name for each in dataclasses.fields(kind)}
        values = {**self._values(rows), **more}
        p = kind(**{name: value for name, value in values.items() if name in known})
        # No other extension's scripts: every picture of an order is made alike. An empty runner, because not every
        # host accepts none.
        p.scripts, p.script_args = scripts.ScriptRunner(), ()
        p.is_api = True  # else a list of seeds is replaced by random ones
        # Conditioning of our own: a LoRA in training is another at every sample, and the user's next picture finds
        # the host's cache as it was.
        for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
            setattr(p, name, self.caches.setdefault(name, [None, None]))
        sweep = None if request.sweep is None else tuple(request.sweep[row] for row in rows)
        setattr(p, ATTRIBUTE, GenerationOverrides(sweep=sweep))
        return p

    def _values(self, rows: tuple[int, ...]) -> dict[str, Any]:
        request, model = self.request, self.model
        seeds = [(request.seed + (0 if request.sweep is not None else row)) % SEEDS for row in rows]
        return {
            "prompt": request.prompt,
            "negative_prompt": request.negative,
            "styles": [],
            "seed": seeds[0] if len(seeds) == 1 else seeds,
            "subseed": 0,
            "subseed_strength": 0,
            "sampler_name": request.sampler,
            "scheduler": request.scheduler or "Automatic",
            "batch_size": len(rows),
            "n_iter": 1,
            "steps": request.steps,
            "cfg_scale": float(request.cfg_scale),
            "width": request.width or model.native_side,
            "height": request.height or model.native_side,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            "override_settings": self._settings(),
            "override_settings_restore_afterwards": True,
        }

    def _settings(self) -> dict[str, Any]:
        """Return the host's settings that this order needs otherwise; none that is right already (it may be frozen)."""
        from modules import shared

        wanted: dict[str, Any] = {"CLIP_stop_at_last_layers": self.request.clip_skip}
        info = getattr(shared.sd_model, "sd_checkpoint_info", None) if self.pinned else None
        if info is not None:
            wanted["sd_model_checkpoint"] = info.title
        return {name: value for name, value in wanted.items() if getattr(shared.opts, name, value) != value}


def checked(request: GenerateRequest, model: LoadedModel) -> GenerateRequest:
    """Return ``request`` with the names of the host.

    Raises:
        InputError: a sampler, a scheduler, a size, a number or a sweep cannot be right.
    """
    sampler, scheduler = chosen_sampler(request.sampler)
    scheduler = chosen_scheduler(request.scheduler) if request.scheduler else scheduler
    for side in (request.width, request.height):
        if side is not None and (side < 64 or side % 8):
            cure = say("Use a multiple of 8 px, 64 px or more.")
            raise InputError("A side of {side} px does not fit the model", side=side, where=say("size"), cure=cure)
    if not 0 <= request.denoise <= 1:
        raise InputError("The strength of img2img lies between 0 and 1", where=say("denoise"))
    sweep = None if request.sweep is None else tuple(fit(weights, model.family) for weights in request.sweep)
    return replace(request, sampler=sampler, scheduler=scheduler, sweep=sweep)


def batches(request: GenerateRequest, *, size: int) -> list[tuple[int, ...]]:
    """Return the pictures of ``request`` by number, in the batches in which they are rendered.

    A batch of a sweep shares the weight of the text encoder (BASE), because one conditioning serves the whole batch.
    The smallest group is rendered first: whenever somebody stops, what is there lacks little at its beginning.
    """
    groups = [list(range(request.batch))]
    if request.sweep is not None:
        by_text: dict[tuple[float, ...], list[int]] = {}
        for number, weights in enumerate(request.sweep):
            by_text.setdefault(_text_weights(weights), []).append(number)
        groups = sorted(by_text.values(), key=len)
    return [tuple(group[start : start + size]) for group in groups for start in range(0, len(group), size)]


def batch_size(request: GenerateRequest, model: LoadedModel, sampler: str, *, noise_by_batch: bool = False) -> int:
    """Return how many pictures may be rendered at once.

    Args:
        request: the order.
        model: what renders it.
        sampler: the sampler's name.
        noise_by_batch: the sampler's noise is drawn for the whole batch, so that a sweep's rows would not share it.
    """
    swept = request.sweep is not None
    # An AND prompt has several rows a picture; a picture to begin with is encoded with other noise for every row.
    if swept and (_AND.search(request.prompt + request.negative) or request.init is not None or noise_by_batch):
        return 1
    if sampler.casefold() in _SHARED_STEPS:
        return 1
    if swept and request.sweep_chunk:
        return request.sweep_chunk
    return max(1, min(MOST, _fitting(request, model)))


def _fitting(request: GenerateRequest, model: LoadedModel) -> int:
    """Return how many pictures the memory holds."""
    height, width = request.height or model.native_side, request.width or model.native_side
    positions = max(1, height * width // model.pixels_per_latent**2)
    if model.device.type != "cuda":
        return CPU_POSITIONS // positions
    free, _ = gpu_memory(model.device)
    rows = 2 if request.cfg_scale != 1 else 1
    each = positions * rows * BYTES_PER_POSITION * max(1, model.dtype.itemsize // 2)
    return int(free * 0.7 / each)


def _text_weights(weights: BlockWeights) -> tuple[float, ...]:
    return tuple(value for name, value in weights.as_dict().items() if name in text_blocks())


def in_order(made: Sequence[tuple[int, T]]) -> list[T]:
    """Return what was made from the first picture on without a gap, in the order's order."""
    by_number = dict(made)
    whole: list[T] = []
    while len(whole) in by_number:
        whole.append(by_number[len(whole)])
    return whole
