"""``generate`` and ``analyze``: pictures from prompts, and which block does what."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_lora.cli.common import (
    TerminalProgress,
    add_host_options,
    add_picture_options,
    give,
    open_studio,
    refuse_existing,
    request_of,
    stopped_by_keyboard,
    tell,
    told,
)


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    _add_generate(commands)
    _add_analyze(commands)


def _add_generate(commands: argparse._SubParsersAction) -> None:
    generate = commands.add_parser(
        "generate",
        help="render pictures from a prompt",
        description="Render pictures. LoRAs are used as in the WebUI: <lora:NAME:1>, <lora:NAME:1:FACE>, "
        "<lora:NAME:0.8:lbw=1,0,…:start=5>.",
    )
    add_picture_options(generate)
    generate.add_argument(
        "--batch", type=int, default=1, metavar="N", help="pictures, with seeds counted up (default: %(default)s)"
    )
    generate.add_argument("--out", type=Path, required=True, metavar="FILE", help="PNG file; several get -1, -2, …")
    generate.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_host_options(generate)
    generate.set_defaults(run=run_generate)


def _add_analyze(commands: argparse._SubParsersAction) -> None:
    analyze = commands.add_parser(
        "analyze",
        help="Effective Block Analyzer: which block does what",
        description="Change one block at a time and look what changes in the picture. "
        "The LoRA's tag carries XYZ: <lora:NAME:1:XYZ>; where none does, the first LoRA is analyzed.",
    )
    add_picture_options(analyze)
    analyze.add_argument(
        "--lora",
        default="",
        metavar="NAME",
        help="the LoRA to analyze where no tag carries XYZ (default: the first)",
    )
    analyze.add_argument(
        "--range",
        default="0,1",
        metavar="A,B",
        help="value of the examined block, value of all others (default: %(default)s)",
    )
    analyze.add_argument(
        "--blocks",
        default="",
        metavar="LIST",
        help="e.g. 26ALL, 17ALL, or IN04,M00,OUT03-OUT05 (default: those that the file changes)",
    )
    analyze.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds, counted up (default: %(default)s)")
    analyze.add_argument(
        "--threshold", type=int, default=20, help="level difference that counts, 0 to 255 (default: %(default)s)"
    )
    analyze.add_argument(
        "--color",
        choices=("black", "white"),
        default="black",
        help="background of difference pictures (default: %(default)s)",
    )
    analyze.add_argument(
        "--gain",
        type=float,
        default=0.0,
        help="contrast of difference pictures; 0 makes the largest change visible (default: %(default)s)",
    )
    analyze.add_argument("--rows", action="store_true", help="one row a block instead of one column")
    analyze.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for grid and table")
    analyze.add_argument("--overwrite", action="store_true", help="replace an earlier analysis in that folder")
    add_host_options(analyze)
    analyze.set_defaults(run=run_analyze)


def run_generate(options: argparse.Namespace) -> None:
    """Render and save."""
    from lib_lora.host.infotext import write_png

    count = options.batch
    names = (
        [options.out] if count == 1 else [options.out.with_stem(f"{options.out.stem}-{n + 1}") for n in range(count)]
    )
    for name in names:
        refuse_existing(name, overwrite=options.overwrite)
    host, progress = open_studio(options), TerminalProgress(quiet=options.json)
    with stopped_by_keyboard(progress):
        result = host.generate(request_of(options, batch=count), progress)
    progress.close()
    tell(result.notes, result.problems)
    for name, image, text in zip(names, result.images, result.infotexts, strict=False):
        write_png(name, image, text)
    saved = names[: len(result.images)]
    give(
        options,
        {"files": saved, "infotexts": result.infotexts, **told(result.notes, result.problems)},
        [str(name) for name in saved],
    )


def run_analyze(options: argparse.Namespace) -> None:
    """Analyze, save grid and table, and print the ranking."""
    from lib_lora.analysis.effective_block import parse_range
    from lib_lora.services.analysis import Fields, analyze, order_of, save, table_name
    from lib_lora.services.file_facts import FileFacts

    examined, others = parse_range(options.range)
    table = options.out / table_name(examined, others)
    if table.exists():
        refuse_existing(table, overwrite=options.overwrite)
    host, progress = open_studio(options), TerminalProgress(quiet=options.json)
    fields = Fields(
        examined,
        others,
        entries=options.blocks,
        seeds=options.seeds,
        threshold=options.threshold,
        colour=options.color,
        gain=options.gain,
        rows=options.rows,
    )
    order = order_of(request_of(options), options.lora, fields, host, FileFacts(host))
    with stopped_by_keyboard(progress):
        whole = analyze(order, host, progress)
    progress.close()
    (found,) = whole.analyses
    tell(found.notes, found.problems)
    options.out.mkdir(parents=True, exist_ok=True)
    grids = [str(path) for path, *_ in save(whole, options.out).grids]
    rows = {row.name: {"percent": row.mean, "spread": row.spread, "modules": row.has_modules} for row in found.rows}
    result = {
        "blocks": rows,
        "noise_floor": found.noise_floor,
        "gain": found.gain,
        "grids": grids,
        "csv": table,
        **told(found.notes, found.problems),
        "finished": found.finished,
    }
    lines = [f"{row.name:>8} {row.mean:8.3f} %" for row in found.ranking()]
    give(options, result, [*lines, f"noise floor {found.noise_floor:.3f} %", *grids, str(table)])
