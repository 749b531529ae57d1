"""Regularization pictures that a run wants and that are not there yet: drawn by the host's model, kept for the next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from lib_lora.atomic import make_folder, replace_file
from lib_lora.host.base import Host
from lib_lora.host.infotext import write_png
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import Sentence, say
from lib_lora.services.speed import Speed
from lib_lora.train.options import TrainOptions
from lib_lora.train.regularization import ClassPictures

SPEED = "speed.json"
"""Beside the runs of a program without a data folder: how long drawing takes here."""

logger = logging.getLogger(__name__)


def draw_missing(
    host: Host,
    wanted: ClassPictures,
    progress: Progress,
    *,
    speed: Speed | None = None,
    gives_way: Callable[[], bool] = lambda: False,
    tell: Callable[[Sentence], None] = logger.info,
) -> bool:
    """Draw what is missing, each picture kept as soon as its group is made; return whether all is there.

    Args:
        host: who draws.
        wanted: the pictures.
        progress: is told how many pictures are drawn; a stop keeps those that are finished.
        speed: notes how long they took.
        gives_way: asked between groups; true leaves the rest for a later call.
        tell: hears what a person should know of them, such as a LoRA tag that does not act; each thing once.

    Raises:
        AtelierError: an order cannot be right, or the disk refuses.
    """
    numbers = list(wanted.missing())
    if not numbers:
        return True
    make_folder(wanted.folder)
    count = len(numbers)
    told = SubProgress(progress, 0, count, count, say("drawing regularization pictures"))
    began, said = time.monotonic(), set[str]()
    for made in host.generate_each(wanted.request, [wanted.wish(number) for number in numbers], told):
        for note in (*made.notes, *(problem.sentence for problem in made.problems)):
            if note not in said:
                said.add(note)
                tell(say("of the regularization pictures: {note}", note=note))
        for image, text in zip(made.images, made.infotexts, strict=True):
            _keep(wanted, numbers.pop(0), image, text)
        now = time.monotonic()
        if speed is not None:
            side = host.model.native_side
            speed.record(host.model.name, wanted.request, side=side, pictures=len(made.images), seconds=now - began)
        if gives_way():
            break
        began = time.monotonic()
    return not numbers


def _keep(wanted: ClassPictures, number: int, image: Image.Image, text: str) -> None:
    """Write a picture; its caption first, so that none is ever without."""
    path = wanted.path(number)
    wanted.drawing(number)
    replace_file(path.with_suffix(".txt"), (wanted.prompt(number) + "\n").encode(), what=say("The caption"))
    write_png(path, image, text)


def about_drawing(host: Host, options: TrainOptions, runs: Path, speed: Speed) -> tuple[Sentence, ...]:
    """Return what a plan says of the regularization pictures that the model draws: how many, about how long, where.

    Raises:
        InputError: the folder of regularization pictures is not there.
    """
    wanted = ClassPictures.of(options, host.model, runs) if options.reg_count and host.model.layers else None
    if wanted is None:
        return ()
    missing, folder = len(wanted.missing()), str(wanted.folder)
    if not missing:
        return (say("all regularization pictures that the model should draw are there: {folder}", folder=folder),)
    seconds = speed.seconds(host.model.name, wanted.request, side=host.model.native_side, pictures=missing)
    if seconds is None:
        return (say("{n} regularization {n:picture is|pictures are} drawn first: {folder}", n=missing, folder=folder),)
    return (
        say(
            "{n} regularization {n:picture is|pictures are} drawn first, in about {time}: {folder}",
            n=missing,
            time=_duration(seconds),
            folder=folder,
        ),
    )


def _duration(seconds: float) -> Sentence:
    """Return a time as people say it."""
    if seconds < 90:
        return say("{n} s", n=max(1, round(seconds)))
    if seconds < 90 * 60:
        return say("{n} min", n=round(seconds / 60))
    return say("{n:g} h", n=round(seconds / 3600, 1))
