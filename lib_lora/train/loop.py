"""The training loop: a sequence of named steps over one run folder."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import AtelierError
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.host.base import LoadedModel, check_clip_skip
from lib_lora.live.attach import Attached, attach
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence, say
from lib_lora.train import network, resume
from lib_lora.train.conditioning import FixedCaptions
from lib_lora.train.length import times_text, total_steps
from lib_lora.train.loss_scaling import LossScale
from lib_lora.train.metadata import training_metadata
from lib_lora.train.objective import Noised, draw_noise, noised, per_sample_mse, schedule_for, snr_weight
from lib_lora.train.options import TrainOptions, usual_values
from lib_lora.train.origin import Origin
from lib_lora.train.rates import rate_factor, warmup_steps
from lib_lora.train.ratio_optimizer import RatioOptimizer, optimizer_for
from lib_lora.train.recipes import facts_of, resolved_gamma
from lib_lora.train.remarks import remarks_on
from lib_lora.train.run_folder import STATE_SECONDS, RunFolder
from lib_lora.train.states import cure_of_divergence
from lib_lora.train.training_set import Sample, TrainingSet, prepare, rules_of

Sampler = Callable[[RunFolder, int, Progress], Sequence[str]]
"""Called with the run, its step and who may stop it, while the LoRA is attached: renders the sample prompts.

