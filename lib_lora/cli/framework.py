"""``dataset-file`` and ``logic``: what CharFramework's folders and logic names say, as files for a training."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_lora.cli.common import give

MEMORY = ("usual", "12gb")


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    one = commands.add_parser(
        "dataset-file",
        help="write the dataset file (TOML) of folders named like 4_krnk/krnk girl, shorthair_f0768",
        description="Write a dataset file of sd-scripts: a subset for each folder, a batch size for each size.",
    )
    one.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="one character's folder, or those of a group")
    one.add_argument("--memory", choices=MEMORY, default="usual", help="batch sizes for 8 GB, or for 12 [usual]")
    one.add_argument(
        "--color-aug", action="store_true", help="change colors by chance, as CharFramework does: steps take longer"
    )
    one.add_argument("--out", type=Path, metavar="FILE", help="default: DIR/DIR.toml of the first folder")
    one.set_defaults(run=dataset)
    other = commands.add_parser(
        "logic",
        help="write a logic name such as “Lora3x3A50p-AdamW8 128 100 1000” as options",
        description="Write what a logic name says: network, alpha, optimizer; dim, rate in millionths, steps.",
    )
    other.add_argument("name", nargs="+", metavar="NAME", help="the name and its numbers")
    other.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the options go, .json")
    other.set_defaults(run=logic)


def dataset(options: argparse.Namespace) -> None:
    """Write the dataset file."""
    from lib_lora.train.framework import dataset_file

    first = options.folders[0]
    out = options.out or first / f"{first.resolve().name}.toml"
    _write(out, dataset_file(options.folders, memory=options.memory, color_aug=options.color_aug))
    give(options, {"out": out}, [f"{out}  (train --dataset-config {out})"])


def logic(options: argparse.Namespace) -> None:
    """Write the options."""
    import json

    from lib_lora.train.framework import logic_options

    values = logic_options(" ".join(options.name))
    _write(options.out, json.dumps(values, indent=1) + "\n")
    give(
        options, {"out": options.out, "options": values}, [f"{options.out}  (train {options.out} --images … --name …)"]
    )


def _write(out: Path, text: str) -> None:
    from lib_lora.atomic import new_file
    from lib_lora.cli.common import refuse_existing

    refuse_existing(out, overwrite=False)
    with new_file(out) as file:
        file.write(text.encode())
