"""Weights that were found, against what people and papers do: drift at the same subject loss, at equal UNet calls.

    python bench/fit.py --work WORK --json

Trains the demo's character without regularization pictures, once for each training seed (kept in ``--work``), finds
block weights on the twelve training pictures and on captions of other things, and measures on pictures and captions
that nobody has seen: the subject's loss, and the drift from the model without the LoRA. Beside it ALL at lower
strengths, the published presets, random vectors of the same mean, and the searches of the field, each with as many
calls of the UNet: sep-CMA-ES (Ros & Hansen 2008), Bayesian search (Gaussian process, expected improvement), a choice of
blocks by the KL divergence of predictions, and the top k blocks by the size of their change. Every one may use the same
bounds. What blocks can do at all is told by weights that are found on what is measured with (``--bound``); each way's
drift is also told as a share of that of one strength for all blocks with the same subject's loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_lora.process import unset

os.environ.update(unset())  # before torch is loaded, as the studio does

import numpy as np
import torch

from lib_lora.analysis.fit.ask import neutral_questions, picture_questions
from lib_lora.analysis.fit.fit import blocks_of, find_weights
from lib_lora.analysis.fit.samples import Predictor, Question
from lib_lora.analysis.fit.spec import FitSpec
from lib_lora.analysis.fit.window import WHOLE, Window, losses_through
from lib_lora.analysis.norms import delta_shares
from lib_lora.demo import settings as use
from lib_lora.demo.story import Story, gather, views_of
from lib_lora.errors import AtelierError
from lib_lora.formats.lora import LoraFile, read_lora
from lib_lora.host.studio import StudioHost
from lib_lora.live.attach import attach
from lib_lora.live.targets import uniform_multipliers
from lib_lora.progress import Progress
from lib_lora.services.fit_measured import random_weights
from lib_lora.services.make.captions_used import KEPT
from lib_lora.train.loop import run
from lib_lora.train.options import from_mapping
from lib_lora.train.recipes import facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start

STEPS = 160
SAME = 1.03
"""Subject losses up to this ratio to ALL's count as equal."""
STRENGTHS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5)


def trained(host: StudioHost, work: Path, seed: int) -> Path:
    """Return the LoRA of a training seed; trained where it is not there."""
    place = work / f"run{seed}"
    found = place / f"fit{seed}.safetensors"
    if found.is_file():
        return found
    if not (work / "pictures").exists():
        gather(Story(host, work, use.FULL, Progress()))
    values = {
        "images": str((work / "pictures").resolve()),
        "name": f"fit{seed}",
        "trigger": use.TRIGGER,
        "kind": "character",
        "steps": STEPS,
        "repeats": 5,
        "batch_size": use.FULL.batch_size,
        "seed": seed,
        "save_every_epochs": 0,
    }
    options = from_mapping(values, where="bench", model=facts_of(host.model))
    run(start(host.model, options, RunFolder.create(place, options), Progress()), Progress())
    return found


@dataclass
class Field:
    """One LoRA, and what can be asked of it; every search sees the learning questions alone."""

    host: StudioHost
    lora: LoraFile
    blocks: list[str]
    learn: tuple[list[Question], list[Question]]
    held: tuple[list[Question], list[Question]]
    allowed: float = 0.0
    plain: tuple[float, float] = (1.0, 1.0)
    budget: int = 0
    calls: int = 0
    low: float = 0.0
    high: float = 1.0
    seen: list[tuple[float, np.ndarray]] = field(default_factory=list)

    def measured(
        self,
        points: Sequence[np.ndarray],
        which: tuple[list[Question], list[Question]],
        windows: Sequence[Window] = (),
    ) -> list[tuple[float, float]]:
        """Return (subject, drift) of some weights on some questions."""
        every = uniform_multipliers(self.host.model.family)
        settings = [
            (every | dict(zip(self.blocks, map(float, point), strict=True)), window)
            for point, window in zip(points, windows or [WHOLE] * len(points), strict=True)
        ]
        with torch.no_grad(), attach(self.host.model, self.lora, 0.0, strategy="factors") as attached:
            ask = Predictor(self.host.model, attached, clip_skip=1, chunk=16, progress=Progress(), total=1)
            found = [losses_through(ask, some, settings) for some in which]
        self.calls += ask.calls if which is self.learn else 0
        return list(zip(*found, strict=True))

    def judge(self, points: Sequence[np.ndarray]) -> list[float]:
        """Return the number that a search makes small: the drift, and a steep price for a subject beyond the limit."""
        values = []
        for point, (subject, drift) in zip(points, self.measured(points, self.learn), strict=True):
            over = max(0.0, subject - self.allowed) / self.plain[0]
            values.append(drift / self.plain[1] + 100 * over)
            self.seen.append((values[-1], point))
        return values

    def search(self, how: Callable[[Field, np.random.Generator], None], seed: int) -> np.ndarray:
        """Return the best weights that a search has seen within the budget of calls."""
        self.calls, self.seen = 0, []
        how(self, np.random.default_rng(seed))
        return min(self.seen, key=lambda row: row[0])[1]

    @property
    def price(self) -> int:
        """Calls that one judgement costs."""
        return len(self.learn[0]) + len(self.learn[1])

    @property
    def left(self) -> int:
        """Judgements that the budget still allows."""
        return (self.budget - self.calls) // self.price


