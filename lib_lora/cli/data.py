"""``tag``: captions by the CharFramework rules for file names."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_lora.cli.common import give

EPILOG = """A picture's name tells its tags: f or b (face or body), 0 level, 1 from above, 2 from below, then the
angle in steps of 45° (0 front, 2 side, 4 behind): f00.png, b04 sitting.png. Captions that you edited are kept."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    command = commands.add_parser(
        "tag", help="write captions by the rules for file names", description=__doc__, epilog=EPILOG
    )
    command.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folder with pictures")
    command.add_argument("--trigger", metavar="WORD", help="trigger word (default: from the folder's name)")
    command.add_argument("--tags", default="", metavar="A,B", help="further tags for every picture of the folder")
    command.add_argument("--expressions", metavar="A,B", help="tags of the face (default: smile, open mouth, blush)")
    command.add_argument(
        "--backgrounds", metavar="A,B", help="background tags (default: white, black and simple background)"
    )
    command.add_argument("--overwrite", action="store_true", help="also replace captions that differ")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the captions and say what was written and what was kept."""
    from lib_lora.data import TagLists, split_tags, write_captions
    from lib_lora.data.tags import EXPRESSIONS

    lists = TagLists() if options.backgrounds is None else TagLists(backgrounds=tuple(split_tags(options.backgrounds)))
    expressions = EXPRESSIONS if options.expressions is None else split_tags(options.expressions)
    results, lines = [], []
    for folder in options.folders:
        report = write_captions(
            folder,
            keyword=options.trigger,
            folder_tags=split_tags(options.tags),
            expressions=expressions,
            lists=lists,
            overwrite=options.overwrite,
        )
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
    give(options, {"folders": results}, lines)
