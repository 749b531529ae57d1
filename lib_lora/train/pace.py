"""How long a step takes here: the real step, on pictures of noise, before any picture is read."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from PIL import Image

from lib_lora.architectures.registry import architecture_of
from lib_lora.data.dataset import Picture
from lib_lora.data.sdxl_sizes import sdxl_sizes
from lib_lora.host.base import LoadedModel
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.train import network
from lib_lora.train.captions import rules_of
from lib_lora.train.memory.fit import ready
from lib_lora.train.options import TrainOptions
from lib_lora.train.pictures import each_options
from lib_lora.train.ratio_optimizer import optimizer_for
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import one_step
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample, TrainingSet, plan_for, training_size
from lib_lora.train.varied import DecodedPictures, Varied, varies


def measure_pace(model: LoadedModel, options: TrainOptions, progress: Progress, *, steps: int = 3) -> float:
    """Return the seconds of one step: the median of a few, the first left out; nothing of them is kept.

    Raises:
        StoppedError: somebody asked to stop: nobody should plan with what was measured so far.
        AtelierError: what the run itself would raise.
    """
    lora, bases = network.new_lora(model, options), network.bases(model, options)
    optimizer = optimizer_for(options, network.groups(lora, options, model.family))
    times = []
    with tempfile.TemporaryDirectory(prefix="atelier-pace-") as place, ExitStack() as stack:
        data = TrainingSet(_noise(model, options), (), "")
        training = Training(model, options, RunFolder(Path(place)), data, lora, optimizer, total=steps + 1, bases=bases)
        fit = stack.enter_context(ready(training))
        for done in range(steps + 1):
            began = time.perf_counter()
            fit.step(one_step)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            times.append(time.perf_counter() - began)
            progress.passed(done + 1, steps + 1, say("measuring a few steps"))
    timed = sorted(times[1:])  # the first one warms up
    return timed[len(timed) // 2]


def _noise(model: LoadedModel, options: TrainOptions) -> tuple[Sample, ...]:
    """Return so many pictures of noise that each step has whole batches; they vary where any of the run's do."""
    size = training_size(model, options)
    varying = next(filter(varies, each_options(options)), None)
    own, plan = varying or options, plan_for(size, model, options)
    width, height = (side // model.pixels_per_latent for side in plan.bucket)
    shape = (architecture_of(model.family).latent_channels, height, width)
    generator = torch.Generator().manual_seed(0)
    picture = Picture(Path("noise"), "a picture", 1, size, is_reg=False, digest="")
    varied = Varied(model, own, picture, plan, _Blank(size)) if varying else None
    sizes = (tuple(sdxl_sizes(plan, mirrored=False)),)
    return tuple(
        Sample(
            picture,
            picture.caption,
            (torch.randn(shape, generator=generator),),
            sizes,
            weight=1.0,
            rules=rules_of(options),
            varied=varied,
        )
        for _ in range(options.batch_size * options.gradient_accumulation_steps)
    )


class _Blank(DecodedPictures):
    """A blank picture in place of every file."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self._blank = Image.new("RGB", size)

    def layers(self, picture: Picture, options: TrainOptions) -> tuple[Image.Image, Image.Image | None]:
        """Return the blank one, without a mask."""
        return self._blank, None
