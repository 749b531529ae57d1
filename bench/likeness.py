"""How many steps until the pocket model knows the demo's character, without forgetting more than the demo may?

    python bench/likeness.py --presets default "AdamW 1e-4" --into likeness.json --json
    python bench/likeness.py --presets Prodigy --into likeness.json --json

A preset is trained on the demo's pictures; every few steps the held-out views and the captions of other things are
measured on fixed noise and timesteps, as the demo does. Counted are the steps until the subject's loss is at most the
demo's mark with a drift of at most the demo's. A preset takes minutes to an hour on two cores, so each can be a run of
its own: with ``--into`` what is known is kept and not measured again, with ``--work`` the regularization pictures are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_lora.demo import settings as use
from lib_lora.demo.story import Story, Views, gather, keep_in_mind, views_of
from lib_lora.host.studio import StudioHost
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train.options import from_mapping
from lib_lora.train.probe import steady_loss
from lib_lora.train.recipes import facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import one_step
from lib_lora.train.training import Training, start

PLAIN: dict[str, Any] = {"optimizer": "AdamW", "scheduler": "constant", "optimizer_args": {}}
PRESETS: Mapping[str, dict[str, Any]] = {
    "default": {},
    "AdamW 1e-4": PLAIN | {"learning_rate": 1e-4},
    "AdamW": {"optimizer": "AdamW"},
    "Lion": {"optimizer": "Lion"},
    "AdaFactor": {"optimizer": "AdaFactor"},
    "Prodigy": {"optimizer": "Prodigy"},
    "LoRA": {"network": "lora"},
    "LoCon": {"network": "locon"},
    "LoHa": {"network": "loha"},
    "LoKr": {"network": "lokr"},
    "DoRA": {"dora": True},
}
"""Name to what differs from the recipe for characters."""
LEAST = 0.5
"""The default needs at most this share of the plain preset's steps."""


def measured(name: str, story: Story, options: argparse.Namespace) -> dict[str, Any]:
    """Train one preset until it has learned enough, or ``--most`` steps; return its course."""
    host = story.host
    values = {
        "images": str(story.files["pictures"].resolve()),
        "reg_images": str(story.files["regularization"].resolve()),
        "name": "likeness",
        "trigger": use.TRIGGER,
        "kind": "character",
        "steps": options.most,
        "repeats": use.RUN_REPEATS,
        "batch_size": use.FULL.batch_size,
        "prior_loss_weight": use.PRIOR_WEIGHT,
        "save_every_epochs": 0,
    }
    chosen = from_mapping(values | PRESETS[name], where="likeness", model=facts_of(host.model))
    with tempfile.TemporaryDirectory() as place:
        training = start(host.model, chosen, RunFolder.create(Path(place) / "run", chosen), Progress())
        return {"preset": name, **_course(training, story, options)}


def _course(training: Training, story: Story, options: argparse.Namespace) -> dict[str, Any]:
    """Return the steps at which the marks were reached (None: not), and what was measured on the way."""
    model = training.model
    views = {name: views_of(story.host, place) for name, place in (("subject", use.HELD_OUT), ("drift", use.OTHERS))}
    before = {name: _loss(training, found) for name, found in views.items()}
    course: list[dict[str, float]] = []
    with attach(model, training.lora, 1.0, strategy="factors") as attached:
        training.attached = attached
        while training.step < options.most:
            one_step(training)
            if training.step % options.every:
                continue
            with training.to_use():
                row = {name: _loss(training, found) / before[name] for name, found in views.items()}
            course.append({"step": training.step, **row})
            print(json.dumps(course[-1]), file=sys.stderr, flush=True)
            if row["subject"] <= use.SUBJECT_GOAL and row["drift"] <= use.DRIFT_GOAL:
                return {"steps": training.step, "course": course}
    return {"steps": None, "course": course}


def _prepare(story: Story) -> None:
    """Make the pictures; those to keep in mind that are there of an earlier call with the same folder stay."""
    gather(story)
    keep_in_mind(story, anew=False)


def _loss(training: Training, views: Views) -> float:
    return steady_loss(training.model, views.latents, views.captions)


def main() -> None:
    """Measure the presets that are not known yet, and print all that is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="*", default=["default", "AdamW 1e-4"], choices=tuple(PRESETS))
    parser.add_argument("--most", type=int, default=use.FULL.train_steps, help="steps after which a preset is given up")
    parser.add_argument("--every", type=int, default=10, help="steps between two measurements")
    parser.add_argument("--kept", type=int, default=use.FULL.regularization, help="regularization pictures")
    parser.add_argument("--into", type=Path, help="a JSON file that keeps what was measured")
    parser.add_argument("--work", type=Path, help="a folder that keeps the regularization pictures for the next preset")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    known = json.loads(options.into.read_text(encoding="utf-8")) if options.into and options.into.is_file() else {}
    wanted = [name for name in options.presets if name not in known]
    if wanted:
        with tempfile.TemporaryDirectory() as place:
            size = use.Size(**{**vars(use.FULL), "regularization": options.kept})
            story = Story(StudioHost.open(device="auto"), options.work or Path(place), size, Progress())
            _prepare(story)
            for name in wanted:
                known[name] = measured(name, story, options)
                if options.into:
                    options.into.write_text(json.dumps(known, indent=1), encoding="utf-8")
    steps = {name: row["steps"] for name, row in known.items()}
    default, plain = steps.get("default"), steps.get("AdamW 1e-4", options.most)
    found = {"steps": steps, "ratio": None if default is None else default / (plain or options.most)}
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {count}" for name, count in steps.items()))


if __name__ == "__main__":
    main()
