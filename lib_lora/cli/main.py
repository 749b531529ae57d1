"""The command line: which commands there are, and how errors leave it (exit code 0, 1 or 2)."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from lib_lora import __version__
from lib_lora.atomic import FULL, cure_of
from lib_lora.cli import (
    captions,
    checkpoints,
    cutouts,
    data,
    demo,
    files,
    fit,
    framework,
    labels,
    make,
    merge,
    pictures,
    plan,
    rewriting,
    sd_scripts,
    studio,
    tagger,
    train,
)
from lib_lora.cli.common import as_json, say
from lib_lora.errors import AtelierError, InputError
from lib_lora.process import command
from lib_lora.sentences import reason_of

_NEGATIVE = re.compile(r"-\.?\d")
EXIT_CODES = "exit codes: 0 done · 1 the work failed · 2 what was asked for cannot be right"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog=command(),
        description="LoRA Atelier: train, use, analyze, bake, compress and label LoRAs.",
        epilog=EXIT_CODES,
    )
    top.add_argument("--version", action="version", version=f"LoRA Atelier {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (
        studio,
        demo,
        data,
        captions,
        tagger,
        cutouts,
        train,
        sd_scripts,
        framework,
        pictures,
        fit,
        plan,
        merge,
        files,
        labels,
        make,
        checkpoints,
        rewriting,
    ):
        module.register(commands)
    for name, one in commands.choices.items():
        one.prog = f"{top.prog} {name}"
        one.epilog = one.epilog or EXIT_CODES
        one.add_argument("--json", action="store_true", help="print the result as one line of JSON")
        one.set_defaults(flags={each.dest: _flag(each) for each in one._actions if each.option_strings})
    return top


def _flag(action: argparse.Action) -> str:
    """Return how an option is called in errors: by its second spelling, not by the one that turns it off."""
    return action.option_strings[0 if isinstance(action, argparse.BooleanOptionalAction) else -1]


def main(arguments: Sequence[str] | None = None, *, build_app: Callable[..., Any] | None = None) -> int:
    """Run one command and return its exit code; ``build_app`` makes the pages of ``studio`` from an `Atelier`."""
    options = parser().parse_args(with_negative_values(sys.argv[1:] if arguments is None else arguments))
    options.build_app = build_app
    code = 0
    try:
        _check_folders(options)
        code = options.run(options) or 0
    except AtelierError as error:
        _fail(options, error)
        return error.exit_code
    except KeyboardInterrupt:
        say("stopped")
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        place = str(error.filename or "")
        cure = cure_of(error) if error.errno in FULL else ""
        _fail(options, AtelierError(reason_of(error), where=place, cure=cure))
        return 1
    return code


def with_negative_values(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which a value such as ``-0.5,1`` belongs to the option before: argparse takes it for one."""
    found: list[str] = []
    for text in arguments:
        option = found[-1] if found else ""
        if _NEGATIVE.match(text) and option.startswith("--") and "=" not in option and len(option) > 2:
            found[-1] = f"{option}={text}"
        else:
            found.append(text)
    return found


def _check_folders(options: argparse.Namespace) -> None:
    """Refuse a folder of LoRAs that is none: nothing would be found in it, and nobody would know why."""
    for folder in getattr(options, "lora_dir", None) or ():
        if not folder.is_dir():
            raise InputError("There is no such folder", where=str(folder), cure="Check the path.", option="lora_dir")


def _fail(options: argparse.Namespace, error: AtelierError) -> None:
    """Say an error: as JSON for machines, and always as a sentence on standard error, with the flag it is about."""
    flag = options.flags.get(error.option, "")
    if options.json:
        row = {"what": error.what, "where": error.where, "cure": error.cure}
        print(as_json({"error": row | {"flag": flag} if flag else row}))
    said, line, caret = str(error).partition("\n")
    say(f"error: {said} ({flag}){line}{caret}" if flag else f"error: {error}")
