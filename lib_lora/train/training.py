"""A run in progress: made ready, and everything that changes from step to step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import LoadedModel, check_clip_skip
from lib_lora.live.attach import Attached
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence
from lib_lora.train import network, resume
from lib_lora.train.caption_cache import FOLDER as CAPTIONS
from lib_lora.train.caption_cache import CaptionCache, caption_remarks, lasting
from lib_lora.train.captions import layout_of
from lib_lora.train.ema import MovingAverage
from lib_lora.train.event_file import EventFile
from lib_lora.train.fixed_captions import FixedCaptions
from lib_lora.train.gradient_scaling import LossScale
from lib_lora.train.kept_files import keep_copies, with_copies
from lib_lora.train.latent_cache import FOLDER
from lib_lora.train.length import times_text, total_steps
from lib_lora.train.loss import schedule_for
from lib_lora.train.memory.precision import check_precision, computing, scale_for
from lib_lora.train.options import TrainOptions, usual_values
from lib_lora.train.origin import Origin
from lib_lora.train.rates import rate_factor
from lib_lora.train.ratio_optimizer import RatioOptimizer, optimizer_for
from lib_lora.train.recipes import facts_of
from lib_lora.train.regularization import ClassPictures
from lib_lora.train.remarks import remarks_on
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import cure_of_divergence
from lib_lora.train.together import Team
from lib_lora.train.training_set import Sample, TrainingSet, prepare

if TYPE_CHECKING:
    from lib_lora.train.memory.fit import Fit

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
    events: EventFile | None = None
    epoch: int = -1
    batches: list[list[Sample]] = field(default_factory=list)
    sampled_at: int = -1
    updating: bool = False
    """Whether the optimizer is at work: a step that fails there has begun to change the LoRA."""
    fit: Fit | None = None
    team: Team = field(default_factory=Team)
    state_copy: Path | None = None
    """The run's folder where ``folder`` is a copy of it: a state goes there when the process that writes it is lost."""
    captions: FixedCaptions = field(init=False)
    alphas_cumprod: Tensor = field(init=False)
    average: MovingAverage | None = field(init=False)
    scale: LossScale = field(init=False)
    dropout: network.Masks = field(init=False)
    norms: network.Norms | None = None
    bases: tuple[network.Base, ...] = ()
    course: Sequence[float] = ()
    """Factors on the learning rate in place of the scheduler's, one a step; only a probe has them."""

    def __post_init__(self) -> None:
        self.scale = LossScale(scale_for(self.model, self.options.precision))
        decay, trained = self.options.ema_decay, network.parameters_of(self.lora)
        self.average = MovingAverage(list(trained.values()), decay) if decay else None
        self.dropout = network.Masks(self.options, timesteps=len(self.model.alphas_cumprod))
        layout, clip_skip = layout_of(self.options), self.options.clip_skip
        self.captions = FixedCaptions(self.model, clip_skip=clip_skip, layout=layout, computing=self.computing)
        self.alphas_cumprod = schedule_for(self.model, self.options.zero_terminal_snr).alphas_cumprod

    def remark(self, text: str, *, about: str = "") -> None:
        """Keep what a person should know of the run; every view shows it, and of all ``about`` one thing the last."""
        logger.log(logging.INFO if about else logging.WARNING, "%s: %s", self.folder.path.name, text)
        self.folder.keep_remark(self.step, text, about=about)

    def computing(self) -> AbstractContextManager[Any]:
        """Return what the model computes under: torch's autocast where a precision was asked for."""
        return computing(self.model, self.options.precision)

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

    def rate_factor(self) -> float:
        """Return the factor on the learning rate of the present step."""
        return self.course[self.step] if self.course else rate_factor(self.options, self.step, self.total)

    def hold_norms(self) -> None:
        """Shorten changes that are longer than the options allow."""
        if self.options.scale_weight_norms:
            self.norms = network.limit_norms(self.lora, self.options.scale_weight_norms)

    @property
    def trains_text(self) -> bool:
        """Whether a text encoder is trained, so that captions must be encoded at every step."""
        return any(key.startswith("lora_te") for key in self.lora.adapters)

    def next_batches(self) -> list[list[Sample]]:
        """Return the batches of the present step; the last step of an epoch has what is left."""
        self._draw(self.step // self.steps_per_epoch)
        each = self.options.gradient_accumulation_steps
        first = self.step % self.steps_per_epoch * each
        return self.batches[first : first + each]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        if not self.batches:
            self._draw(0)
        return -(-len(self.batches) // self.options.gradient_accumulation_steps)

    @contextmanager
    def to_use(self) -> Iterator[None]:
        """Put what is saved and shown in place of what is trained, where the two differ, and back."""
        with self.optimizer.to_use() if self.average is None else self.average.in_place():
            yield

    def _draw(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.batches = self.data.batches(epoch, batch_size=self.options.batch_size, seed=self.options.seed)
            self.epoch = epoch

    def cure(self) -> Sentence:
        """Return what helps a run whose numbers went astray."""
        options = self.options
        usual = usual_values(options.kind, optimizer=options.optimizer, model=facts_of(self.model))["optimizer_args"]
        return cure_of_divergence(self.folder.states, own_arguments=dict(options.optimizer_args) != usual)


def _keep_captions(training: Training, folder: Path, options: TrainOptions) -> None:
    """Let the run find and keep the encodings of its captions in a folder; what is not kept is said."""
    samples = (*training.data.samples, *training.data.held)
    training.captions.on_disk = CaptionCache(folder, training.model, options, lasting(samples), training.remark)
    said = caption_remarks(samples, trains_text=training.trains_text)
    training.data = replace(training.data, problems=(*training.data.problems, *said))


def _keep_copies(training: Training, drawn: ClassPictures | None) -> None:
    """Keep in the run's folder what it stands on, and let it go on from there."""
    keep_copies(training.options, training.folder)
    if drawn is not None:
        samples = drawn.keep_in(training.folder.path).moved(training.data.samples, drawn.folder)
        training.data, training.batches, training.epoch = replace(training.data, samples=samples), [], -1


def start(
    model: LoadedModel,
    options: TrainOptions,
    folder: RunFolder,
    progress: Progress,
    *,
    runs: Path | None = None,
    keeps: bool = True,
) -> Training:
    """Prepare a run: network, optimizer, training set; go on from its newest whole state where there is one.

    Everything is checked first; the folder of a new run is made last, so a start that is refused leaves nothing.
    ``runs`` is where lies what runs share; without it beside the run's folder. Without ``keeps`` there are no
    copies of what it stands on.

    Raises:
        InputError: no picture can be used, the optimizer refuses its arguments, the disk has no room, or the model,
            the pictures, or options that its states hold to changed since the run was started.
    """
    resume.check_same_model(folder, model, options, progress)
    check_clip_skip(options.clip_skip, model)
    check_precision(options.precision, model)
    read = with_copies(options, folder)
    said = remarks_on(model, read)
    lora, bases = network.new_lora(model, read), network.bases(model, read)
    optimizer = optimizer_for(options, network.groups(lora, options, model.family))
    shared = runs or folder.path.parent
    wanted = ClassPictures.of(options, model, shared, folder.path)
    drawn = None if wanted is None else wanted.source()
    training_set = prepare(model, options, progress, cache_folder=shared / FOLDER, drawn=drawn)
    made = () if wanted is None else (wanted.remark,)
    training_set = replace(training_set, problems=(*said, *training_set.problems, *made))
    resume.check_same_data(folder, training_set)
    training = Training(model, options, folder, training_set, lora, optimizer, total=0, bases=bases)
    training.total = total_steps(options, training.steps_per_epoch)
    if options.cache_to_disk:
        _keep_captions(training, shared / CAPTIONS, read)
    origin = resume.origin_of(folder) or Origin.of(model, progress)
    folder.make(options)
    if keeps:
        _keep_copies(training, wanted)
    training.origin = origin
    resume.begin(training)
    resume.go_on(training)
    return training
