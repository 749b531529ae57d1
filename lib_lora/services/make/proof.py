"""The proof: numbers on what no step has seen, and pictures on the same seeds: without, the usual recipe, ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lib_lora.atomic import make_folder
from lib_lora.blocks.typed import as_words
from lib_lora.errors import StoppedError
from lib_lora.host.base import GenerateRequest, is_small
from lib_lora.host.infotext import write_png
from lib_lora.live.attach import attach
from lib_lora.picture_file import whole_picture
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import say
from lib_lora.services.block_tiers import lent
from lib_lora.services.make.answers import answers, apart, others_asked, pictures_of
from lib_lora.services.make.captions_used import other_things
from lib_lora.services.make.record import CHOOSE, PICTURES, SHRINK, USUAL
from lib_lora.services.make.work import Work
from lib_lora.train.probe import steady_loss

WITHOUT, OURS = "without", "ours"


def prove(work: Work, progress: Progress) -> dict[str, Any]:
    """Measure and render; pictures that are there already are not rendered again.

    Raises:
        AtelierError: a file is gone, or the host does not lend its model. StoppedError: asked to stop.
    """
    ways = ways_of(work)
    numbers = _numbers(work, ways, progress)
    rows, notes = _pictures(work, ways, progress)
    return {"numbers": numbers, "pictures": rows, "notes": [*_said(numbers), *notes]}


def ways_of(work: Work) -> dict[str, str]:
    """Return each way of rendering -> the LoRA in its prompts; empty for the model alone."""
    usual = {USUAL: work.make.run(USUAL)} if work.options.compare else {}
    return {WITHOUT: "", **usual, OURS: work.result(SHRINK)["lora"]}


def _numbers(work: Work, ways: Mapping[str, str], progress: Progress) -> dict[str, Any]:
    """Return for each way the loss on held-out pictures, the drift on other things, and the size of the file."""
    host, order = work.host, work.options
    held = work.held_folder if work.result(PICTURES)["held"] else work.train_folder
    with lent(host, work.result(CHOOSE)["lora"]):
        model = host.model
        latents, captions = pictures_of(model, held, order.trigger, progress)
        asked = others_asked(model, other_things(model).measured, order.seed + 41, progress)
        base = answers(model, asked, progress)
        found: dict[str, Any] = {}
        for way, name in ways.items():
            if not name:
                found[way] = {"subject": steady_loss(model, latents, captions, seed=order.seed), "drift": 0.0}
                continue
            path = host.find_lora(name)
            with attach(model, host.read_lora(name)):
                subject = steady_loss(model, latents, captions, seed=order.seed)
                drift = apart(answers(model, asked, progress), base)
            found[way] = {"subject": subject, "drift": drift, "bytes": path.stat().st_size}
    return {"held": held == work.held_folder, **found}


def _pictures(work: Work, ways: Mapping[str, str], progress: Progress) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows of pictures, ``{"prompt", "seed", way: file}``, and what was remarked of them."""
    folder, notes = make_folder(work.make.folder / "proof"), dict[str, None]()
    asked = prompts(work)
    rows: list[dict[str, Any]] = []
    for number, (what, text, seed) in enumerate(asked):
        row: dict[str, Any] = {"what": what, "prompt": text, "seed": seed}
        for place, (way, name) in enumerate(ways.items()):
            path = folder / f"{number + 1}-{way}.png"
            if whole_picture(path) is None:
                order = _request(work, text, name, seed)
                before = (number * len(ways) + place) * order.steps
                part = SubProgress(
                    progress, before, order.steps, len(asked) * len(ways) * order.steps, say("rendering the proof")
                )
                result = work.host.generate(order, part)
                if progress.stopped or not result.images:
                    raise StoppedError
                write_png(path, result.images[0], result.infotexts[0])
                notes |= dict.fromkeys([*result.notes, *(problem.what for problem in result.problems)])
            row[way] = path.name
        rows.append(row)
    return rows, list(notes)


def prompts(work: Work) -> list[tuple[str, str, int]]:
    """Return what is rendered: kind, prompt and seed. A held-out caption twice, far scenes, and other things."""
    order, things = work.options, other_things(work.host.model)
    held = work.held_folder if work.result(PICTURES)["held"] else work.train_folder
    texts = sorted(held.rglob("*.txt"))
    own = texts[0].read_text(encoding="utf-8").strip().splitlines()[0] if texts else order.trigger
    near = as_words(own if order.trigger in own else f"{order.trigger}, {own}")
    subject = as_words(", ".join(filter(None, (order.trigger, order.class_word))))
    far = [("far", f"{subject}, {scene}", order.seed + 1) for scene in things.scenes]
    return [
        ("near", near, order.seed + 1),
        ("near", near, order.seed + 2),
        *far,
        ("other", things.untouched, order.seed + 1),
    ]


def _request(work: Work, text: str, lora: str, seed: int) -> GenerateRequest:
    made = GenerateRequest(f"{text} <lora:{lora}:1>" if lora else text, seed=seed)
    return replace(made, cfg_scale=3.0) if is_small(work.host.model.native_side) else made


def _said(numbers: Mapping[str, Any]) -> list[str]:
    """Return the result in sentences."""
    none, ours = numbers[WITHOUT], numbers[OURS]
    learned = 100 * (1 - ours["subject"] / none["subject"]) if none["subject"] else 0.0
    said: list[str]
    if numbers["held"]:
        said = [say("pictures that it never saw: {n:.0f} % less loss than the model without it", n=learned)]
    else:
        said = [say("pictures that it was trained on: {n:.0f} % less loss than the model without it", n=learned)]
    said.append(say("other things change by {n:.1f} % of the size of the model's answers", n=100 * ours["drift"]))
    if USUAL in numbers:
        usual = numbers[USUAL]
        said.append(
            say(
                "beside the usual recipe: {loss:.2f} times its loss, {drift:.2f} times its drift, {size:.2f} times its "
                "size",
                loss=ours["subject"] / usual["subject"],
                drift=ours["drift"] / usual["drift"] if usual["drift"] else 1.0,
                size=ours["bytes"] / usual["bytes"],
            )
        )
    return said
