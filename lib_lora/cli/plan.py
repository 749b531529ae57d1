"""``plan``: which block weights to try next, as texts for this program and for others."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from lib_lora.cli.common import add_presets, give, presets_of, say
from lib_lora.cli.flags import add_flags, given
from lib_lora.options import options_of


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    from lib_lora.services.block_plan import PlanOptions

    plan = commands.add_parser(
        "plan",
        help="block weights to try next: one block less or more at a time",
        description="Write down block weights with one block less or more at a time: as preset lines, as values for "
        "Prompt S/R, as blocks for the analyzer, as sd-scripts' learning rates. What --fix names stays as it is.",
    )
    (vector,) = options_of(PlanOptions, only=("vector",))
    plan.add_argument("vector", metavar=vector.form, help=vector.help.replace("%", "%%"))
    add_flags(plan, options_of(PlanOptions, but=("vector",)))
    plan.add_argument("--lora", type=Path, metavar="FILE", help="LoRA file: blocks in which it has nothing are fixed")
    add_presets(plan)
    plan.set_defaults(run=run_plan)


def run_plan(options: argparse.Namespace) -> None:
    """Print a plan."""
    from lib_lora.services.block_plan import PlanOptions, answer, plan_of

    typed = given(options, options_of(PlanOptions, but=("vector",)))
    wanted, present = PlanOptions(options.vector, **typed), None
    if options.lora:
        from lib_lora.formats.contents import contents_of

        contents = contents_of(options.lora)
        present = contents.blocks()
        wanted = wanted if wanted.family else replace(wanted, family=contents.family)
    planned = plan_of(wanted, presets_of(options), present=present)
    result = answer(planned)
    if not options.json:
        for note in planned.notes:
            say(f"note: {note}")
    lines = [f"# base  {planned.line}", "", *result["presets"], ""]
    lines += [f"Prompt S/R           {result['prompt_sr']}"]
    lines += [f"Prompt S/R (lbw=)    {result['prompt_sr_safe']}"]
    lines += [f"analyzer blocks      {result['eba_blocks'] or 'none: every block is fixed'}"]
    lines += [f"sd-scripts           {result['lr_weight'] or 'has no rates for this family'}"]
    for length, text in result["layouts"].items():
        lost = f"   (no place for {', '.join(result['lost'][length])})" if length in result["lost"] else ""
        lines.append(f"{length:>2} values            {text}{lost}")
    give(options, {**result, "notes": list(planned.notes)}, lines)
