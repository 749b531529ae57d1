"""Crops that can be added to what is trained: around faces, and the ends of pictures that a bucket would cut away.

They are proposed with the pictures and written with the plan, where somebody wants them: beside the order's copies, and
only of pictures that are trained, so that nothing of what is held out is ever seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lib_lora.data.buckets import parts_of
from lib_lora.data.captions import folded
from lib_lora.data.dataset import Picture
from lib_lora.data.files import Problem
from lib_lora.errors import AtelierError
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence, say
from lib_lora.services.crops import Crop, CropOptions, propose, write_crops
from lib_lora.services.make.record import PICTURES
from lib_lora.services.make.work import Work
from lib_lora.train.options import TrainOptions
from lib_lora.train.training_set import plan_for

FACE, PART = "face", "part"
Row = Mapping[str, Any]
"""A proposed crop as it is kept: ``picture`` and ``name`` inside the trained pictures, ``box`` in px, ``what``."""


def proposals(
    work: Work, pictures: Mapping[Path, Picture], options: TrainOptions, progress: Progress
) -> tuple[list[Row], list[Sentence]]:
    """Return the crops that could be added, and what is to be said of them; nothing is written.

    Args:
        work: the order, its pictures copied.
        pictures: copy of a trained picture -> what it was copied from.
        options: as it will be trained, which tells the buckets.
        progress: is told of each picture.

    Raises:
        StoppedError: somebody asked to stop.
    """
    model, root, notes = work.host.model, work.train_folder, list[Sentence]()
    parts: list[tuple[Path, str, Sequence[int], str]] = []
    for copy, picture in pictures.items():
        plan = plan_for(picture.size, model, options)
        if plan.loses_much:
            parts += [(copy, f"{copy.stem}_{PART}{n + 1}", box, PART) for n, box in enumerate(parts_of(plan))]
    try:
        asked = CropOptions(least_side=max(16, min(CropOptions().least_side, model.native_side // 2)))
        found = propose(list(pictures), asked, progress).crops
    except AtelierError as error:
        found = []
        notes.append(say("crops around faces were not looked for: {error}", error=error))
    faces = [(crop.picture, crop.name, crop.box, FACE) for crop in found]
    rows = _rows(root, [*faces, *parts], pictures)
    if rows and not work.options.crops:
        cure = say("“Go on with crops” trains them as well; in the terminal it is an option of make")
        notes.append(say("{crops} could be added: {cure}", crops=_counted(rows), cure=cure))
    return rows, notes


def put(work: Work, progress: Progress) -> list[Sentence]:
    """Write the proposed crops beside the copies where they are wanted, take them away where not; say what was done.

    Raises:
        FileError: the disk refuses. StoppedError: somebody asked to stop.
    """
    rows: Sequence[Row] = work.result(PICTURES).get("crops", ())
    for path in (_target(work, row) for row in rows):
        path.unlink(missing_ok=True)
        path.with_suffix(".txt").unlink(missing_ok=True)
    if not work.options.crops:
        return []
    if not rows:
        return [say("there is no crop to add: no face was found, and no picture loses much by its bucket")]
    problems = [problem for crops, target in _grouped(work, rows) for problem in _written(crops, target, progress)]
    said = [say("{crops} are trained as well", crops=_counted(rows))]
    return [*said, *(one.sentence for one in problems)]


def _written(crops: Sequence[Crop], target: Path, progress: Progress) -> Iterable[Problem]:
    done = write_crops(crops, target, CropOptions(), progress)
    progress.passed(len(crops), len(crops), say("writing crops"))
    return done.problems


def _grouped(work: Work, rows: Sequence[Row]) -> Iterator[tuple[list[Crop], Path]]:
    """Give the crops of each folder; a part of a picture has no framing of its own."""
    for target, group in groupby(sorted(rows, key=lambda row: row["name"]), key=lambda row: _target(work, row).parent):
        yield [
            Crop(work.train_folder / row["picture"], Path(row["name"]).name, tuple(row["box"]), 1.0,
                 FACE if row["what"] == FACE else "")
            for row in group
        ], target  # fmt: skip


def _rows(root: Path, crops: Iterable[tuple[Path, str, Sequence[int], str]], copies: Iterable[Path]) -> list[Row]:
    """Return crops as they are kept, each under a name that no copy of the user's pictures has."""
    taken = {folded(path.relative_to(root).with_suffix("").as_posix()) for path in copies}
    rows: list[Row] = []
    for picture, name, box, what in crops:
        place = picture.relative_to(root)
        while folded(place.with_name(name).as_posix()) in taken:
            name += "_"
        free = place.with_name(name).as_posix()
        taken.add(folded(free))
        rows.append({"picture": place.as_posix(), "name": free, "box": list(box), "what": what})
    return rows


def _target(work: Work, row: Row) -> Path:
    path = work.train_folder / row["name"]
    return path.with_name(f"{path.name}.png")


def _counted(rows: Sequence[Row]) -> Sentence:
    faces = sum(row["what"] == FACE for row in rows)
    return say(
        "{n} {n:crop|crops} ({faces} around faces, {parts} of pictures of which a bucket would cut away more than a "
        "quarter)",
        n=len(rows),
        faces=faces,
        parts=len(rows) - faces,
    )
