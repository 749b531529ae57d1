"""``make``: from a folder of pictures to a finished, measured LoRA, in one go."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import TerminalProgress, add_host_options, give, open_studio, say, stoppable
from lib_lora.cli.flags import add_flags, given
from lib_lora.errors import InputError
from lib_lora.options import Option, options_of

if TYPE_CHECKING:
    from lib_lora.services.make.record import Make

EXAMPLES = """examples:
  python run.py make --images pictures --trigger krnk
  python run.py make --images pictures --trigger krnk --budget 60 --plan
  python run.py make --resume runs/krnk --steps 900"""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    command = commands.add_parser(
        "make",
        help="from a folder of pictures to a finished, measured LoRA, in one go",
        description="Look at the pictures, hold some back, probe, train, choose the file, find block weights, bake, "
        "compress, label, and prove it beside the usual recipe in a report. Ctrl-C keeps what is done.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(command.add_argument_group("what is made"), _options(), needed=False)
    command.add_argument("--runs", type=Path, default=None, metavar="DIR", help="folder of runs (default: runs)")
    command.add_argument(
        "--loras", type=Path, default=Path("loras"), metavar="DIR", help="folder for the finished file (default: loras)"
    )
    command.add_argument("--plan", action="store_true", help="stop after the plan, which can be changed with --resume")
    command.add_argument("--resume", type=Path, metavar="DIR", help="go on with the order in this folder")
    add_host_options(command)
    command.set_defaults(run=run)


def _options() -> tuple[Option, ...]:
    from lib_lora.services.make.options import MakeOptions

    return options_of(MakeOptions)


def run(options: argparse.Namespace) -> None:
    """Carry the order out, and say what came of it."""
    from lib_lora.services.make.course import course_of
    from lib_lora.services.make.lone import LoneMake
    from lib_lora.services.make.record import PLAN, TRAIN

    order = _order(options)
    loras = options.loras.absolute()
    loras.mkdir(parents=True, exist_ok=True)
    host = open_studio(options, [loras, *(options.lora_dir or [])])
    work = LoneMake.of(order, host, loras)
    bar = TerminalProgress(quiet=bool(options.json), percent=True)
    with stoppable(options, kept=f"go on with: make --resume {order.folder}", bar=bar) as progress:
        made = work.go(progress, say, until=TRAIN if options.plan else "")
    if options.plan and TRAIN not in made.results:
        plan, left = made.results[PLAN], course_of(made, work.work.costs).left or 0.0
        lines = [f"{plan['steps']} steps, about {left / 60:.0f} minutes for all", f"make --resume {made.folder}"]
        give(options, {"folder": made.folder, "plan": plan}, lines)
        return
    _give(options, made)


def _order(options: argparse.Namespace) -> Make:
    """Return the order that is meant: a new one, or one that goes on, with what was changed of it.

    Raises:
        InputError: it cannot be right.
    """
    from lib_lora.services.make.options import MakeOptions
    from lib_lora.services.make.record import new_make, read_make

    typed: dict[str, Any] = given(options, _options())
    if typed.get("images"):
        typed["images"] = str(Path(typed["images"]).resolve())
    if options.resume:
        made = read_make(options.resume.absolute())
        changed = {name: value for name, value in typed.items() if getattr(made.options, name) != value}
        return made.changed(**changed) if changed else made
    for name in ("images", "trigger"):
        if not typed.get(name):
            raise InputError("--{name} is missing", name=name, where="make", cure="Give a folder and a trigger word.")
    return new_make(MakeOptions(**typed), (options.runs or Path("runs")).absolute())


def _give(options: argparse.Namespace, made: Make) -> None:
    """Print what came of it."""
    from lib_lora.i18n.words import Words
    from lib_lora.services.make.record import LABEL, PROOF, REPORT
    from lib_lora.services.make.report import verdict

    said = verdict(made, Words("en"))
    files = {"lora": made.results[LABEL]["file"], "report": made.results[REPORT]["file"]}
    values = {"folder": made.folder, "said": said, **files, **made.results[PROOF]["numbers"], "seconds": made.seconds}
    give(options, values, [said, *files.values()])
