"""The first step: the pictures are looked at and copied, captions are made where there are none, some are held out."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_lora.atomic import folder_error, make_folder
from lib_lora.data.dataset import Picture
from lib_lora.data.images import load_picture
from lib_lora.data.lint import Lint, lint
from lib_lora.data.tag_lines import with_tag
from lib_lora.data.tagger import Tagger, TagRules
from lib_lora.data.tags import tags_for
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.captions import rules_or_usual
from lib_lora.services.make.added import proposals
from lib_lora.services.make.plan import training
from lib_lora.services.make.record import TRAIN
from lib_lora.services.make.work import Work
from lib_lora.services.picture_folder import Found, look

LEAST = 8
"""Of fewer pictures none can be held out."""
HELD = 0.15
"""Share of the pictures that is held out."""


def gather(work: Work, progress: Progress) -> dict[str, Any]:
    """Copy the pictures into the order's folder, parted into trained and held-out ones, each with its caption.

    What somebody changes in their own folder later changes nothing here, and nothing is written there.

    Raises:
        InputError: no picture can be used. FileError: a folder or the disk refuses. StoppedError: asked to stop.
    """
    options, model = work.options, work.host.model
    source = Path(options.images)
    found = look(source, model, progress)
    odd = lint(
        found.train,
        found.captions,
        trigger=options.trigger,
        side=model.native_side,
        is_style=options.kind == "style",
        progress=progress,
    )
    captions, made = _captions(work, found, progress)
    held = held_out(found.train, odd, options.seed)
    for folder in (work.train_folder, work.held_folder):
        shutil.rmtree(folder, ignore_errors=True)
    copies: dict[Path, Picture] = {}
    for picture in found.train:
        place = work.held_folder if picture in held else work.train_folder
        target = place / _inside(picture.path, source)
        _copied(picture.path, target, captions.get(picture.path, ""))
        if picture not in held:
            copies[target] = picture
    crops, said = proposals(work, copies, training(work, TRAIN, steps=0), progress)
    notes = [*found.scan.remarks, *odd.sentences, *_about(made, len(found.train), held), *said]
    return {
        "trained": len(found.train) - len(held),
        "held": [picture.path.name for picture in held],
        "captions": {
            "there": len(found.train) - sum(map(len, made.values())),
            **{by: len(n) for by, n in made.items()},
        },
        "crops": crops,
        "notes": notes,
    }


def held_out(pictures: Sequence[Picture], odd: Lint, seed: int) -> list[Picture]:
    """Return the pictures that no training sees; of those that look alike none, for the other would be trained."""
    if len(pictures) < LEAST:
        return []
    alike = {path for group in odd.alike for path in group}
    free = sorted((picture for picture in pictures if picture.path not in alike), key=lambda one: one.path)
    count = min(len(free), max(1, round(HELD * len(pictures))))
    return random.Random(seed).sample(free, count)


def _captions(work: Work, found: Found, progress: Progress) -> tuple[dict[Path, str], dict[str, list[Path]]]:
    """Return every picture's caption, and for which it was made by a tagger or the rule for names, or is bare."""
    options, rules = work.options, rules_or_usual(work.runs.parent)
    tagger = Tagger.open(Path(options.tagger)) if options.tagger else None
    captions = dict(found.captions)
    made: dict[str, list[Path]] = {"tagger": [], "names": [], "bare": []}
    missing = [picture.path for picture in found.train if not captions.get(picture.path, "").strip()]
    for done, path in enumerate(missing):
        text, by = "", "bare"
        if tagger is not None:
            tags = [tag for tag, _ in tagger.tags(load_picture(path), TagRules())]
            text, by = ", ".join(tags), "tagger"
        elif named := tags_for(path.name, options.trigger, lists=rules):
            text, by = ", ".join(named), "names"
        captions[path] = with_tag(text, options.trigger, first=True) if text else options.trigger
        made[by].append(path)
        progress.passed(done + 1, len(missing), say("tagging pictures"))
    return captions, made


def _about(made: dict[str, list[Path]], count: int, held: Sequence[Picture]) -> list[str]:
    said: list[str] = []
    if made["tagger"]:
        said.append(say("{n} {n:caption was|captions were} written by the tagger", n=len(made["tagger"])))
    if made["names"]:
        said.append(say("{n} {n:caption was|captions were} written from the names of files", n=len(made["names"])))
    if made["bare"]:
        said.append(
            say(
                "{n} {n:picture has|pictures have} no caption but the trigger word: captions, or a tagger, would let "
                "it learn the subject alone",
                n=len(made["bare"]),
            )
        )
    if held:
        names = [picture.path.name for picture in held]
        said.append(say("held out, measured and never trained: {names}", names=names))
    else:
        said.append(
            say(
                "no picture is held out, because there are {n} and {least} are needed: the numbers are measured on "
                "pictures that were trained, and flatter",
                n=count,
                least=LEAST,
            )
        )
    return said


def _inside(path: Path, source: Path) -> Path:
    """Return a picture's place in the copy: as in its folder, also where a link leads there."""
    try:
        return path.relative_to(source)
    except ValueError:  # the folder was given as a link
        return path.resolve().relative_to(source.resolve())


def _copied(path: Path, target: Path, caption: str) -> None:
    try:
        make_folder(target.parent)
        shutil.copyfile(path, target)
        target.with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")
    except OSError as error:
        raise folder_error(error, target.parent) from error
