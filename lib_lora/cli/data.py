"""``tag``: captions by the CharFramework rules for file names."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_lora.cli.common import give
from lib_lora.cli.flags import add_flags, given
from lib_lora.options import options_of

EPILOG = """A picture's name tells its tags: f or b (face or body), 0 level, 1 from above, 2 from below, then the
angle in steps of 45° (0 front, 2 side, 4 behind): f00.png, b04 sitting.png. Captions that you edited are kept."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    from lib_lora.services.captions import NameRule

    command = commands.add_parser(
        "tag", help="write captions by the rules for file names", description=__doc__, epilog=EPILOG
    )
    command.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folder with pictures")
    add_flags(command, options_of(NameRule))
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the captions and say what was written and what was kept."""
    from lib_lora.services.captions import NameRule, write_by_rule

    rules = NameRule(**given(options, options_of(NameRule)))
    results, lines = [], []
    for folder in options.folders:
        report = write_by_rule(folder, rules)
        results.append(
            {
                "folder": folder,
                "written": report.written,
                "unchanged": report.unchanged,
                "kept": report.kept,
                "skipped": report.skipped,
                "problems": [str(problem) for problem in report.problems],
            }
        )
        lines.append(
            f"{folder}: {len(report.written)} captions written, {len(report.unchanged)} were right already, "
            f"{len(report.kept)} of yours kept, {len(report.skipped)} pictures with other names left alone"
        )
        lines += [f"  {problem}" for problem in report.problems]
        if not (report.written or report.unchanged or report.kept or report.skipped or report.problems):
            lines.append("  there is no picture in this folder; give the one that holds them")
    give(options, {"folders": results}, lines)
