"""``inspect``, ``label``: what a LoRA file holds and says of itself."""

from __future__ import annotations

import argparse

from lib_lora.cli.common import TerminalProgress, give, refuse_existing, say
from lib_lora.cli.flags import add_file, add_flags, given
from lib_lora.errors import InputError
from lib_lora.options import check_names, options_of

SOON_READ = 100_000_000
"""Bytes below which a file is read before a progress bar could say anything."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    for add in (_add_inspect, _add_label):
        add(commands)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="say what is in a file",
        description="Say what a LoRA file holds: blocks, ranks, metadata, stored and computed hash.",
    )
    add_file(inspect, out=False)
    inspect.set_defaults(run=run_inspect)


def _add_label(commands: argparse._SubParsersAction) -> None:
    from lib_lora.formats.metadata import FIELDS
    from lib_lora.services.labels import LabelOptions

    label = commands.add_parser(
        "label",
        help="write title, trigger words, cover and so on",
        description="Write a copy with other metadata; the tensors stay byte for byte.",
    )
    add_file(label, out=True)
    label.add_argument(
        "--set",
        dest="changes",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=f"{', '.join(FIELDS)}; an empty value removes",
    )
    add_flags(label, options_of(LabelOptions, but=FIELDS))
    label.set_defaults(run=run_label)


def run_inspect(options: argparse.Namespace) -> None:
    """Read the file and say what is in it; any kind of LoRA can be described."""
    from lib_lora.formats.inspection import inspection

    small = options.file.is_file() and options.file.stat().st_size < SOON_READ
    progress = TerminalProgress(quiet=options.json or small)
    try:
        result = {"file": options.file, **inspection(options.file, progress)}
    finally:
        progress.close()
    lines = [
        f"{options.file.name}: {result['family']}, {', '.join(result['kinds'])}, {result['modules']} modules, "
        f"{result['bytes'] / 1e6:.2f} MB"
    ]
    for block, facts in result["blocks"].items():
        low, high = facts["lowest_rank"], facts["highest_rank"]
        ranks = "" if low is None else f"  rank {low}" if low == high else f"  rank {low} to {high}"
        lines.append(f"{block:>6}  {facts['modules']:>3} modules{ranks}")
    lines += [_row(name, text) for name, text in (*result["fields"].items(), *result["facts"].items()) if text]
    computed, stored = result["hash"]["computed"], result["hash"]["stored"]
    same = "as stored" if computed == stored else f"stored: {stored[:12] or 'none'}"
    give(
        options,
        result,
        [*lines, f"hash {computed[:12] or '-'} ({same})", *(f"note: {note}" for note in result["notes"])],
    )


def _row(name: str, text: object) -> str:
    """Return a field as it is printed; what follows a stranger's line break cannot look like a row of ours."""
    return f"{name}: " + "\n    ".join(str(text).splitlines())


def run_label(options: argparse.Namespace) -> None:
    """Write a copy with other metadata."""
    from lib_lora.formats.metadata import FIELDS
    from lib_lora.services import labels

    refuse_existing(options.out, overwrite=options.overwrite)
    texts = options_of(labels.LabelOptions, only=FIELDS)
    changes: dict[str, str] = {}
    for text in options.changes:
        key, sign, value = text.partition("=")
        if not sign:
            raise InputError(
                "“{change}” is not key=value", change=text, where="--set", cure='For example --set title="My LoRA".'
            )
        changes[key] = value
    check_names(texts, changes, where="--set")
    label = labels.LabelOptions(**{**changes, **given(options, options_of(labels.LabelOptions, but=FIELDS))})
    label.check()
    made = labels.write(options.file, label.edit(), target=options.out, overwrite=options.overwrite)
    say("the tensors are unchanged, and so is the hash that WebUI and Civitai show")
    lines = [_row(name, text) for name, text in made.fields.items() if text]
    give(options, {"file": made.path, "fields": made.fields}, [*lines, str(made.path)])
