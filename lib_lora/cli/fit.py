"""``fit``: find the block weights of a LoRA that keep its subject and change the model least."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_lora.cli.common import (
    add_host_options,
    give,
    open_studio,
    refuse_existing,
    stoppable,
    tell,
)
from lib_lora.cli.flags import add_flags, given
from lib_lora.options import OVERWRITE, Option, options_of


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    fit = commands.add_parser(
        "fit",
        help="find the block weights that keep the subject and change the model least",
        description="Ask the model, with each block of the LoRA moved a little, what it says to the training pictures "
        "and to captions of other things; find the weights of least change that keep as much of the subject as --keep "
        "says. What was gained and lost is measured on pictures and captions that were not learned from, and drawn: a "
        "picture beside FILE shows the same seeds without the LoRA, with all of it, and with the weights. Ctrl-C keeps "
        "the rounds that are done; the same command goes on from there.",
    )
    add_flags(fit.add_argument_group("search"), _options())
    fit.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON file for what was found")
    add_flags(fit, (OVERWRITE,))
    add_host_options(fit)
    fit.set_defaults(run=run)


def _options() -> tuple[Option, ...]:
    from lib_lora.analysis.fit.options import FitOptions

    return options_of(FitOptions)


def run(options: argparse.Namespace) -> None:
    """Search, save, draw, and print the vector, the tag and the table."""
    from lib_lora.analysis.fit.options import FitOptions
    from lib_lora.services.fit_order import draw, fit_weights, save
    from lib_lora.services.fitted import table_of, told

    chosen = FitOptions(**given(options, _options()))
    picture = options.out.with_name(f"{options.out.stem}_before_after.png")
    for path in (options.out, *([picture] if chosen.seeds else ())):
        refuse_existing(path, overwrite=options.overwrite)
    host = open_studio(options)
    record = options.out.with_name(f"{options.out.name}.rounds")
    kept = "the rounds that are done are kept, and the same command goes on from there"
    with stoppable(options, kept=kept) as progress:
        found = fit_weights(chosen, host, progress, record=record)
        save(found, options.out)
        record.unlink(missing_ok=True)
        found = draw(found, chosen, host, picture, progress)
    tell(found.notes, ())
    result = {**told(found), "file": options.out, "picture": found.picture}
    files = [str(path) for path in (options.out, found.picture) if path is not None]
    give(options, result, [found.said, found.compared, *table_of(found), found.tag, *files])
