"""``generate`` and ``analyze``: pictures from prompts, and which block does what."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import (
    add_host_options,
    give,
    open_studio,
    refuse_existing,
    stoppable,
    tell,
    told,
)
from lib_lora.cli.flags import add_flags, given
from lib_lora.options import OVERWRITE, Option, options_of

if TYPE_CHECKING:
    from PIL import Image

    from lib_lora.services.analysis_order import Found

HOST_ONLY = ("scheduler",)
"""What only a WebUI heeds."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    generate = commands.add_parser(
        "generate",
        help="render pictures from a prompt",
        description="Render pictures. LoRAs are used as in the WebUI: <lora:NAME:1>, <lora:NAME:1:FACE>, "
        "<lora:NAME:0.8:lbw=1,0,…:start=5>.",
    )
    add_flags(generate.add_argument_group("picture"), _picture())
    generate.add_argument("--out", type=Path, required=True, metavar="FILE", help="PNG file; several get -1, -2, …")
    add_flags(generate, (OVERWRITE,))
    add_host_options(generate)
    generate.set_defaults(run=run_generate)
    analyze = commands.add_parser(
        "analyze",
        help="Effective Block Analyzer: which block does what",
        description="Change one block at a time and look what changes in the picture. "
        "The LoRA's tag carries XYZ: <lora:NAME:1:XYZ>; where none does, the first LoRA is analyzed. "
        "Without pictures and without a prompt: --lora NAME --tier norms, or --tier prediction.",
    )
    add_flags(analyze.add_argument_group("picture"), _picture(but="batch"), needed=False)
    add_flags(analyze.add_argument_group("analysis"), _analysis())
    analyze.add_argument("--mask", type=Path, metavar="FILE", help="picture that is white on the subject")
    analyze.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for grids and tables")
    add_flags(analyze, (OVERWRITE,))
    add_host_options(analyze)
    analyze.set_defaults(run=run_analyze)


def _picture(*, but: str = "") -> tuple[Option, ...]:
    from lib_lora.host.request import GenerateRequest

    return options_of(GenerateRequest, but=(*HOST_ONLY, but))


def _analysis() -> tuple[Option, ...]:
    from lib_lora.analysis.options import AnalyzeOptions

    return options_of(AnalyzeOptions)


def run_generate(options: argparse.Namespace) -> None:
    """Render and save."""
    from lib_lora.host.infotext import write_png
    from lib_lora.host.request import GenerateRequest
    from lib_lora.services.pictures import render

    request = GenerateRequest(**given(options, _picture()))
    numbers = range(1, request.batch + 1) if request.batch > 1 else ()
    names = [options.out.with_stem(f"{options.out.stem}-{number}") for number in numbers] or [options.out]
    for name in names:
        refuse_existing(name, overwrite=options.overwrite)
    host, free = open_studio(options), iter(names)

    def save(image: Image.Image, text: str, seed: int) -> Path:
        return write_png(next(free), image, text)

    with stoppable(options) as progress:
        made = render(request, host, progress, save)
    tell(made.notes, made.problems)
    files = [one.path for one in made.pictures]
    result = {"files": files, "infotexts": made.infotexts, **told(made.notes, made.problems)}
    give(options, result, [str(path) for path in files])


def run_analyze(options: argparse.Namespace) -> None:
    """Analyze, save grids and tables, and print the ranking of each range and what each tier says."""
    from lib_lora.analysis.options import AnalyzeOptions
    from lib_lora.analysis.tiers.result import PICTURES
    from lib_lora.data.images import load_picture
    from lib_lora.host.request import GenerateRequest
    from lib_lora.services.analysis_order import analyze_order, order_of, save, table_name
    from lib_lora.services.file_facts import FileFacts

    request = GenerateRequest(**{"prompt": "", **given(options, _picture(but="batch"))})
    chosen = AnalyzeOptions(**given(options, _analysis()))
    tables = [options.out / table_name(*pair) for pair in chosen.ranges] if PICTURES in chosen.tiers else []
    for table in (*tables, *(options.out / f"tier_{tier}.csv" for tier in chosen.tiers)):
        if table.exists():
            refuse_existing(table, overwrite=options.overwrite)
    host = open_studio(options)
    mask = load_picture(options.mask) if options.mask else None
    order = order_of(request, chosen, host, FileFacts(host), mask=mask)
    with stoppable(options) as progress:
        whole = analyze_order(order, host, progress)
    options.out.mkdir(parents=True, exist_ok=True)
    saved = save(whole, options.out)
    result, lines = _told_analysis(saved, host.model.family)
    files = [str(path) for path in saved.files]
    grids = [str(path) for path, *_ in saved.grids]
    table = {"csv": tables[0]} if tables else {}
    give(options, {**result, "grids": grids, **table, "files": files}, [*lines, *files])


def _told_analysis(found: Found, family: str) -> tuple[dict[str, Any], list[str]]:
    """Return what an analysis found as JSON and in lines, and say its notes."""
    from lib_lora.analysis.tiers.agreement import agreements
    from lib_lora.services.analysis_order import answer
    from lib_lora.services.block_tiers import sentence_of, tier_answer

    ranges, lines = [], []
    for one in found.analyses:
        tell(one.notes, one.problems)
        ranges.append({**answer(one), **told(one.notes, one.problems)})
        lines += [f"{row.name:>8} {row.mean:8.3f} %" for row in one.ranking()]
        lines.append(f"noise floor {one.noise_floor:.3f} %")
    tiers = tier_answer(found.tiers, family)
    for result, row in zip(found.tiers, tiers["tiers"], strict=True):
        if not found.analyses:
            tell(result.notes, ())
        said = {one.block: one.said for one in result.rows}
        row |= {"notes": list(result.notes), "sentences": said}
        lines += [f"{result.tier}:", *(f"  {said[block]}" for block in result.ranking())]
    lines += [sentence_of(one) for one in agreements(found.tiers)]
    return {**(ranges[0] if ranges else {}), "ranges": ranges, **tiers}, lines
