"""Is a LoRA that `make` makes better than the usual recipe? Loss on held-out pictures, drift and size, as ratios.

    python bench/make.py --work FOLDER --json [--characters krnk brlk mzne] [--seeds 0 1 2] [--steps 240]

Three drawn characters on the pocket model: krnk, on whom the recipes were tried, and two others whose pictures are
drawn here. For each seed the usual recipe is trained for as many steps; the mark is a loss that is not worse, a drift
that is at least 30 % lower, and a file of at most a fifth. What is finished in FOLDER is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from lib_lora.process import unset, use_threads  # noqa: E402

os.environ.update(unset())  # before torch is loaded, as the terminal does

from draw_others import OTHERS, write_pictures  # noqa: E402

from lib_lora.cli.common import TerminalProgress, say  # noqa: E402
from lib_lora.host.studio import StudioHost  # noqa: E402
from lib_lora.services.make.lone import LoneMake  # noqa: E402
from lib_lora.services.make.options import MakeOptions  # noqa: E402
from lib_lora.services.make.record import FILE, PROOF, new_make, read_make  # noqa: E402


def measured(host: StudioHost, work: Path, name: str, seed: int, steps: int) -> dict[str, Any]:
    """Make one LoRA, or go on with it, and return its numbers beside those of the usual recipe."""
    folder = work / "runs" / f"{name}_{seed}"
    if (folder / FILE).is_file():
        order = read_make(folder)
    else:
        drawn = write_pictures(name, work / "pictures" / name)
        order = new_make(MakeOptions(str(drawn), name, name=folder.name, steps=steps, seed=seed), folder.parent)
    made = LoneMake.of(order, host, work / "loras").go(TerminalProgress(percent=True), say)
    usual, ours = (made.results[PROOF]["numbers"][way] for way in ("usual", "ours"))
    ratios = {f"{key}_ratio": ours[key] / usual[key] for key in ("subject", "drift", "bytes")}
    return {"character": name, "seed": seed, **ratios, "usual": usual, "ours": ours, "seconds": dict(made.seconds)}


def main() -> None:
    """Make, and print every row and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--characters", nargs="+", choices=tuple(OTHERS), default=list(OTHERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=0, help="of each training; 0 is the recipe's")
    parser.add_argument("--json", action="store_true", help="print JSON, one row a line")
    options = parser.parse_args()
    work = options.work.absolute()
    (work / "loras").mkdir(parents=True, exist_ok=True)
    host = StudioHost.open(None, lora_folders=[work / "loras"])
    use_threads(small=True)
    rows = []
    for name in options.characters:
        for seed in options.seeds:
            rows.append(measured(host, work, name, seed, options.steps))
            show(rows[-1], options.json)
    keys = ("subject_ratio", "drift_ratio", "bytes_ratio")
    show({"median": {key: statistics.median(row[key] for row in rows) for key in keys}}, options.json)


def show(row: Mapping[str, Any], as_json: bool) -> None:
    """Print a row."""
    known = row.get("median", row)
    line = ", ".join(f"{key} {known[key]:.3f}" for key in ("subject_ratio", "drift_ratio", "bytes_ratio"))
    print(json.dumps(row) if as_json else f"{row.get('character', 'median')} {row.get('seed', '')}: {line}", flush=True)


if __name__ == "__main__":
    main()
