"""``tagger``: captions by a WD14 tagger that is on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_lora.cli.captions import add_data, seen_rows
from lib_lora.cli.common import give, stoppable
from lib_lora.cli.flags import add_flags, given
from lib_lora.options import options_of

EPILOG = """The tagger is a folder of yours with the model (.onnx) and its selected_tags.csv; nothing is fetched.
It is run by the package onnxruntime. `captions undo` takes the tags back."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    from lib_lora.services.captions import TagChange
    from lib_lora.services.tagging import TaggerOptions

    command = commands.add_parser(
        "tagger", help="write captions with a WD14 tagger that you have", description=__doc__, epilog=EPILOG
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="folder with pictures")
    add_flags(command, options_of(TaggerOptions))
    add_flags(command, options_of(TagChange, only=("only",)))
    add_data(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Tag the pictures and say how many captions changed."""
    from lib_lora.services.captions import Captions, Foreseen, read_folder
    from lib_lora.services.tagging import TaggerOptions, tag_pictures

    rules = TaggerOptions(**given(options, options_of(TaggerOptions)))
    with stoppable(options, kept="nothing is written") as progress:
        _, captions = read_folder(options.folder, options.only or "", progress)
        place = Captions(options.data, options.folder)
        made = tag_pictures(place, list(captions), Path(rules.tagger), rules, progress)
    result, lines = {"changed": made.count}, [f"{made.count} of {len(captions)} captions changed"]
    if isinstance(made, Foreseen):
        result, lines = seen_rows(made, options)
    problems = [str(one) for one in made.problems]
    give(options, result | {"problems": problems}, [*lines, *problems])