It returns what is to be said of the pictures.
"""
BAD_STEPS = 5
"""After so many steps in a row without usable gradients a run ends: it has gone astray."""
LEFT_OUT = "left out"
"""What the remark on steps that taught nothing is about: there is one, with their number."""
logger = logging.getLogger(__name__)


@dataclass
class Training:
    """A run in progress: everything that changes from step to step."""

    model: LoadedModel
    options: TrainOptions
    folder: RunFolder
    data: TrainingSet
    lora: LoraFile
    optimizer: RatioOptimizer
    total: int
    origin: Origin = field(default_factory=Origin)
    step: int = 0
    recent: list[float] = field(default_factory=list)
    bad_steps: int = 0
    left_out: int = 0
    attached: Attached | None = None
    epoch: int = -1
    batches: list[list[Sample]] = field(default_factory=list)
    sampled_at: int = -1
    captions: FixedCaptions = field(init=False)
    alphas_cumprod: Tensor = field(init=False)
    scale: LossScale = field(init=False)

    def __post_init__(self) -> None:
        self.scale = LossScale(self.model.loss_scale)
        self.captions = FixedCaptions(self.model, clip_skip=self.options.clip_skip)
        self.alphas_cumprod = schedule_for(self.model, self.options.zero_terminal_snr).alphas_cumprod

    def remark(self, text: str, *, about: str = "") -> None:
        """Keep what a person should know of the run; every view shows it, and of all ``about`` one thing the last."""
        logger.log(logging.INFO if about else logging.WARNING, "%s: %s", self.folder.path.name, text)
        self.folder.keep_remark(self.step, text, about=about)

    @property
    def gamma(self) -> float:
        """The min-SNR gamma that acts on this model; 0 is off."""
        return resolved_gamma(self.options.min_snr_gamma, self.model.prediction_type)

    def plan(self) -> dict[str, Any]:
        """Return how the run goes, as plain values: pictures, how often an epoch shows each, steps, epochs."""
        times = [item.picture.repeats for item in self.data.samples if not item.picture.is_reg]
        return {
            "pictures": len(times),
            "regularization": len(self.data.samples) - len(times),
            "each_picture": times_text((min(times), max(times))),
            "steps_an_epoch": self.steps_per_epoch,
            "epochs": -(-self.total // self.steps_per_epoch),
        }

    @property
    def trains_text(self) -> bool:
        """Whether a text encoder is trained, so that captions must be encoded at every step."""
        return any(key.startswith("lora_te") for key in self.lora.adapters)

    def next_batch(self) -> list[Sample]:
        """Return the batch of the present step."""
        self._draw(self.step // self.steps_per_epoch)
        return self.batches[self.step % self.steps_per_epoch]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        if not self.batches:
            self._draw(0)
        return len(self.batches)

    def _draw(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.batches = self.data.batches(epoch, batch_size=self.options.batch_size, seed=self.options.seed)
            self.epoch = epoch


@dataclass(frozen=True)
class TrainResult:
    """What a run came to: the file (None where it was stopped before its end), steps, the mean of the last losses."""

    lora: Any
    steps: int
    finished: bool
    loss: float


START_STEPS = 100
"""So many steps after the warmup an optimizer that finds the step size itself has long begun to."""


def start(model: LoadedModel, options: TrainOptions, folder: RunFolder, progress: Progress) -> Training:
    """Prepare a run: network, optimizer, training set; go on from its newest whole state where there is one.

    Everything is checked first; the folder of a new run is made last, so a start that is refused leaves nothing.

    Raises:
        InputError: no picture can be used, the optimizer refuses its arguments, the disk has no room, or the model or
            the pictures changed since the run was started.
    """
    resume.check_same_model(folder, model, options)
    check_clip_skip(options.clip_skip, model)
    said = remarks_on(model, options)
    lora = network.new_lora(model, options)
    optimizer = optimizer_for(options, network.groups(lora, options))
    training_set = prepare(model, options, progress)
    training_set = replace(training_set, problems=(*said, *training_set.problems))
    resume.check_same_data(folder, training_set)
    training = Training(model, options, folder, training_set, lora, optimizer, total=0)
    training.total = total_steps(options, training.steps_per_epoch)
    origin = resume.origin_of(folder) or Origin.of(model, progress)
    folder.make(options)
    training.origin = origin
    resume.begin(training)
    resume.go_on(training)
    return training


def run(
    training: Training, progress: Progress, sampler: Sampler | None = None, *, state_seconds: float = STATE_SECONDS
) -> TrainResult:
    """Train to the end, or until ``progress`` asks to stop; the state is saved either way.

    May be called again on the same ``training`` after a stop: it goes on where it was.

    Raises:
        AtelierError: loss or gradients are no numbers several times in a row, or the LoRA holds numbers that are not
            finite; a state that was saved before stays.
    """
    _sample(training, progress, sampler if training.step == 0 else None)  # what later samples are compared with
    path, finished = None, False
    with ExitStack() as stack:
        training.attached = stack.enter_context(attach(training.model, training.lora, 1.0, strategy="factors"))
        began, first = time.monotonic(), training.step
        saved = began
        while training.step < training.total and not progress.stopped:
            row = one_step(training)
            training.folder.log(row)
            pace = (time.monotonic() - began) / (training.step - first)
            progress.update(
                training.step,
                training.total,
                say("loss {loss:.4f} · {seconds:.2f} s a step", loss=row["mean"], seconds=pace),
            )
            epoch, rest = divmod(training.step, training.steps_per_epoch)
            every = training.options.save_every_epochs
            if every and not rest and epoch % every == 0 and training.step < training.total:
                save_state(training)
                save_lora(training, training.folder.lora_path(epoch))
                _sample(training, progress, sampler)
                saved = time.monotonic()
            elif time.monotonic() - saved > state_seconds:
                save_state(training)
                saved = time.monotonic()
        finished = training.step >= training.total
        if training.step:
            save_state(training)
        if finished:
            path = save_lora(training, training.folder.lora_path())
            _sample(training, progress, sampler)
    recent = training.recent or [math.nan]
    return TrainResult(path, training.step, finished, sum(recent) / len(recent))


def _sample(training: Training, progress: Progress, sampler: Sampler | None) -> None:
    """Render the samples of this step, once; one that fails is a remark, for the LoRA is what a run is for."""
    if sampler is None or training.sampled_at == training.step or progress.stopped:
        return
    training.sampled_at = training.step
    try:
        with training.optimizer.to_use():
            notes = sampler(training.folder, training.step, progress)
    except Exception as error:  # whatever a host's own picture may raise
        logger.warning("the samples of %s failed", training.folder.path.name, exc_info=error)
        training.remark(say("a sample could not be made: {error}", error=error))
        return
    for note in notes:
        training.remark(say("of the samples: {note}", note=note))


def one_step(training: Training) -> dict[str, Any]:
    """Make one optimizer step and return its log row; everything random depends on seed and step alone."""
    options = training.options
    batch = training.next_batch()
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + training.step)
    loss = batch_loss(training, batch, generator)
    training.optimizer.zero_grad()
    parameters = [p for adapter in training.lora.adapters.values() for p in adapter.parameters()]
    usable = bool(torch.isfinite(loss)) and training.scale.backward(loss, parameters)
    if usable:
        if options.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(parameters, options.max_grad_norm)
        training.optimizer.step(rate_factor(options, training.step, training.total))
        training.bad_steps = 0
        training.recent = [*training.recent[-99:], loss.item()]
    elif not torch.isfinite(loss) or training.scale.value == 1.0:  # else the next one fits a smaller scale
        _left_out(training)
    training.step += 1
    if training.step == START_STEPS + warmup_steps(options, training.total) and training.optimizer.has_not_started:
        training.remark(
            say(
                "{optimizer} has not found a step size yet and learns next to nothing: give it d0=1e-5, or d_coef=2 "
                "where it takes that, or an alpha nearer to dim",
                optimizer=options.optimizer,
            )
        )
    mean = sum(training.recent) / max(1, len(training.recent))
    row = {
        "step": training.step,
        "epoch": training.epoch + 1,
        "loss": loss.item(),
        "mean": mean,
        "rate": training.optimizer.effective_rate,
    }
    return row if usable else row | {"left_out": True}


def _left_out(training: Training) -> None:
    """Count a step that teaches nothing.

    Raises:
        AtelierError: it is one too many.
    """
    training.bad_steps += 1
    training.left_out += 1
    training.remark(
        say(
            "steps left out, because the loss or its gradients were no finite numbers (see log.jsonl): {n}",
            n=training.left_out,
        ),
        about=LEFT_OUT,
    )
    if training.bad_steps >= BAD_STEPS:
        raise AtelierError(
            "The loss or its gradients are no finite numbers five times in a row",
            where=say("step {n}", n=training.step),
            cure=_cure(training),
        )


def _cure(training: Training) -> Sentence:
    options = training.options
    usual = usual_values(options.kind, optimizer=options.optimizer, model=facts_of(training.model))["optimizer_args"]
    return cure_of_divergence(training.folder.states, own_arguments=dict(options.optimizer_args) != usual)


def batch_loss(training: Training, batch: list[Sample], generator: torch.Generator) -> Tensor:
    """Return the weighted loss of one batch."""
    model, options = training.model, training.options
    orientations = [int(torch.randint(len(item.latents), (1,), generator=generator)) for item in batch]
    clean = torch.stack([item.latents[orientation] for item, orientation in zip(batch, orientations, strict=True)])
    sizes = torch.tensor([item.sizes[orientation] for item, orientation in zip(batch, orientations, strict=True)])
    noise = draw_noise(clean.shape, generator, options.noise_offset)
    timesteps = torch.randint(0, len(training.alphas_cumprod), (len(batch),), generator=generator)
    rules, rng = rules_of(options), random.Random(int(torch.randint(2**62, (1,), generator=generator)))
    captions = [rules.apply(item.caption, rng) for item in batch]
    seen = noised(
        clean.to(model.device),
        noise.to(model.device),
        timesteps.to(model.device),
        alphas_cumprod=training.alphas_cumprod,
        prediction_type=model.prediction_type,
    )
    weights = torch.tensor([item.weight for item in batch], device=model.device)
    snr = snr_weight(seen.snr, training.gamma, model.prediction_type)
    reg = torch.tensor([item.picture.is_reg for item in batch], device=model.device)
    if options.prior_from_model and reg.any():
        seen = replace(seen, target=_prior_target(training, seen, captions, sizes, reg))
        snr = torch.where(reg, 1.0, snr)  # nothing is noisy in what the model itself says: every step counts alike
    fixed = not training.trains_text
    cond = training.captions.encode(captions) if fixed else model.encode_text(captions, options.clip_skip)
    return (per_sample_mse(model, seen, replace(cond, sizes=sizes)) * weights * snr).mean()


def _prior_target(training: Training, seen: Noised, captions: list[str], sizes: Tensor, reg: Tensor) -> Tensor:
    """Return the target with the model's own prediction, LoRA off, in the rows of regularization pictures.

    Prior preservation (arXiv:2208.12242) with the model's output in place of the picture: what it knew is held at every
    noise level, and the pictures need not be perfect.
    """
    rows = reg.nonzero().flatten()
    chosen = Noised(seen.latents[rows], seen.timesteps[rows], seen.target[rows], seen.snr[rows])
    with torch.no_grad(), _without_lora(training):
        cond = training.captions.encode([captions[row] for row in rows.tolist()])  # of the model without the LoRA
        cond = replace(cond, sizes=sizes[rows.cpu()])
        before = training.model.predict(chosen.latents.to(training.model.dtype), chosen.timesteps, cond)
    return seen.target.index_copy(0, rows, before.to(seen.target.dtype))


def _without_lora(training: Training) -> AbstractContextManager[None]:
    """Let the model be what it is without the LoRA, where that is attached."""
    return nullcontext() if training.attached is None else training.attached.paused()


def save_state(training: Training) -> None:
    """Save everything needed to go on.

    Raises:
        FileError: the disk refuses, or a number is not finite; earlier states stay.
    """
    state = {
        "step": training.step,
        "session": training.origin.session,
        "algorithm": training.options.optimizer,
        "recent": training.recent,
        "bad_steps": training.bad_steps,
        "left_out": training.left_out,
        "scale": training.scale.value,
        "parameters": network.parameters_of(training.lora),
        "optimizer": training.optimizer.state_dict(),
    }
    training.folder.save_state(training.step, state)


def save_lora(training: Training, path: Path) -> Path:
    """Save the LoRA as it is now; a file that is there is replaced.

    Raises:
        AtelierError: a number is not finite or too large for the file; FileError: the disk refuses.
    """
    for name, value in network.parameters_of(training.lora).items():
        if not torch.isfinite(value.half()).all():
            raise AtelierError(
                "The LoRA has come to numbers that no file can hold, so it is not saved",
                where=name,
                cure=_cure(training),
            )
    metadata = training_metadata(
        training.model,
        training.options,
        training.data,
        training.origin,
        step=training.step,
        total=training.total,
        per_epoch=training.steps_per_epoch,
    )
    finished = LoraFile(adapters=training.lora.adapters, metadata=metadata, extras={}, path=None)
    with training.optimizer.to_use():
        return write_lora(finished, path, dtype=torch.float16, overwrite=True)
