"""Pictures: one after the other, each saved and shown as soon as it is finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lib_lora.errors import AtelierError
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.host.limits import check_order
from lib_lora.progress import Progress, SubProgress
from lib_lora.services.jobs.job import Job
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.outputs import save_picture
from lib_lora.services.speed import Speed

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

KIND = "generate"

Save = Callable[[Image.Image, str, int], Path]
"""Writes a picture with its settings as text and its seed, and returns its file."""


@dataclass(frozen=True)
class Picture:
    """One finished picture."""

    path: Path
    seed: int


@dataclass(frozen=True)
class Rendered:
    """What an order has made so far."""

    pictures: tuple[Picture, ...]
    infotexts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[AtelierError, ...] = ()
    seconds: float = 0.0


def render(
    request: GenerateRequest,
    host: Host,
    progress: Progress,
    save: Save,
    *,
    show: Callable[[Rendered], None] = lambda made: None,
    speed: Speed | None = None,
) -> Rendered:
    """Render ``request.batch`` pictures with seeds counted up, each saved as soon as it is finished.

    Args:
        request: the order.
        host: who renders.
        progress: is told how far it is; a stop keeps the pictures that are finished.
        save: writes a picture with its settings and returns its file.
        show: is given what there is after each picture.
        speed: notes how long each took.

    Raises:
        AtelierError: the order cannot be right, or the disk refuses.
    """
    check_order(request, request.batch, native_side=host.model.native_side)
    pictures: list[Picture] = []
    texts: list[str] = []
    notes: dict[str, None] = {}
    problems: tuple[AtelierError, ...] = ()
    began = time.monotonic()
    total = request.batch * request.steps
    for number in range(request.batch):
        started = time.monotonic()
        one = request.later(number)
        result = host.generate(one, SubProgress(progress, number * request.steps, request.steps, total))
        for image, text in zip(result.images, result.infotexts, strict=True):
            pictures.append(Picture(save(image, text, one.seed), one.seed))
            texts.append(text)
        notes.update(dict.fromkeys(result.notes))
        problems = result.problems  # those of the prompt: the same for each picture
        if progress.stopped:
            break
        if speed is not None:
            seconds = time.monotonic() - started
            speed.record(host.model.name, one, side=host.model.native_side, pictures=1, seconds=seconds)
        show(Rendered(tuple(pictures), tuple(texts), tuple(notes), problems, time.monotonic() - began))
    return Rendered(tuple(pictures), tuple(texts), tuple(notes), problems, time.monotonic() - began)


def submit(atelier: Atelier, request: GenerateRequest, title: str) -> Job:
    """Queue an order; its pictures go into the folder of outputs."""
    speed = Speed.of(atelier)

    def save(image: Image.Image, text: str, seed: int) -> Path:
        return save_picture(atelier.folders.outputs, image, text, seed=seed)

    def work(job: Job) -> Rendered:
        return render(request, atelier.host, job, save, show=job.show, speed=speed)

    return atelier.queue.submit(KIND, title, work)


def last_seed(queue: JobQueue) -> int | None:
    """Return the seed of the first picture of the newest order that has made one."""
    for job in reversed(queue.jobs(KIND)):
        done = job.result or job.partial
        if done is not None and done.pictures:
            return done.pictures[0].seed
    return None
