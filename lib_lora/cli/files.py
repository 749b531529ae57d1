"""``inspect``, ``repeat``: what a LoRA file holds and says of itself, where it comes from, and making it again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import NOTHING, give, size_of, stoppable
from lib_lora.cli.flags import add_file
from lib_lora.cli.typed_rows import add_lora_folders

if TYPE_CHECKING:
    from lib_lora.services.lineage import Ancestor, Files

SOON_READ = 100_000_000
"""Bytes below which a file is read before a progress bar could say anything."""

_PARENTS, _BESIDE = "the files are that it was made of", "its own folder"


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    inspect = commands.add_parser(
        "inspect",
        help="say what is in a file",
        description="Say what a LoRA file holds: blocks, ranks, metadata, stored and computed hash.",
    )
    add_file(inspect, out=False)
    add_lora_folders(inspect, what=_PARENTS, usual=_BESIDE)
    inspect.set_defaults(run=run_inspect)
    repeat = commands.add_parser(
        "repeat",
        help="make a file again from the files that it was made of",
        description="Carry out again what made a file (baked, merged, compressed, converted, pruned, split or "
        "extracted here), and compare the tensors. Its parents are looked for beside it and in --lora-dir, by name and "
        "by hash.",
    )
    add_file(repeat, out=False)
    repeat.add_argument("--out", type=Path, metavar="FILE", help="default: beside it, FILE_again")
    repeat.add_argument("--base", type=Path, metavar="FILE", help="the model whose weights were asked for")
    add_lora_folders(repeat, what=_PARENTS, usual=_BESIDE)
    repeat.set_defaults(run=run_repeat)


def run_inspect(options: argparse.Namespace) -> None:
    """Read the file and say what is in it; any kind of LoRA can be described."""
    from lib_lora.formats.inspection import inspection

    small = options.file.is_file() and options.file.stat().st_size < SOON_READ
    with stoppable(options, quiet=small, kept="nothing is changed") as progress:
        result = {"file": options.file, **inspection(options.file, progress)}
        tree, line = _origin(options)
    result |= {"origin": tree.as_dict(), "repeat": line}
    lines = [
        f"{options.file.name}: {result['family']}, {', '.join(result['kinds'])}, {result['modules']} modules, "
        f"{size_of(result['bytes'])}"
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
    lines += _tree(tree)
    lines += [f"made again by: {line}"] if line else []
    lines += [f"hash {computed[:12] or '-'} ({same})", *(f"note: {note}" for note in result["notes"])]
    give(options, result, lines)


def field_row(name: str, text: object) -> str:
    """Return a field as it is printed; what follows a stranger's line break cannot look like a row of ours."""
    said = str(text)
    cut = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} … ({len(said)} characters)"
    return f"{name}: " + "\n    ".join(cut.splitlines())


def _files(options: argparse.Namespace) -> Files:
    from lib_lora.formats.lora_names import named_files
    from lib_lora.services.lineage import Files

    known = named_files(options.lora_dir or [options.file.resolve().parent])
    return Files(known, known)


def _origin(options: argparse.Namespace) -> tuple[Ancestor, str]:
    """Return the family tree of the file, and the command that makes it again."""
    from lib_lora.services.command_lines import command_line

    files = _files(options)
    tree = files.tree(options.file)
    return tree, command_line(tree.order, options.file, files) if tree.order else ""


_LONGEST = 2000
"""Characters of a field that are printed."""
_STATES = {"here": "here", "other": "another file has this name", "missing": "not here"}


def _tree(one: Ancestor, depth: int = 0) -> list[str]:
    """Return a family tree as lines, each generation further in; nothing for a file without parents."""
    if depth == 0 and not one.parents:
        return []
    made = ""
    if one.order is not None:
        error = f", error {one.order.error:.1e}" if one.order.error else ""
        more = {**one.order.options, **({"base": one.order.base} if one.order.base else {})}
        made = f": {one.order.verb}{error}" + (f" ({_options(more)})" if more else "")
    elif one.facts:
        known = {name: one.facts[name] for name in ("method", "base model", "steps", "epoch") if name in one.facts}
        made = f": trained ({_options(known)})" if known else ""
    where = f" [{one.hash[:12]}, {_STATES[one.state]}]" if depth else ""
    row = f" × {_options(one.row)}" if one.row else ""
    lines = [f"{'  ' * depth}{one.name}{row}{where}{made}"]
    return lines + [line for parent in one.parents for line in _tree(parent, depth + 1)]


def _options(table: Mapping[str, Any]) -> str:
    """Return options in a few words."""
    texts = [f"{name} {_options(value) if isinstance(value, dict) else value}" for name, value in table.items()]
    return ", ".join(" ".join(text.split())[:80] for text in texts)


def run_repeat(options: argparse.Namespace) -> None:
    """Make a file again, and say whether the tensors are the same."""
    from lib_lora.formats.names import ENDING
    from lib_lora.services import repeated

    target = options.out or options.file.with_name(f"{repeated.again(options.file)}{ENDING}")
    model = None
    if options.base is not None:  # our host is slow to load, and most files need none
        from lib_lora.host.studio import StudioHost

        model = StudioHost.open(options.base).model
    with stoppable(options, kept=NOTHING) as progress:
        made = repeated.repeat(options.file, target, _files(options), model=model, progress=progress)
    same = "the same tensors" if made.same else "other tensors than the file: made by another version, or not exact"
    row = {"file": made.path, "same": made.same, "hash": made.hash}
    give(options, row, [f"{same} ({made.hash[:12]})", str(made.path)])
