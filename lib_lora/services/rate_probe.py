"""A probe before a run, for terminal and REST: some steps on the real pictures, of which nothing stays."""

from __future__ import annotations

from typing import Any

from lib_lora.host.base import Host
from lib_lora.progress import Progress
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import Job
from lib_lora.train.options import TrainOptions
from lib_lora.train.rate_range import Probed, probe

KIND = "probe"


def probed(host: Host, options: TrainOptions, progress: Progress) -> Probed:
    """Probe on a host's model, which is lent as for a training.

    Raises:
        AtelierError: what the run itself would raise.
    """
    with host.training(options.name, trains_text=options.text_encoder_ratio > 0):
        return probe(host.model, options, progress)


def submit(atelier: Atelier, options: TrainOptions) -> Job:
    """Queue a probe; its result is `answer`, and the time of a step is remembered.

    Raises:
        InputError: the run could not go well, see `Trainings.check`.
    """
    atelier.trainings.check(options)

    def work(job: Job) -> dict[str, Any]:
        found = probed(atelier.host, options, job)
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
    }
