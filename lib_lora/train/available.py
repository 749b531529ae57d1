"""Which optimizers can be used here, and what a recipe is trained with where its own cannot.

In a WebUI the optimizers' packages come with `install.py`; without the web, or with `--skip-install`, they do not. That
is said by the plan and before a run is made, not after its pictures were read.
"""

from __future__ import annotations

from typing import Any

from lib_lora.errors import InputError
from lib_lora.sentences import say
from lib_lora.train.optimizers import spec_of
from lib_lora.train.recipes import ModelFacts

ALWAYS = "AdamW"
"""The optimizer that comes with torch."""


def is_available(optimizer: str) -> bool:
    """Return whether the package of an optimizer is installed; it is not imported."""
    return spec_of(optimizer).there


def usual_rate(optimizer: str, model: ModelFacts | None = None) -> float:
    """Return the learning rate that an optimizer starts from, for this model where it is known."""
    known = spec_of(optimizer)
    return known.small_rate or known.usual_rate if model is not None and model.small else known.usual_rate


def instead(model: ModelFacts | None = None) -> dict[str, Any]:
    """Return what a recipe's options become where its optimizer is missing."""
    return {"optimizer": ALWAYS, "optimizer_args": {}, "learning_rate": usual_rate(ALWAYS, model)}


def check_optimizer(optimizer: str, model: ModelFacts | None = None) -> None:
    """Refuse an optimizer whose package is missing.

    Raises:
        InputError: with the package, and the rate at which AdamW stands in.
    """
    if is_available(optimizer):
        return
    known, rate = spec_of(optimizer), usual_rate(ALWAYS, model)
    raise InputError(
        "{name} needs the package {package}, which is not installed",
        name=optimizer,
        package=known.package,
        where="optimizer",
        cure=say("Choose AdamW (learning rate {rate:g}).", rate=rate)
        if known.needs
        else say(
            "Choose AdamW (learning rate {rate:g}), or install it: {pip} {package}",
            rate=rate,
            pip="pip install --no-deps",
            package=known.package,
        ),
    )
