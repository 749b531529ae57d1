"""``bake``, ``compress``, ``merge``, ``finish``: new LoRA files from old ones; only ``--base`` loads a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lib_lora.cli.common import NOTHING, add_presets, presets_of, refuse_existing, stoppable
from lib_lora.cli.flags import add_file, add_flags, add_rules, given, given_rule
from lib_lora.cli.merge_table import give_each, give_made
from lib_lora.cli.typed_rows import EXAMPLES, FORM, add_lora_folders, typed_rows
from lib_lora.errors import InputError
from lib_lora.formats.names import ENDING
from lib_lora.options import OVERWRITE, options_of

if TYPE_CHECKING:
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.merge.make import Made
    from lib_lora.merge.spec import MergeSpec

_T = TypeVar("_T")


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    for add in (_add_bake, _add_compress, _add_merge, _add_finish):
        add(commands)


def _add_bake(commands: argparse._SubParsersAction) -> None:
    from lib_lora.merge.spec import Ingredient, MergeSpec

    bake = commands.add_parser(
        "bake",
        help="write block weights into a file",
        description="Write block weights and strengths into the file, so that it needs no numbers in the prompt.",
    )
    add_file(bake, out=True)
    add_flags(bake, options_of(Ingredient), also={"blocks": "--weights"})
    add_presets(bake)
    add_flags(bake, options_of(MergeSpec))
    _add_base(bake)
    bake.set_defaults(run=run_bake)


def _add_compress(commands: argparse._SubParsersAction) -> None:
    from lib_lora.merge.spec import MergeSpec

    compress = commands.add_parser(
        "compress",
        help="make a file smaller",
        description="Lower the rank where little is lost. The error of every block is printed.",
    )
    add_file(compress, out=True)
    add_rules(compress, required=True)
    add_flags(compress, options_of(MergeSpec))
    _add_base(compress)
    compress.set_defaults(run=run_compress)


def _add_merge(commands: argparse._SubParsersAction) -> None:
    from lib_lora.merge.method import MethodOptions
    from lib_lora.merge.spec import MergeSpec

    merge = commands.add_parser(
        "merge",
        help="join LoRAs: sum, TIES, DARE, layer by layer, or one without another",
        description="Join LoRAs into one file, each with its strength and block weights. The sum is exact; with a rule "
        "it is compressed. The loss and how far the LoRAs overlap are printed for every block.",
    )
    merge.add_argument("rows", nargs="*", metavar=FORM, help=EXAMPLES)
    merge.add_argument("--prompt", metavar="TEXT", help="take the LoRA tags of this prompt, as they stand there")
    merge.add_argument("--each", action="store_true", help="one file each instead of one of all")
    merge.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write, with --each its folder (default: named by what is in it)",
    )
    add_flags(merge, (OVERWRITE,))
    merge.add_argument("--preview", action="store_true", help="print the numbers, write nothing")
    add_lora_folders(merge)
    add_presets(merge)
    add_flags(merge, options_of(MethodOptions))
    add_rules(merge)
    add_flags(merge, options_of(MergeSpec))
    _add_base(merge)
    merge.set_defaults(run=run_merge)


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
    add_presets(finish)
    _add_base(finish)
    finish.set_defaults(run=run_finish)


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
    give_made(options, saved, made, lines=[f"weights {weights.format()}"] if weights else [], more=more)


def run_compress(options: argparse.Namespace) -> None:
    """Compress, save, and print ranks, sizes and the error per block."""
    from lib_lora.merge.spec import Ingredient, MergeSpec

    order = MergeSpec((Ingredient(options.file),), given_rule(options), **given(options, options_of(MergeSpec)))
    made, saved = _written(options, order, None)
    give_made(options, saved, made)


def run_finish(options: argparse.Namespace) -> None:
    """Make the file to hand on of a run, and print what that did to it."""
    from lib_lora.services.finish import FinishOptions, lora_of, target_of

    lora = lora_of(options.folder)
    options.file, order = lora, FinishOptions(**given(options, options_of(FinishOptions))).order(lora)
    options.out = options.out or target_of(order, lora.parent)
    made, saved = _written(options, order, presets_of(options))
    give_made(options, saved, made)


def run_merge(options: argparse.Namespace) -> None:
    """Join, save, and print the weights used, how far the LoRAs overlap, and the loss per block."""
    from lib_lora.merge.spec import proposed_name
    from lib_lora.services import merge

    presets = presets_of(options)
    order, notes = _order(options, presets)
    if options.each and options.preview:
        raise InputError("A preview is of one file", where="--each", cure="Leave --each out.")
    if options.each:
        folder = options.out or Path()
        pairs = _with_model(options, lambda **more: merge.write_each(order, folder, presets, **more))
        give_each(options, pairs, notes=notes)
        return
    if options.preview:
        made = _with_model(
            options, lambda model, progress, **_: merge.preview(order, presets, model=model, progress=progress)
        )
        give_made(options, None, made, notes=notes)
        return
    options.out = options.out or Path(f"{proposed_name(order)}{ENDING}")
    made, saved = _written(options, order, presets)
    give_made(options, saved, made, notes=notes)


def _order(options: argparse.Namespace, presets: PresetFile) -> tuple[MergeSpec, list[str]]:
    """Return what is to be joined and how, and what of the tags a file cannot hold."""
    from lib_lora.merge.method import MethodOptions
    from lib_lora.merge.spec import MergeSpec

    written = typed_rows(options.rows, options.lora_dir, presets, prompt=options.prompt)
    method = MethodOptions(**given(options, options_of(MethodOptions)))
    order = MergeSpec(
        tuple(one.row for one in written), given_rule(options), method=method, **given(options, options_of(MergeSpec))
    )
    return order, [note for one in written for note in one.notes]


def _written(options: argparse.Namespace, order: MergeSpec, presets: PresetFile | None) -> tuple[Made, Path]:
    """Make what the order says and save it; see `_with_model`."""
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.services import merge

    refuse_existing(options.out, overwrite=options.overwrite)
    known = presets or PresetFile.shipped()
    return _with_model(options, lambda **more: merge.write(order, options.out, known, **more))


def _with_model(options: argparse.Namespace, work: Callable[..., _T]) -> _T:
    """Do work with the model of ``--base`` where one is given, and with a progress that Ctrl-C stops.

    Raises:
        StoppedError: Ctrl-C; no file was written.
    """
    model = None
    if options.base is not None:  # our host is slow to load, and all else of a merge works without its packages
        from lib_lora.host.studio import StudioHost

        model = StudioHost.open(options.base).model
    with stoppable(options, kept=NOTHING) as progress:
        return work(model=model, overwrite=options.overwrite, progress=progress)
