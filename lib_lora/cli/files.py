"""``inspect``: what a LoRA file holds and says of itself."""

from __future__ import annotations

import argparse

from lib_lora.cli.common import TerminalProgress, give
from lib_lora.cli.flags import add_file

SOON_READ = 100_000_000
"""Bytes below which a file is read before a progress bar could say anything."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    inspect = commands.add_parser(
        "inspect",
        help="say what is in a file",
        description="Say what a LoRA file holds: blocks, ranks, metadata, stored and computed hash.",
    )
    add_file(inspect, out=False)
    inspect.set_defaults(run=run_inspect)


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
    lines += [field_row(name, text) for name, text in (*result["fields"].items(), *result["facts"].items()) if text]
    counted = [f"{word} ({count})" for word, count in result["triggers"].items() if count is not None]
    lines += [field_row("trigger words in captions", ", ".join(counted))] if counted else []
    computed, stored = result["hash"]["computed"], result["hash"]["stored"]
    same = "as stored" if computed == stored else f"stored: {stored[:12] or 'none'}"
    give(
        options,
        result,
        [*lines, f"hash {computed[:12] or '-'} ({same})", *(f"note: {note}" for note in result["notes"])],
    )


def field_row(name: str, text: object) -> str:
    """Return a field as it is printed; what follows a stranger's line break cannot look like a row of ours."""
    return f"{name}: " + "\n    ".join(str(text).splitlines())
