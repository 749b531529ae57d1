"""``bake``, ``compress``, ``inspect``, ``label``: what is done to a LoRA file; only ``--base`` loads a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import give, presets_of, refuse_existing, say
from lib_lora.errors import InputError

if TYPE_CHECKING:
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.merge.order import Made, Order


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    for add in (_add_bake, _add_compress, _add_inspect, _add_label):
        add(commands)


def _add_bake(commands: argparse._SubParsersAction) -> None:
    bake = commands.add_parser(
        "bake",
        help="write block weights into a file",
        description="Write block weights and strengths into the file, so that it needs no numbers in the prompt.",
    )
    _add_file(bake, out=True)
    bake.add_argument(
        "--weights",
        default="ALL",
        metavar="NAME|V,V,…",
        help="preset, or as many numbers as the family has blocks (default: %(default)s)",
    )
    bake.add_argument(
        "--te", type=float, default=1.0, help="strength of the text encoder, times BASE (default: %(default)s)"
    )
    bake.add_argument("--unet", type=float, default=1.0, help="strength of the UNet (default: %(default)s)")
    bake.add_argument(
        "--other", type=float, help="weight of layers outside all blocks (default: 1, or 0 if all weights are 0)"
    )
    bake.add_argument("--x", type=float, default=1.0, help="value of X in the weights (default: %(default)s)")
    bake.add_argument(
        "--fill",
        type=float,
        default=0.0,
        help="weight of blocks that a shorter vector does not name (default: %(default)s)",
    )
    bake.add_argument("--presets", type=Path, metavar="FILE", help="block weight presets (default: the shipped ones)")
    _add_precision(bake)
    _add_base(bake)
    bake.set_defaults(run=run_bake)


def _add_compress(commands: argparse._SubParsersAction) -> None:
    compress = commands.add_parser(
        "compress",
        help="make a file smaller",
        description="Lower the rank where little is lost. The error of every block is printed.",
    )
    _add_file(compress, out=True)
    rule = compress.add_mutually_exclusive_group(required=True)
    rule.add_argument("--rank", type=int, metavar="N", help="keep N directions of every module")
    rule.add_argument(
        "--sv-ratio", type=float, metavar="R", help="keep singular values above the largest divided by R (16 is usual)"
    )
    rule.add_argument(
        "--energy", type=float, metavar="E", help="keep this share of the squared singular values, 0 to 1"
    )
    rule.add_argument(
        "--cumulative", type=float, metavar="C", help="keep this share of the sum of singular values, 0 to 1"
    )
    compress.add_argument("--max-rank", type=int, metavar="N", help="keep at most N directions")
    _add_precision(compress)
    _add_base(compress)
    compress.set_defaults(run=run_compress)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="say what is in a file",
        description="Say what a LoRA file holds: blocks, ranks, metadata, stored and computed hash.",
    )
    _add_file(inspect, out=False)
    inspect.set_defaults(run=run_inspect)


def _add_label(commands: argparse._SubParsersAction) -> None:
    label = commands.add_parser(
        "label",
        help="write title, trigger words and so on",
        description="Write a copy with other metadata; the tensors stay byte for byte.",
    )
    _add_file(label, out=True)
    label.add_argument(
        "--set",
        dest="changes",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="title, trigger_words, author, description, tags, usage_hint, source_url, notes; an empty value removes",
    )
    label.add_argument(
        "--remove-private",
        action="store_true",
        help="also remove folder names, caption tags and other traces of the training",
    )
    label.set_defaults(run=run_label)


def _add_file(command: argparse.ArgumentParser, *, out: bool) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="LoRA file")
    if out:
        command.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
        command.add_argument("--overwrite", action="store_true", help="replace an existing file")


def _add_base(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--base",
        type=Path,
        metavar="FILE",
        help="model that a DoRA, OFT or the like was made for: where it cannot stay what it is, its change of this "
        "model is written number by number",
    )


def _add_precision(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precision", choices=("fp16", "bf16", "fp32"), help="precision of the new file (default: as it was)"
    )


def run_bake(options: argparse.Namespace) -> None:
    """Bake, save, and print the numbers used and the rounding error per block."""
    from lib_lora.merge.order import Ingredient, Order, resolve_blocks

    text, presets = options.weights.strip() or "ALL", presets_of(options)
    given = {"te": options.te, "unet": options.unet, "other": options.other, "x": options.x, "fill": options.fill}
    order = Order((Ingredient(options.file, blocks=text, **given),), precision=options.precision)
    made, saved = _written(options, order, presets)
    weights = resolve_blocks(text, presets, made.lora.family, x=options.x, fill=options.fill)
    _give_merge(options, saved, made, {"weights": weights.as_dict()}, [f"weights {weights.format()}"])


def run_compress(options: argparse.Namespace) -> None:
    """Compress, save, and print ranks, sizes and the error per block."""
    from lib_lora.merge.order import Ingredient, Order
    from lib_lora.merge.rank import RankRule

    given = {
        "rank": options.rank,
        "sv_ratio": options.sv_ratio,
        "energy": options.energy,
        "cumulative": options.cumulative,
    }
    kind, value = next((kind, value) for kind, value in given.items() if value is not None)
    rule = RankRule(kind, value, cap=options.max_rank)
    made, saved = _written(options, Order((Ingredient(options.file),), rule, options.precision), None)
    _give_merge(options, saved, made, {}, [])


def _written(options: argparse.Namespace, order: Order, presets: PresetFile | None) -> tuple[Made, Path]:
    """Make what the order says, with the model of ``--base`` where one is given, and save it."""
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.host.studio import StudioHost
    from lib_lora.services import merge

    refuse_existing(options.out, overwrite=options.overwrite)
    model = None if options.base is None else StudioHost.open(options.base).model
    presets = presets or PresetFile.shipped()
    return merge.write(order, options.out, presets, model=model, overwrite=options.overwrite)


def _give_merge(options: argparse.Namespace, saved: Path, made: Made, more: dict[str, Any], lines: list[str]) -> None:
    """Print what a merge did: the file, its size, a row a block, and what was assumed on reading."""
    report, notes = made.report, [note for _, note in made.notes]
    before, after = options.file.stat().st_size, saved.stat().st_size
    rows = report.by_block()
    result = {
        "file": saved,
        "bytes_before": before,
        "bytes_after": after,
        "dropped": len(report.dropped),
        "blocks": rows,
        **more,
        "notes": notes,
    }
    table = [f"{'block':>6} {'modules':>8} {'rank':>11} {'energy kept':>12} {'error':>9}"]
    for name, row in rows.items():
        ranks = f"{row['rank_before']} → {row['rank_after']}"
        table.append(
            f"{name:>6} {row['modules']:>8} {ranks:>11} {row['energy_kept']:>11.2%} {row['relative_error']:>9.1e}"
        )
    sizes = f"{before / 1e6:.2f} MB → {after / 1e6:.2f} MB"
    give(options, result, [*notes, *lines, *table, f"{len(report.dropped)} modules dropped", sizes, str(saved)])


def run_inspect(options: argparse.Namespace) -> None:
    """Read the file and say what is in it; any kind of LoRA can be described."""
    from lib_lora.formats.inspection import inspection

    result = {"file": options.file, **inspection(options.file)}
    lines = [
        f"{options.file.name}: {result['family']}, {', '.join(result['kinds'])}, {result['modules']} modules, "
        f"{result['bytes'] / 1e6:.2f} MB"
    ]
    for block, facts in result["blocks"].items():
        low, high = facts["lowest_rank"], facts["highest_rank"]
        ranks = "" if low is None else f"  rank {low}" if low == high else f"  rank {low} to {high}"
        lines.append(f"{block:>6}  {facts['modules']:>3} modules{ranks}")
    lines += [f"{name}: {text}" for name, text in (*result["fields"].items(), *result["facts"].items()) if text]
    computed, stored = result["hash"]["computed"], result["hash"]["stored"]
    same = "as stored" if computed == stored else f"stored: {stored[:12] or 'none'}"
    give(
        options,
        result,
        [*lines, f"hash {computed[:12] or '-'} ({same})", *(f"note: {note}" for note in result["notes"])],
    )


def run_label(options: argparse.Namespace) -> None:
    """Write a copy with other metadata."""
    from lib_lora.formats.header import read_header
    from lib_lora.formats.metadata import describe, relabel_file

    refuse_existing(options.out, overwrite=options.overwrite)
    changes: dict[str, str] = {}
    for text in options.changes:
        key, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"“{text}” is not key=value", where="--set", cure='For example --set title="My LoRA".')
        changes[key] = value
    if not changes and not options.remove_private:
        raise InputError("Nothing is to be changed", where="label", cure="Give --set key=value or --remove-private.")
    saved = relabel_file(
        options.file, options.out, changes, private=not options.remove_private, overwrite=options.overwrite
    )
    fields = describe(read_header(saved).metadata).fields
    say("the tensors are unchanged, and so is the hash that WebUI and Civitai show")
    give(
        options,
        {"file": saved, "fields": fields},
        [*(f"{name}: {text}" for name, text in fields.items() if text), str(saved)],
    )
