"""``import-settings`` and ``sd-scripts``: settings of sd-scripts and kohya_ss in, a command of sd-scripts out."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_lora.architectures.registry import architectures, first
from lib_lora.cli.common import give, say


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    one = commands.add_parser(
        "import-settings",
        help="read training settings of sd-scripts (TOML) or of the kohya_ss GUI (JSON)",
        description="Write settings of sd-scripts or kohya_ss as options of ours, and say what was not understood.",
    )
    one.add_argument("file", type=Path, metavar="SETTINGS", help=".toml of sd-scripts, or .json of the kohya_ss GUI")
    one.add_argument(
        "--out", type=Path, metavar="FILE", help="where the options go (default: beside it, .options.json)"
    )
    one.set_defaults(run=read)
    other = commands.add_parser(
        "sd-scripts",
        help="show the sd-scripts command for a run or a file of options",
        description="Show the command of sd-scripts that comes nearest, and what it cannot say.",
    )
    other.add_argument("file", type=Path, metavar="OPTIONS", help="folder of a run, or its options.json")
    families = [one.name for one in architectures() if one.unet is not None]
    other.add_argument("--family", default=first().name, choices=families, help="of the model [%(default)s]")
    other.set_defaults(run=write)


def read(options: argparse.Namespace) -> None:
    """Write the options, and say what was not understood."""
    import json

    from lib_lora.atomic import new_file
    from lib_lora.cli.common import refuse_existing
    from lib_lora.train.sd_scripts.read import import_settings

    made = import_settings(options.file)
    out = options.out or options.file.with_suffix(".options.json")
    refuse_existing(out, overwrite=False)
    with new_file(out) as file:
        file.write((json.dumps(made.values, indent=1, ensure_ascii=False) + "\n").encode())
    for note in made.notes:
        say(note)
    lines = [f"{out}  ({len(made.values)} options, {len(made.notes)} remarks)"]
    if made.not_needed:
        lines.append(f"not needed here: {', '.join(sorted(made.not_needed))}")
    give(options, {"out": out, "options": made.values, "remarks": made.notes, "not_needed": made.not_needed}, lines)


def write(options: argparse.Namespace) -> None:
    """Print the command."""
    from lib_lora.train.option_files import options_file, read_options
    from lib_lora.train.sd_scripts.write import sd_scripts_command

    path = (options_file(options.file) if options.file.is_dir() else None) or options.file
    told = sd_scripts_command(read_options(path), family=options.family)
    for note in told.notes:
        say(note)
    give(options, {"command": told.text, "remarks": list(told.notes)}, [told.text])
