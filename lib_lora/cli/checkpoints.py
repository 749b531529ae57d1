"""``extract`` and ``into-checkpoint``: between LoRA files and checkpoints; no model is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from lib_lora.cli.common import NOTHING, add_presets, give, presets_of, size_of, stoppable
from lib_lora.cli.flags import add_flags, add_out, add_rules, given, given_rule
from lib_lora.cli.merge_table import block_table
from lib_lora.cli.typed_rows import EXAMPLES, FORM, add_lora_folders, typed_rows
from lib_lora.options import options_of


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    _add_extract(commands)
    _add_into(commands)


def _add_extract(commands: argparse._SubParsersAction) -> None:
    from lib_lora.merge.extract_spec import ExtractOptions

    extract = commands.add_parser(
        "extract",
        help="make a LoRA of what a tuned checkpoint learned",
        description="Make a LoRA of the difference between a tuned checkpoint and the one that it was tuned from. "
        "Both are read layer by layer; the error of every block is printed.",
    )
    extract.add_argument("tuned", type=Path, metavar="TUNED", help="checkpoint that learned something")
    extract.add_argument("original", type=Path, metavar="ORIGINAL", help="checkpoint that it was tuned from")
    add_out(extract)
    add_rules(extract)
    add_flags(extract, options_of(ExtractOptions))
    extract.set_defaults(run=run_extract)


def _add_into(commands: argparse._SubParsersAction) -> None:
    into = commands.add_parser(
        "into-checkpoint",
        help="write LoRAs into a copy of a checkpoint",
        description="Write a copy of a checkpoint with LoRAs in its weights, as they act live. Other tensors stay byte "
        "for byte, and so do types, order and metadata.",
    )
    into.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="SD1, SD2, SDXL, Flux or Anima .safetensors")
    into.add_argument("loras", nargs="+", metavar=FORM, help=EXAMPLES)
    add_out(into)
    add_lora_folders(into)
    add_presets(into)
    into.set_defaults(run=run_into)


def run_extract(options: argparse.Namespace) -> None:
    """Extract, save, and print ranks, sizes and the error per block."""
    from lib_lora.merge.extract_spec import DEFAULT_RULE, ExtractOptions
    from lib_lora.services import extract

    more = given(options, options_of(ExtractOptions))
    rule = given_rule(options) or DEFAULT_RULE
    order = extract.ExtractSpec(tuned=options.tuned, original=options.original, rule=rule, **more)
    with stoppable(options, kept=NOTHING) as progress:
        made, saved = extract.write(order, options.out, overwrite=bool(options.overwrite), progress=progress)
    report, notes = made.report, [note for _, note in made.notes]
    size = saved.stat().st_size
    result = {
        "file": saved,
        "family": made.lora.family,
        "bytes": size,
        "modules": len(made.lora.adapters),
        "unchanged": len(report.dropped),
        "energy_kept": report.energy_kept,
        "relative_error": report.relative_error,
        "blocks": report.by_block(),
        "notes": notes,
    }
    whole = f"all blocks: energy kept {report.energy_kept:.2%}, error {report.relative_error:.1e}"
    counts = f"{len(made.lora.adapters)} modules, {len(report.dropped)} layers unchanged, {size_of(size)}"
    give(options, result, [*_shown(notes), *block_table(report), whole, counts, str(saved)])


def run_into(options: argparse.Namespace) -> None:
    """Write the checkpoint, and print its hash and what rounding made of each block's change."""
    from lib_lora.services import into_checkpoint

    presets = presets_of(options)
    rows = typed_rows(options.loras, options.lora_dir, presets)
    order = into_checkpoint.IntoSpec(options.checkpoint, tuple(one.row for one in rows))
    with stoppable(options, kept=NOTHING) as progress:
        written = into_checkpoint.write(
            order, options.out, presets, overwrite=bool(options.overwrite), progress=progress
        )
    notes = [note for one in rows for note in one.notes] + [f"{name}: {note}" for name, note in written.plan.notes]
    result = {
        "file": written.path,
        "sha256": written.sha256,
        "bytes": written.report.bytes_after,
        "tensors_changed": len(written.plan.changes),
        "blocks": written.report.by_block(),
        "unmatched": written.plan.unmatched,
        "notes": notes,
    }
    lost = [f"fits no layer: {key}" for keys in written.plan.unmatched.values() for key in keys]
    lines = [*_shown(notes), *lost, *block_table(written.report)]
    give(
        options,
        result,
        [*lines, f"{len(written.plan.changes)} tensors changed, all others as they were"]
        + [f"SHA-256 {written.sha256}", str(written.path)],
    )


def _shown(notes: Iterable[str]) -> list[str]:
    return [f"note: {note}" for note in notes]
