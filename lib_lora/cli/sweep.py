"""``train --sweep``: runs that differ in a few options, one after another, and one comparison grid."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import give, open_studio, say, stoppable
from lib_lora.errors import InputError

if TYPE_CHECKING:
    from lib_lora.services.sweep.compared import Compared
    from lib_lora.services.sweep.lone import LoneSweep

HELP = (
    "train a run for every combination of values and compare them: dim=4,8,16; may be given several times. "
    'Or each one a run: "dim=4 alpha=4"'
)


def add_sweep_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags of a sweep."""
    command.add_argument("--sweep", action="append", default=None, metavar="OPTION=V,V,…", help=HELP)
    command.add_argument(
        "--sweep-prompt",
        default="",
        metavar="TEXT",
        help="prompt of the comparison's pictures (default: the first sample prompt, or trigger and class word)",
    )


def is_sweep(options: argparse.Namespace) -> bool:
    """Whether a sweep is asked for: a new one, or one whose folder is to go on."""
    from lib_lora.services.sweep.record import FILE

    return bool(options.sweep) or bool(options.resume and (options.resume / FILE).is_file())


def run_sweep(options: argparse.Namespace, values: Mapping[str, Any], runs: Path) -> None:
    """Train and compare a new sweep over ``values``, or go on with the one that is to be resumed.

    Raises:
        InputError: it cannot be right; nothing was begun.
    """
    from lib_lora.services.sweep.lone import LoneSweep
    from lib_lora.train.sweep_table import SweepTable

    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise InputError(
            "A sweep trains one run after another, in one process",
            where="--sweep",
            cure="Start it without torchrun.",
        )
    place = options.resume.parent if options.resume else runs
    folders = options.lora_dir or [Path.cwd()]
    if not any(place.resolve().is_relative_to(folder.resolve()) for folder in folders):
        folders = [place, *folders]  # the comparison's pictures are drawn with the runs' own LoRAs
    host = partial(open_studio, options, folders)
    if options.resume:
        made = LoneSweep.gone_on(host, options.resume.absolute())
    else:
        table = SweepTable.read(options.sweep).with_places(lambda path: str(Path(path).resolve()))
        made = LoneSweep.new(host, table, values, runs.absolute(), prompt=options.sweep_prompt, where="command line")
    with stoppable(options) as progress:
        compared = made.work(progress, say)
    _give(options, made, compared)


def _give(options: argparse.Namespace, made: LoneSweep, compared: Compared | None) -> None:
    """Print what a sweep came to."""
    from lib_lora.services.sweep.compared import BASE, TABLE, WITHOUT
    from lib_lora.services.sweep.sheet import facts_lines, picture_name, state_of
    from lib_lora.train.sweep_table import values_text

    facts, folder = made.facts(), made.sweep.folder
    lines = []
    for one in facts:
        state = " · ".join(facts_lines(one)) if one.finished else state_of(one)
        lines.append(f"{values_text(one.values)}: {state}")
    left = sum(not one.finished for one in facts)
    if left:
        lines.append(f"{left} of {len(facts)} runs are not finished; go on with: train --resume {folder}")
    files = [folder / picture_name("en"), folder / TABLE] if compared is not None else []
    values = {"sweep": folder, "files": files, "finished": not left}
    if compared is None:
        values["runs"] = [{"run": one.run, **one.numbers()} for one in facts]
    else:
        values |= compared.to_dict() | {"sweep": folder, "verdict": compared.verdict.text}
        lines += [f"{WITHOUT if name == BASE else name}: {remark}" for name, remark in compared.remarks.items()]
        lines.append(compared.verdict.text)
    give(options, values, [*lines, *map(str, files)])
