"""``convert``, ``prune``, ``split``, ``compare``: LoRA files in other names, in parts, and side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.cli.common import give, refuse_existing, size_of, stoppable
from lib_lora.cli.flags import add_file, add_flags, given
from lib_lora.options import OVERWRITE, options_of

if TYPE_CHECKING:
    from lib_lora.analysis.file_comparison import BlockComparison, FileComparison

_SHOWN = 8
"""Names that a list shows before it only counts."""

WHOLE = "no file is half written"


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    for add in (_add_convert, _add_prune, _add_split, _add_compare):
        add(commands)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    from lib_lora.services.conversion import ConvertOptions

    convert = commands.add_parser(
        "convert",
        help="write a file in another program's form, or in another precision",
        description="Write a file in the names of another program, or in another precision. What only gets another "
        "name keeps every bit; what rounding costs is printed.",
    )
    add_file(convert, out=True)
    add_flags(convert, options_of(ConvertOptions), also={"precision": "--dtype"})
    convert.set_defaults(run=run_convert)


def _add_prune(commands: argparse._SubParsersAction) -> None:
    from lib_lora.services.portions import PruneOptions

    prune = commands.add_parser(
        "prune",
        help="take text encoders, blocks or modules out of a file",
        description="Write a file without some of its modules; what is left stays bit for bit.",
    )
    add_file(prune, out=True)
    add_flags(prune, options_of(PruneOptions))
    prune.set_defaults(run=run_prune)


def _add_split(commands: argparse._SubParsersAction) -> None:
    from lib_lora.services.portions import SplitOptions

    split = commands.add_parser(
        "split",
        help="write a file as several: text encoders and UNet, or groups of blocks",
        description="Write a file as several, whose sum is the whole: FILE_text and FILE_unet, FILE_IN00-IN05, …",
    )
    add_file(split, out=False)
    split.add_argument("--out", type=Path, metavar="DIR", help="folder of the new files (default: beside the file)")
    add_flags(split, options_of(SplitOptions))
    add_flags(split, (OVERWRITE,))
    split.set_defaults(run=run_split)


def _add_compare(commands: argparse._SubParsersAction) -> None:
    compare = commands.add_parser(
        "compare",
        help="say block by block how two files differ",
        description="Compare what two files change: cosine, norms and difference of every block, modules, ranks, "
        "kinds and metadata.",
    )
    compare.add_argument("first", type=Path, metavar="FILE", help="LoRA file")
    compare.add_argument("second", type=Path, metavar="OTHER", help="another one, for the same family of models")
    compare.set_defaults(run=run_compare)


def run_convert(options: argparse.Namespace) -> None:
    """Convert, save, and print what was done besides renaming and what rounding costs."""
    from lib_lora.services import conversion

    wanted = conversion.ConvertOptions(**given(options, options_of(conversion.ConvertOptions)))
    refuse_existing(options.out, overwrite=options.overwrite)
    with stoppable(options, kept=WHOLE) as progress:
        made, saved = conversion.write(
            options.file, wanted, options.out, overwrite=options.overwrite, progress=progress
        )
    before, after = options.file.stat().st_size, saved.stat().st_size
    result = {
        "file": saved,
        "form": wanted.to,
        "modules": len(made.lora.adapters),
        "bytes_before": before,
        "bytes_after": after,
        "largest_error": made.largest,
        "blocks": made.report.by_block(),
        "notes": list(made.notes),
    }
    cost = f"largest relative error of a module: {made.largest:.1e}" if made.largest else "no number was rounded"
    sizes = f"{size_of(before)} → {size_of(after)}"
    give(options, result, [*made.notes, f"{len(made.lora.adapters)} modules, {cost}", sizes, str(saved)])


def run_prune(options: argparse.Namespace) -> None:
    """Prune, save, and print what went and what is left."""
    from lib_lora.services import portions

    wanted = portions.PruneOptions(**given(options, options_of(portions.PruneOptions)))
    refuse_existing(options.out, overwrite=options.overwrite)
    with stoppable(options, kept=WHOLE) as progress:
        made = portions.prune(options.file, wanted, options.out, overwrite=options.overwrite, progress=progress)
    result = {
        "file": made.path,
        "modules": made.modules,
        "gone": dict(made.gone),
        "extras_gone": made.extras,
        "bytes_before": made.bytes_before,
        "bytes_after": made.bytes_after,
        "notes": list(made.notes),
    }
    lines = [f"{count} modules went: {why}" for why, count in made.gone.items()]
    lines += [f"{made.extras} other tensors went"] if made.extras else []
    sizes = f"{size_of(made.bytes_before)} → {size_of(made.bytes_after)}"
    give(options, result, [*made.notes, *lines, f"{made.modules} modules are left", sizes, str(made.path)])


def run_split(options: argparse.Namespace) -> None:
    """Split, save, and print what each file holds."""
    from lib_lora.services import portions

    wanted = portions.SplitOptions(**given(options, options_of(portions.SplitOptions)))
    folder = options.out or options.file.parent
    with stoppable(options, kept=WHOLE) as progress:
        pieces, notes = portions.split(options.file, wanted, folder, overwrite=options.overwrite, progress=progress)
    rows = [
        {"file": one.path, "part": one.label, "blocks": one.blocks, "extras": one.extras, "bytes": one.size}
        for one in pieces
    ]
    lines = []
    for one in pieces:
        more = f" and {one.extras} other tensors" if one.extras else ""
        held = ", ".join(one.blocks)
        lines.append(f"{one.path}: {sum(one.blocks.values())} modules{more} ({held}), {size_of(one.size)}")
    give(options, {"files": rows, "notes": list(notes)}, [*notes, *lines])


def run_compare(options: argparse.Namespace) -> None:
    """Print how two files differ, block by block."""
    from lib_lora.analysis.file_comparison import compare_files

    with stoppable(options, kept=WHOLE) as progress:
        found = compare_files(options.first, options.second, progress)
    result = {"first": options.first, "second": options.second, **found.as_dict(), "notes": list(found.notes)}
    give(options, result, _compared(found))


def _compared(found: FileComparison) -> list[str]:
    head = (
        f"{'block':>6} {'both':>5} {'only 1':>6} {'only 2':>6} {'norm 1':>9} {'norm 2':>9} {'cosine':>8} {'differs':>9}"
    )
    lines = [*found.notes, head, *(_row(one.block, one) for one in found.blocks), _row("all", found.whole)]
    kinds, ranks = found.whole.kinds, found.whole.ranks
    for at, name in enumerate(("1", "2")):
        rank = "" if (one := ranks[at]) is None else f", rank {one[0]}" + (f" to {one[1]}" if one[0] != one[1] else "")
        lines.append(f"file {name}: {', '.join(kinds[at])}{rank}")
    for what, keys in (
        ("only in file 1", found.first_only),
        ("only in file 2", found.second_only),
        ("another alpha / rank", found.other_alpha),
    ):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            lines.append(f"{what}: {', '.join(keys[:_SHOWN])}{more}")
    lines += [f"metadata {one.key}: {_short(one.before)} | {_short(one.after)}" for one in found.metadata]
    return lines if found.metadata else [*lines, "the metadata is the same"]


def _row(name: str, one: BlockComparison) -> str:
    row = one.row()
    cosine = "–" if row["cosine"] is None else f"{row['cosine']:.4f}"
    differs = "–" if row["relative_difference"] is None else f"{row['relative_difference']:.2%}"
    return (
        f"{name:>6} {one.both:>5} {one.first_only:>6} {one.second_only:>6} {row['norm_first']:>9.4g} "
        f"{row['norm_second']:>9.4g} {cosine:>8} {differs:>9}"
    )


def _short(value: str | None) -> str:
    text = "–" if value is None else " ".join(value.split())
    return text if len(text) <= 60 else f"{text[:60]} …"
