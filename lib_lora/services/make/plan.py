"""The second step: some steps on the real pictures tell rate, time and memory, and both trainings are planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_lora.host.base import is_small
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.given_presets import with_presets
from lib_lora.services.make.added import put
from lib_lora.services.make.captions_used import other_things
from lib_lora.services.make.costs import WITHOUT_PAUSE
from lib_lora.services.make.record import PLAN, TRAIN
from lib_lora.services.make.work import Work
from lib_lora.services.rate_probe import answer, probed
from lib_lora.train.options import TrainOptions, from_mapping
from lib_lora.train.recipes import facts_of

SAVES = 5
"""Files of a training, of which one is chosen."""
PRIOR_SMALL = 3.0
"""Weight of a small model's regularization pictures: the recipe's 180 keeps far more of the model than an order needs,
and the subject pays for it (docs/performance.md)."""
DRAWN, DRAWN_SMALL = 24, 110
"""Regularization pictures; a small model draws one in a second."""
LEAST_STEPS = 40


def plan(work: Work, progress: Progress) -> dict[str, Any]:
    """Add the crops that are wanted, probe the training, and say how long it will be.

    Raises:
        StoppedError: asked to stop. AtelierError: what the training itself would raise.
    """
    order = work.options
    added = put(work, progress)
    found = probed(work.host, training(work, TRAIN, steps=0), progress, runs=work.runs, speed=work.speed)
    notes: list[str] = [*added, found.note]
    steps = order.steps or found.steps
    if order.budget and found.seconds and not order.steps:
        trainings = 2 if order.compare else 1
        fits = int(60 * WITHOUT_PAUSE * order.budget / found.seconds / trainings)
        if fits < steps:
            notes.append(say("{n} steps in place of the recipe's {usual}, so that it fits in {minutes:g} minutes",
                             n=max(LEAST_STEPS, fits), usual=steps, minutes=order.budget))  # fmt: skip
            steps = max(LEAST_STEPS, fits)
            if fits < LEAST_STEPS:
                notes.append(say("fewer than {n} steps teach nothing, so it takes longer", n=LEAST_STEPS))
    learning = {"learning_rate": found.suggested} if found.suggested else {}
    seconds = (found.seconds or 0.0) * steps * (2 if order.compare else 1)
    known = {name: value for name, value in answer(found).items() if name != "remarks"}
    known |= {"model": work.host.model.name, "steps": steps, "seconds": seconds}
    return {**known, "learning": learning, "notes": notes}


def training(work: Work, step: str, *, steps: int | None = None) -> TrainOptions:
    """Return the options of a step's training.

    Ours has regularization pictures and the probed rate. The usual recipe has neither: it is what the tutorials say,
    its last file at full strength.

    Args:
        work: the order.
        step: `TRAIN` or `USUAL`.
        steps: how many; None as planned, 0 as the recipe says.
    """
    order = work.options
    known = work.make.results.get(PLAN, {})
    count = known.get("steps", 0) if steps is None else steps
    values: dict[str, Any] = {
        "images": str(work.train_folder.resolve()),
        "name": work.make.run(step),
        "trigger": order.trigger,
        "class_word": order.class_word,
        "kind": order.kind,
        "seed": order.seed,
        "steps": count,
    }
    if count:
        values |= {"save_every_epochs": 0, "save_every_steps": max(1, -(-count // SAVES))}
    if step == TRAIN:
        values |= {**_keeping(work), **known.get("learning", {})}
    made = from_mapping(values, where="make", model=facts_of(work.host.model))
    return with_presets(made, work.host)


def _keeping(work: Work) -> Mapping[str, Any]:
    """Return the options by which the model keeps what it knows: it draws other things, and is held to them."""
    model = work.host.model
    small = is_small(model.native_side)
    captions = other_things(model).kept[:DRAWN_SMALL]
    count = len(captions) if small else DRAWN
    more = {"reg_steps": 8, "reg_cfg": 3.0, "prior_loss_weight": PRIOR_SMALL} if small else {}
    return {"reg_count": count, "reg_prompts": list(captions), **more}
