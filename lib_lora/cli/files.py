"""``bake``, ``compress``, ``inspect``, ``label``: what is done to a LoRA file; only ``--base`` loads a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import TerminalProgress, give, presets_of, refuse_existing, say, stopped_by_keyboard
from lib_lora.cli.flags import add_flags, given
from lib_lora.errors import InputError
from lib_lora.options import OVERWRITE, check_names, options_of

if TYPE_CHECKING:
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.merge.report import MergeReport
    from lib_lora.merge.spec import Made, MergeSpec

SOON_READ = 100_000_000
"""Bytes below which a file is read before a progress bar could say anything."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    for add in (_add_bake, _add_compress, _add_finish, _add_inspect, _add_label):
        add(commands)


def _add_bake(commands: argparse._SubParsersAction) -> None:
    from lib_lora.merge.spec import Ingredient, MergeSpec

    bake = commands.add_parser(
        "bake",
        help="write block weights into a file",
        description="Write block weights and strengths into the file, so that it needs no numbers in the prompt.",
    )
    _add_file(bake, out=True)
    add_flags(bake, options_of(Ingredient), also={"blocks": "--weights"})
    bake.add_argument("--presets", type=Path, metavar="FILE", help="block weight presets (default: the shipped ones)")
    add_flags(bake, options_of(MergeSpec))
    _add_base(bake)
    bake.set_defaults(run=run_bake)


def _add_compress(commands: argparse._SubParsersAction) -> None:
    from lib_lora.merge.rank import RULES, RuleOptions
    from lib_lora.merge.spec import MergeSpec

    compress = commands.add_parser(
        "compress",
        help="make a file smaller",
        description="Lower the rank where little is lost. The error of every block is printed.",
    )
    _add_file(compress, out=True)
    add_flags(compress.add_mutually_exclusive_group(required=True), RULES.values())
    add_flags(compress, options_of(RuleOptions, only=("cap",)), also={"cap": "--max-rank"})
    add_flags(compress, options_of(MergeSpec))
    _add_base(compress)
    compress.set_defaults(run=run_compress)


def _add_finish(commands: argparse._SubParsersAction) -> None:
    from lib_lora.services.finish import FinishOptions

    finish = commands.add_parser(
        "finish",
        help="make the file to hand on of a run: FACE, BODY or other block weights baked in, fewer ranks",
        description="Make the file to hand on of a run's LoRA: bake block weights, compress it, or both.",
    )
    finish.add_argument("folder", type=Path, metavar="RUN", help="folder of a run, or one of its files")
    add_flags(finish, options_of(FinishOptions))
    finish.add_argument("--out", type=Path, metavar="FILE", help="default: beside it, named by what is done")
    add_flags(finish, (OVERWRITE,))
    finish.add_argument("--presets", type=Path, metavar="FILE", help="block weight presets, lines of NAME:values")
    _add_base(finish)
    finish.set_defaults(run=run_finish)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="say what is in a file",
        description="Say what a LoRA file holds: blocks, ranks, metadata, stored and computed hash.",
    )
    _add_file(inspect, out=False)
    inspect.set_defaults(run=run_inspect)


def _add_label(commands: argparse._SubParsersAction) -> None:
    from lib_lora.formats.metadata import FIELDS
    from lib_lora.services.labels import LabelOptions

    label = commands.add_parser(
        "label",
        help="write title, trigger words, cover and so on",
        description="Write a copy with other metadata; the tensors stay byte for byte.",
    )
    _add_file(label, out=True)
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


def _add_file(command: argparse.ArgumentParser, *, out: bool) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="LoRA file")
    if out:
        command.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
        add_flags(command, (OVERWRITE,))


def _add_base(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--base",
        type=Path,
        metavar="FILE",
        help="model that a DoRA, OFT or the like was made for: where it cannot stay what it is, its change of this "
        "model is written number by number",
    )


def run_bake(options: argparse.Namespace) -> None:
    """Bake, save, and print the numbers used and the rounding error per block."""
    from lib_lora.merge.spec import Ingredient, MergeSpec, resolve_blocks

    row, presets = Ingredient(options.file, **given(options, options_of(Ingredient))), presets_of(options)
    made, saved = _written(options, MergeSpec((row,), **given(options, options_of(MergeSpec))), presets)
    weights = resolve_blocks(row.blocks, presets, made.lora.family, x=row.x, fill=row.fill)
    more = {"weights": weights.as_dict()} if weights else {}
    _give_merge(options, saved, made, more, [f"weights {weights.format()}"] if weights else [])


def run_compress(options: argparse.Namespace) -> None:
    """Compress, save, and print ranks, sizes and the error per block."""
    from lib_lora.merge.rank import RULES, RankRule, RuleOptions
    from lib_lora.merge.spec import Ingredient, MergeSpec

    ((kind, value),) = given(options, RULES.values()).items()
    rule = RankRule(kind, value, **given(options, options_of(RuleOptions, only=("cap",))))
    order = MergeSpec((Ingredient(options.file),), rule, **given(options, options_of(MergeSpec)))
    made, saved = _written(options, order, None)
    _give_merge(options, saved, made, {}, [])


def run_finish(options: argparse.Namespace) -> None:
    """Make the file to hand on of a run, and print what that did to it."""
    from lib_lora.services.finish import FinishOptions, lora_of, target_of

    lora = lora_of(options.folder)
    options.file, order = lora, FinishOptions(**given(options, options_of(FinishOptions))).order(lora)
    options.out = options.out or target_of(order, lora.parent)
    made, saved = _written(options, order, presets_of(options))
    _give_merge(options, saved, made, {}, [])


def _written(options: argparse.Namespace, order: MergeSpec, presets: PresetFile | None) -> tuple[Made, Path]:
    """Make what the order says, with the model of ``--base`` where one is given, and save it.

    Raises:
        StoppedError: Ctrl-C; no file was written.
    """
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.services import merge

    refuse_existing(options.out, overwrite=options.overwrite)
    model = None
    if options.base is not None:  # our host is slow to load, and all else of a merge works without its packages
        from lib_lora.host.studio import StudioHost

        model = StudioHost.open(options.base).model
    presets = presets or PresetFile.shipped()
    progress = TerminalProgress(quiet=options.json)
    try:
        with stopped_by_keyboard(progress, kept="no file is written"):
            return merge.write(order, options.out, presets, model=model, overwrite=options.overwrite, progress=progress)
    finally:
        progress.close()


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
    sizes = f"{before / 1e6:.2f} MB → {after / 1e6:.2f} MB"
    dropped = f"{len(report.dropped)} modules dropped"
    give(options, result, [*notes, *lines, *block_table(report), dropped, sizes, str(saved)])


def block_table(report: MergeReport) -> list[str]:
    """Return what was done as lines, one for each block under a head."""
    table = [f"{'block':>6} {'modules':>8} {'rank':>11} {'energy kept':>12} {'error':>9}"]
    for name, row in report.by_block().items():
        ranks = f"{row['rank_before']} → {row['rank_after']}"
        table.append(
            f"{name:>6} {row['modules']:>8} {ranks:>11} {row['energy_kept']:>11.2%} {row['relative_error']:>9.1e}"
        )
    return table


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
