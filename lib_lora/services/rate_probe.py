"""A probe before a run, for terminal and REST: some steps on the real pictures, of which nothing stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import StoppedError
from lib_lora.host.base import Host, Lent
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence
from lib_lora.services.jobs.job import Job
from lib_lora.services.regularization import draw_missing
from lib_lora.services.speed import Speed
from lib_lora.train.options import TrainOptions
from lib_lora.train.rate_range import Probed, probe
from lib_lora.train.regularization import ClassPictures

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

KIND = "probe"


def probed(host: Host, options: TrainOptions, progress: Progress, *, runs: Path, speed: Speed | None = None) -> Probed:
    """Probe on a host's model, which is lent as for a training.

    Regularization pictures that the model is to draw are drawn first, as by the run, which finds them in ``runs``.

    Raises:
        StoppedError: somebody asked to stop. AtelierError: what the run itself would raise.
    """
    with host.training(options.name, trains_text=options.text_encoder_ratio > 0) as lease:
        watch = Lent(progress, lease)
        try:
            notes: list[Sentence] = []
            wanted = ClassPictures.of(options, host.model, runs)
            if wanted is not None and not draw_missing(host, wanted, watch, speed=speed, tell=notes.append):
                raise StoppedError
            found = probe(host.model, options, watch, runs=runs)
            return replace(found, remarks=(*notes, *found.remarks))
        except StoppedError:
            lease.check()
            raise


def submit(atelier: Atelier, options: TrainOptions) -> Job:
    """Queue a probe; its result is `answer`, and the time of a step is remembered.

    Raises:
        InputError: the run could not go well, see `Trainings.check`.
    """
    atelier.trainings.check(options)

    def work(job: Job) -> dict[str, Any]:
        found = probed(atelier.host, options, job, runs=atelier.folders.runs, speed=Speed.of(atelier))
        if found.seconds:
            atelier.trainings.paces.put(atelier.host.model, options, found.seconds)
        return answer(found)

    return atelier.queue.submit(KIND, options.name, work)


def answer(found: Probed) -> dict[str, Any]:
    """Return what a probe found as plain values."""
    return {
        "learning_rate": found.suggested,
        "found_rate": found.found,
        "seconds_a_step": found.seconds,
        "steps": found.steps,
        "seconds": found.run_seconds,
        "memory": found.memory,
        "rates": list(found.rates),
        "losses": list(found.losses),
        "note": found.note,
        "remarks": list(found.remarks),
    }
