"""Which function carries out which step, and how a step's trainings are told from the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.make.label import label
from lib_lora.services.make.pictures import gather
from lib_lora.services.make.plan import plan
from lib_lora.services.make.proof import prove
from lib_lora.services.make.record import (
    BLOCKS,
    CHOOSE,
    LABEL,
    PICTURES,
    PLAN,
    PROOF,
    REPORT,
    RUNS,
    SHRINK,
    TRAIN,
    USUAL,
    WEIGHTS,
    Make,
)
from lib_lora.services.make.report import report
from lib_lora.services.make.shrink import shrink
from lib_lora.services.make.weights import choose, find_weights, look_at_blocks
from lib_lora.services.make.work import Work
from lib_lora.train.run_folder import RunFolder

ACTS: Mapping[str, Callable[[Work, Progress], Mapping[str, Any]]] = {
    PICTURES: gather,
    PLAN: plan,
    CHOOSE: choose,
    BLOCKS: look_at_blocks,
    WEIGHTS: find_weights,
    SHRINK: shrink,
    PROOF: prove,
    LABEL: label,
    REPORT: report,
}
"""What each step does that is no training."""
NAMES = {
    PICTURES: say("looking at the pictures"),
    PLAN: say("planning"),
    TRAIN: say("training"),
    USUAL: say("training the usual recipe"),
    CHOOSE: say("choosing the file"),
    BLOCKS: say("asking what each block does"),
    WEIGHTS: say("finding block weights"),
    SHRINK: say("baking and compressing"),
    PROOF: say("proving it"),
    LABEL: say("labeling"),
    REPORT: say("writing the report"),
}


def act(work: Work, step: str, progress: Progress) -> Make:
    """Carry out one step that is no training, and return the order with its result, kept on the disk.

    Raises:
        AtelierError: it cannot be done. StoppedError: asked to stop; what a step keeps on its way is kept.
    """
    began = time.monotonic()
    result = ACTS[step](work, progress)
    seconds = time.monotonic() - began
    work.costs.put(work.make, step, seconds)
    return work.make.with_result(step, result, seconds)


def trained(work: Work, step: str, seconds: float) -> Make:
    """Return an order after one of its trainings has come to its end."""
    make = work.make
    work.costs.put(make, step, seconds)
    folder = RunFolder(make.run_folder(step))
    rows = folder.measures()
    notes = list(folder.remarks())[-1:]
    result = {"run": make.run(step), "step": rows[-1]["step"] if rows else None, "notes": notes}
    return make.with_result(step, result, seconds)


def is_training(step: str) -> bool:
    """Whether a step is a run in the queue of trainings."""
    return step in RUNS