def sep_cma(field: Field, rng: np.random.Generator) -> None:
    """Ros & Hansen 2008: CMA-ES with a diagonal covariance, its learning rate times (n + 2)/3."""
    n = len(field.blocks)
    size = 4 + int(3 * math.log(n))
    weights = np.log(size / 2 + 0.5) - np.log(np.arange(1, size // 2 + 1))
    weights /= weights.sum()
    mu = 1 / np.square(weights).sum()
    c_path, damping = (
        (mu + 2) / (n + mu + 5),
        1 + 2 * max(0, math.sqrt((mu - 1) / (n + 1)) - 1) + (mu + 2) / (n + mu + 5),
    )
    c_cov = (4 + mu / n) / (n + 4 + 2 * mu / n)
    c_one = 2 / ((n + 1.3) ** 2 + mu) * (n + 2) / 3
    c_mu = min(1 - c_one, 2 * (mu - 2 + 1 / mu) / ((n + 2) ** 2 + mu) * (n + 2) / 3)
    mean, sigma, spread = np.ones(n) * 0.9, 0.2, np.ones(n)
    path, path_cov, expected = np.zeros(n), np.zeros(n), math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    field.judge([np.ones(n)])
    while field.left >= 1:
        steps = rng.standard_normal((min(size, field.left), n)) * np.sqrt(spread)
        points = np.clip(mean + sigma * steps, field.low, field.high)
        values = field.judge(list(points))
        if len(points) < size:
            return
        best = np.argsort(values)[: size // 2]
        moved = (weights @ points[best] - mean) / sigma
        mean = mean + sigma * moved
        path = (1 - c_path) * path + math.sqrt(c_path * (2 - c_path) * mu) * moved / np.sqrt(spread)
        path_cov = (1 - c_cov) * path_cov + math.sqrt(c_cov * (2 - c_cov) * mu) * moved
        chosen = (points[best] - (mean - sigma * moved)) / sigma
        spread = (1 - c_one - c_mu) * spread + c_one * path_cov**2 + c_mu * (weights @ chosen**2)
        sigma *= math.exp(c_path / damping * (np.linalg.norm(path) / expected - 1))


def bayesian(field: Field, rng: np.random.Generator) -> None:
    """A Gaussian process (squared exponential) with expected improvement over random and local candidates."""
    n = len(field.blocks)
    points = [np.ones(n), *(rng.uniform(0.3, 1, n) for _ in range(min(9, field.left - 1)))]
    values = field.judge(points)
    while field.left >= 1:
        xs, ys = np.array(points), np.log1p(np.array(values))
        mean, scale = ys.mean(), ys.std() or 1.0
        length = 0.5 * math.sqrt(n)
        kernel = np.exp(-_squares(xs, xs) / (2 * length**2)) + 1e-5 * np.eye(len(xs))
        factor = np.linalg.cholesky(kernel)
        solved = np.linalg.solve(factor.T, np.linalg.solve(factor, (ys - mean) / scale))
        best = xs[ys.argmin()]
        near = best + rng.standard_normal((1000, n)) * rng.choice([0.02, 0.1, 0.3], (1000, 1)) * (
            rng.random((1000, n)) < 0.3
        )
        some = np.clip(np.concatenate([rng.uniform(field.low, field.high, (500, n)), near]), field.low, field.high)
        cross = np.exp(-_squares(some, xs) / (2 * length**2))
        guess = cross @ solved
        doubt = np.sqrt(np.clip(1 - np.square(np.linalg.solve(factor, cross.T)).sum(0), 1e-12, None))
        gain = ((ys.min() - mean) / scale - guess) / doubt
        normal = np.exp(-(gain**2) / 2) / math.sqrt(2 * math.pi)
        below = 0.5 * (1 + np.vectorize(math.erf)(gain / math.sqrt(2)))
        point = some[(doubt * (gain * below + normal)).argmax()]
        points.append(point)
        values += field.judge([point])


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.square(one[:, None] - other[None]).sum(-1)


def by_divergence(field: Field, rng: np.random.Generator) -> None:
    """Blocks by the divergence of Gaussian predictions, with the trigger over without it; the best number of them."""
    n = len(field.blocks)
    alone = [np.ones(n) - unit for unit in np.eye(n)]
    rows = field.measured([np.ones(n), *alone], field.learn)
    ratio = [
        max(0.0, row[0] - rows[0][0]) / max(1e-12, rows[0][1] - row[1]) if rows[0][1] > row[1] else math.inf
        for row in rows[1:]
    ]
    _best_count(field, np.argsort(ratio)[::-1])


def by_size(field: Field, rng: np.random.Generator) -> None:
    """The top k blocks by the size of their change, as K-LoRA chooses layers; the best k."""
    shares = delta_shares(field.lora)
    _best_count(field, np.argsort([shares.get(block, 0.0) for block in field.blocks])[::-1])


def _best_count(field: Field, order: np.ndarray) -> None:
    for count in range(len(order), 0, -1):
        if field.left < 1:
            return
        point = np.zeros(len(order))
        point[order[:count]] = 1.0
        field.judge([point])


SEARCHES = {"sep-CMA-ES": sep_cma, "Bayesian search": bayesian, "KL choice": by_divergence, "top-k choice": by_size}


def compare(host: StudioHost, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return every way's subject loss and drift as shares of ALL's, on what nobody has seen."""
    lora, model = read_lora(path), host.model
    kept = KEPT.read_text(encoding="utf-8").splitlines()[: options.captions]
    pictures, held = views_of(host, use.PICTURES), views_of(host, use.HELD_OUT)
    others = [text.read_text(encoding="utf-8").strip() for text in sorted(use.OTHERS.glob("*.txt"))]
    learn = (
        picture_questions(
            model,
            pictures.latents[: options.pictures],
            pictures.captions[: options.pictures],
            levels=options.levels,
            seed=1,
        ),
        neutral_questions(model, kept, levels=options.levels, seed=2),
    )
    unseen = (
        picture_questions(model, held.latents, held.captions, levels=options.unseen, seed=3),
        neutral_questions(model, others[: options.others], levels=options.unseen, seed=4),
    )
    spec = FitSpec(keep=options.keep, rounds=options.rounds, low=options.low, high=options.high)
    found = find_weights(model, lora, *learn, spec)
    timed = find_weights(model, lora, *learn, replace(spec, parts=options.levels)) if options.steps else found
    blocks = blocks_of(model, lora)
    with torch.no_grad():
        answers = _answered(host, lora, (learn, unseen))
    place = Field(
        host,
        lora,
        list(blocks),
        *answers,
        found.allowed,
        (found.plain.subject, found.plain.drift),
        found.calls,
        low=options.low,
        high=options.high,
    )
    ones = np.ones(len(blocks))
    fit = np.array([found.weights[block] for block in blocks])
    ways: dict[str, np.ndarray] = {"none": 0 * ones, "ALL": ones, "found": fit}
    if options.steps:
        ways["found, with steps"] = np.array([timed.weights[block] for block in blocks])
    if options.bound:
        best = find_weights(model, lora, *unseen, replace(spec, keep=_share_at(SAME, place), rounds=1))
        ways["bound"] = np.array([best.weights[block] for block in blocks])
    ways |= {f"ALL x{strength}": strength * ones for strength in STRENGTHS}
    for name in host.presets.names():
        with suppress(AtelierError):  # of another family
            table = host.presets.resolve(name, model.family).as_dict()
            ways[f"preset {name}"] = np.array([table.get(block, 0.0) for block in blocks])
    for number in range(8):
        ways[f"random {number + 1}"] = np.array(
            random_weights(len(blocks), fit.mean(), options.low, options.high, seed=number)
        )
    for name, search in ((name, SEARCHES[name]) for name in options.searches):
        ways[name] = place.search(search, 1)
        print(json.dumps({"way": name, "calls": place.calls}), file=sys.stderr, flush=True)
    steps = [timed.window if name == "found, with steps" else WHOLE for name in ways]
    rows = dict(zip(ways, place.measured(list(ways.values()), place.held, steps), strict=True))
    subject, drift = rows["ALL"]
    table = {
        name: {"subject": row[0] / subject, "drift": row[1] / drift, "mean": float(ways[name].mean())}
        for name, row in rows.items()
    }
    plain = sorted((row["subject"], row["drift"]) for name, row in table.items() if name[:4] in ("ALL", "ALL "))
    for row in table.values():
        row["of_plain"] = row["drift"] / _plain_drift(plain, row["subject"])
    ours = ("found", "found, with steps", "none", "bound")
    equal = {name: row["drift"] for name, row in table.items() if row["subject"] <= SAME and name not in ours}
    return {
        "lora": path.stem,
        "calls": found.calls,
        "weights": found.weights,
        "window": [timed.window.start, timed.window.stop],
        "kept": found.kept,
        "ways": table,
        "drift_less_than_ALL": 1 - table["found"]["drift"],
        "subject_ratio": table["found"]["subject"],
        "of_plain": table["found"]["of_plain"],
        "best_other_at_equal_subject": min(equal.items(), key=lambda row: row[1]),
    }


def _plain_drift(plain: Sequence[tuple[float, float]], subject: float) -> float:
    """Return the least drift of one strength for all blocks that keeps the subject so well, by straight lines."""
    by_drift = sorted(plain, key=lambda row: row[1])
    for (more, low), (less, high) in zip(by_drift, by_drift[1:], strict=False):
        if more <= subject:
            return low
        if less <= subject:
            return low + (high - low) * (more - subject) / (more - less)
    return by_drift[-1][1] if by_drift[-1][0] <= subject else math.nan


def _share_at(ratio: float, place: Field) -> float:
    """Return which share of what was learned stays where the subject's loss is ``ratio`` times ALL's."""
    ones = np.ones(len(place.blocks))
    (before, _), (plain, _) = place.measured([0 * ones, ones], place.held)
    return (before - ratio * plain) / (before - plain)


def _answered(host: StudioHost, lora: LoraFile, sets: Sequence[tuple[list[Question], list[Question]]]) -> list[Any]:
    """Return questions with the answers of the model without the LoRA where they have none."""
    from lib_lora.analysis.fit.fit import asked_of_model

    nothing = uniform_multipliers(host.model.family, 0.0)
    with attach(host.model, lora, 0.0, strategy="factors") as attached:
        ask = Predictor(host.model, attached, clip_skip=1, chunk=16, progress=Progress(), total=1)
        return [(one, asked_of_model(ask, other, nothing)) for one, other in sets]


def main() -> None:
    """Measure every training seed and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder that keeps the trained LoRAs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--levels", type=int, default=3, help="noise levels of each picture and caption")
    parser.add_argument("--pictures", type=int, default=12, help="training pictures to learn from")
    parser.add_argument("--low", type=float, default=0.0, help="lowest weight")
    parser.add_argument("--high", type=float, default=1.0, help="highest weight")
    parser.add_argument("--captions", type=int, default=12, help="captions of other things to learn from")
    parser.add_argument("--others", type=int, default=24, help="captions of other things to measure with")
    parser.add_argument("--steps", action="store_true", help="find start and stop steps as well")
    parser.add_argument("--bound", action="store_true", help="also find weights on what is measured with")
    parser.add_argument("--unseen", type=int, default=5, help="noise levels of what is measured with")
    parser.add_argument("--searches", nargs="*", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=float, default=0.97)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    host = StudioHost.open(device="auto")
    found = []
    for seed in options.seeds:
        found.append(compare(host, trained(host, options.work, seed), options))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)  # hours of a slow machine are not lost
    if options.json:
        print(json.dumps(found))
        return
    for one in found:
        print(one["lora"], f"calls {one['calls']}", f"kept {one['kept']:.3f}")
        for name, row in sorted(one["ways"].items(), key=lambda item: item[1]["drift"]):
            shares = "  ".join(f"{key} {row[key]:.3f}" for key in ("subject", "drift", "of_plain", "mean"))
            print(f"  {name:24} {shares}")


if __name__ == "__main__":
    main()
