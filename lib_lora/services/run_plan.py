"""What a training would be before it is started: its usual options, a free name, its plan and its pace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.data.dataset import FolderScan
from lib_lora.data.folder import scan
from lib_lora.host.base import Lent, LoadedModel
from lib_lora.options import find
from lib_lora.services.given_data import data_options
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import Found
from lib_lora.services.regularization import about_drawing
from lib_lora.services.speed import Speed
from lib_lora.train.available import instead, is_available
from lib_lora.train.estimate import TrainEstimate, plan_run
from lib_lora.train.options import LEAST_SIDE, TrainOptions, from_mapping, usual_values
from lib_lora.train.pictures import given_regularization
from lib_lora.train.recipes import facts_of
from lib_lora.train.regularization import ClassPictures

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

MEASURE = "measure"


LOOKS = ("masks", "alpha_mask", "background")
"""Options that change how a picture looks to a training."""


def sized(
    model: LoadedModel, place: Path, kind: str, side: int, looks: Mapping[str, Any] | None = None
) -> TrainOptions:
    """Return usual options of a kind at a training size, and `LOOKS`; an impossible size counts as the model's own."""
    usual = usual_values(kind, model=facts_of(model))
    if not is_available(str(usual["optimizer"])):
        usual |= instead(facts_of(model))  # the plan says so, and its time is that of the one it offers
    high = find(TrainOptions, "resolution").high
    usual |= {**data_options(place), "name": "look", "resolution": side if LEAST_SIDE <= side <= high else 0}
    usual |= looks or {}
    return from_mapping(usual, where="")


def measure(atelier: Atelier, options: TrainOptions, title: str) -> Job:
    """Queue a measurement of a few steps; what it says is remembered."""

    from lib_lora.train.pace import measure_pace  # not before somebody trains: a WebUI starts without it

    def work(job: Job) -> float:
        with atelier.host.training(options.name, trains_text=options.text_encoder_ratio > 0) as lease:
            pace = measure_pace(atelier.host.model, options, Lent(job, lease))
        atelier.trainings.paces.put(atelier.host.model, options, pace)
        return pace

    return atelier.queue.submit(MEASURE, title, work)


def plan_of(atelier: Atelier, found: Found, options: TrainOptions) -> TrainEstimate:
    """Return the plan of a run on what was found."""
    plan = plan_run(atelier.host.model, options, _with_regularization(atelier, found, options))
    drawn = about_drawing(atelier.host, options, atelier.folders.runs, Speed.of(atelier))
    return replace(plan, drawn=drawn)


def _with_regularization(atelier: Atelier, found: Found, options: TrainOptions) -> FolderScan:
    """Return what was found with the regularization pictures, which the folder's own scan does not know.

    Those that the model is to draw are there as they will be.
    """
    model, scanned = atelier.host.model, found.scan
    if given_regularization(options):
        least = model.pixels_per_latent * 8
        scanned = _scanned(found.folder, Path(options.reg_images), found.scan.fingerprint(), least)
    wanted = ClassPictures.of(options, model, atelier.folders.runs) if model.layers else None
    return scanned if wanted is None else replace(scanned, pictures=(*scanned.pictures, *wanted.planned()))


@lru_cache(maxsize=4)
def _scanned(folder: Path, reg: Path, version: str, min_side: int) -> FolderScan:
    """Scan both folders; once, for a form asks again with every letter."""
    return scan(folder, reg=reg, min_side=min_side)


def free_name(atelier: Atelier, trigger: str) -> str:
    """Return ``TRIGGER_v1`` or the first number that no run and no LoRA has."""
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f,]+', "_", trigger).strip(" ._") or "lora"
    folders = atelier.folders
    for number in range(1, 10_000):
        name = f"{stem[:60]}_v{number}"
        if not (folders.runs / name).exists() and not (folders.loras / f"{name}.safetensors").exists():
            return name
    return f"{stem[:60]}_v"
