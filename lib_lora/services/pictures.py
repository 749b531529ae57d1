"""The work behind the button: one picture after the other, each saved and shown as soon as it is finished."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.errors import AtelierError
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.host.limits import LARGEST_SEED
from lib_lora.progress import Part
from lib_lora.services.jobs.desk import Desk
from lib_lora.services.jobs.job import Job
from lib_lora.services.outputs import save_picture
from lib_lora.services.speed import Speed

KIND = "generate"


@dataclass(frozen=True)
class Picture:
    """One finished picture."""

    path: Path
    seed: int


@dataclass(frozen=True)
class Rendered:
    """What an order has made so far."""

    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[AtelierError, ...] = ()
    seconds: float = 0.0


def render(request: GenerateRequest, host: Host, job: Job, *, outputs: Path, speed: Speed) -> Rendered:
    """Render ``request.batch`` pictures with seeds counted up; a stop keeps those that are finished."""
    pictures: list[Picture] = []
    notes: dict[str, None] = {}
    problems: tuple[AtelierError, ...] = ()
    began = time.monotonic()
    total = request.batch * request.steps
    for number in range(request.batch):
        started = time.monotonic()
        one = replace(request, seed=(request.seed + number) % (LARGEST_SEED + 1), batch=1)
        result = host.generate(one, Part(job, number * request.steps, request.steps, total))
        for image, text in zip(result.images, result.infotexts, strict=True):
            pictures.append(Picture(save_picture(outputs, image, text, seed=one.seed), one.seed))
        notes.update(dict.fromkeys(result.notes))
        problems = result.problems  # those of the prompt: the same for each picture
        if job.stopped:
            break
        seconds = time.monotonic() - started
        speed.record(host.model.name, one, side=host.model.native_side, pictures=1, seconds=seconds)
        job.show(Rendered(tuple(pictures), tuple(notes), problems, time.monotonic() - began))
    return Rendered(tuple(pictures), tuple(notes), problems, time.monotonic() - began)


def last_seed(desk: Desk) -> int | None:
    """Return the seed of the first picture of the newest order that has made one."""
    for job in reversed(desk.jobs(KIND)):
        done = job.result or job.partial
        if done is not None and done.pictures:
            return done.pictures[0].seed
    return None
