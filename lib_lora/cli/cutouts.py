"""``cutouts`` and ``crops``: masks, transparent copies and crops of pictures, by what is on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lib_lora.cli.common import give, say, stoppable
from lib_lora.cli.flags import add_flags, given
from lib_lora.options import options_of

NAMED = 5
"""Pictures that a line names."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    from lib_lora.services.captions import TagChange
    from lib_lora.services.crops import CropOptions
    from lib_lora.services.cutouts import CutoutOptions

    one = commands.add_parser(
        "cutouts",
        help="masks or transparent copies, with a background remover that you have",
        description="Tell each subject from its background by an ONNX model of yours; the pictures stay as they are.",
        epilog="Then train with --masks and that folder. The package onnxruntime runs the model; nothing is fetched.",
    )
    other = commands.add_parser(
        "crops",
        help="crops around faces as new pictures",
        description="Look for faces of drawn characters and write a crop around each as a new picture.",
        epilog="The package animeface finds the faces. Without --target nothing is written.",
    )
    for command, holder, run in ((one, CutoutOptions, run_cutouts), (other, CropOptions, run_crops)):
        command.add_argument("folder", type=Path, metavar="DIR", help="folder with pictures")
        add_flags(command, options_of(holder))
        add_flags(command, options_of(TagChange, only=("only",)))
        command.set_defaults(run=run)


def run_cutouts(options: argparse.Namespace) -> None:
    """Cut subjects out and say what was made of which pictures."""
    from lib_lora.services.captions import read_folder
    from lib_lora.services.cutouts import CutoutOptions, cut_out, target_of

    wish = CutoutOptions(**given(options, options_of(CutoutOptions)))
    target = target_of(options.folder, Path(wish.target) if wish.target else None, wish.makes)
    with stoppable(options) as progress:
        scan, captions = read_folder(options.folder, options.only or "", progress)
        trained = [one.path for one in scan.folders]
        made = cut_out(options.folder, list(captions), Path(wish.cutter), target, wish, progress, trained=trained)
    problems = [str(one) for one in made.problems]
    result = {
        "folder": made.folder,
        "form": made.form,
        "written": made.written,
        "kept": made.kept,
        "nothing": made.nothing,
        "problems": problems,
    }
    lines = [f"{len(made.written)} made, {made.kept} there already (model read as {made.form})", str(made.folder)]
    give(options, result, [*_left({"no subject was found": made.nothing}), *problems, *lines])


def run_crops(options: argparse.Namespace) -> None:
    """Look for faces; write the crops where a folder is given, else say what they would be."""
    from lib_lora.services.captions import read_folder
    from lib_lora.services.crops import CropOptions, propose, write_crops

    wish = CropOptions(**given(options, options_of(CropOptions)))
    with stoppable(options) as progress:
        _, captions = read_folder(options.folder, options.only or "", progress)
        found = propose(list(captions), wish, progress)
        made = write_crops(found.crops, Path(wish.target), wish, progress) if wish.target else None
    left = {"no face": found.faceless, "crops below --least-side": found.small, "nearly the picture": found.whole}
    problems = [str(one) for one in (*found.problems, *(made.problems if made else ()))]
    result: dict[str, Any] = {
        "proposed": [
            {"name": one.name, "picture": one.picture, "box": one.box, "sure": one.sure} for one in found.crops
        ],
        "faceless": found.faceless,
        "small": found.small,
        "whole": found.whole,
        "written": made.written if made else [],
        "kept": made.kept if made else 0,
        "problems": problems,
    }
    lines = [f"{one.name}: {one.box[2] - one.box[0]} x {one.box[3] - one.box[1]} px" for one in found.crops]
    if made is not None:
        lines = [f"{len(made.written)} crops written, {made.kept} there already", str(made.folder)]
    give(options, result, [*_left(left), *problems, *lines])
    if made is None:
        say("nothing was written: --target names the folder of the new pictures")


def _left(kinds: dict[str, Any]) -> list[str]:
    """Return a line for each reason why pictures were left out."""
    rows = [(said, [path.name for path in paths]) for said, paths in kinds.items() if paths]
    return [f"{said}: {', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''}" for said, names in rows]
