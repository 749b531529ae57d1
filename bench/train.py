"""Does a step of ours lose what a step of sd-scripts loses, and what do both cost?

    python bench/train.py --sd-scripts DIR --python DIR/venv/bin/python --json
    python bench/train.py --sd-scripts DIR --cases cost --shape sd15 --steps 6 --json

Both sides train the same random model on the same latents, noise, timesteps and captions: ours with the program's own
loop, the reference with its own UNet, network module, loss, optimizer and scheduler. They take turns step by step, so
that the machine's other work slows both alike. ``--python`` is an interpreter that has what sd-scripts needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.trainers.cases import CASES, Case  # noqa: E402
from bench.trainers.model import SIDES, TOKENIZER, WIDTHS, text_config, write_model  # noqa: E402
from bench.trainers.process import Side  # noqa: E402

ALIKE = 1e-5
"""Losses that differ by less, relative to the reference's, are taken for equal."""


def compare(case: Case, options: argparse.Namespace, ours: Side, theirs: Side) -> dict[str, Any]:
    """Return the losses of both sides, step by step, and what a step costs."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(folder, options.shape, case.predicts)
        (folder / "case.json").write_text(json.dumps(_given(case, options)), encoding="utf-8")
        ours.open(place)
        theirs.open(place)  # it begins with the numbers that ours wrote down
        rows = [(ours.step(number), theirs.step(number)) for number in range(options.steps)]
    gaps = [abs(own["loss"] - other["loss"]) / abs(other["loss"]) for own, other in rows]
    timed = rows[1:] or rows  # the first step warms up
    return {
        "case": case.name,
        "max_loss_difference": max(gaps),
        "alike": max(gaps) < ALIKE,
        "time_ratio": statistics.median(own["seconds"] / other["seconds"] for own, other in timed),
        "memory_ratio": rows[-1][0]["memory"] / rows[-1][1]["memory"],
        "seconds": [statistics.median(row[side]["seconds"] for row in timed) for side in (0, 1)],
        "memory": [rows[-1][side]["memory"] for side in (0, 1)],
        **({"reference_mended": case.mended} if case.mended else {}),
    }


def _rows(chosen: list[Case], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each case; one that a side cannot make says so, and the others go on."""
    ours = Side(sys.executable, "bench.trainers.ours")
    theirs = Side(options.python, "bench.trainers.reference")
    rows: list[dict[str, Any]] = []
    try:
        for case in chosen:
            try:
                rows.append(compare(case, options, ours, theirs))
            except (RuntimeError, OSError) as error:
                rows.append({"case": case.name, "failed": str(error)})
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    finally:
        ours.close()
        theirs.close()
    return rows


def _given(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Return what both sides read."""
    return {
        "ours": {**case.options(), "steps": options.steps, "batch_size": options.batch},
        "theirs": {**case.arguments(), "max_train_steps": options.steps, "train_batch_size": options.batch},
        "network_args": case.network_args,
        "captions": case.captions,
        "mended": case.mended,
        "steps": options.steps,
        "side": options.side or SIDES[options.shape],
        "widths": WIDTHS[options.shape],
        "text": text_config(options.shape),
        "tokenizer": str(TOKENIZER),
        "reference": str(Path(options.sd_scripts).resolve()),
        "device": options.device,
        "dtype": options.dtype,
    }


def main() -> None:
    """Compare the chosen cases and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sd-scripts", required=True, help="a checkout of sd-scripts")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with its requirements")
    parser.add_argument("--cases", nargs="*", default=["losses"], help="names, or parts of names, of the table's rows")
    parser.add_argument("--shape", choices=tuple(WIDTHS), default="small")
    parser.add_argument("--side", type=int, default=0, help="latent side; 0: the shape's own")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = [case for case in CASES if any(wish in case.name for wish in options.cases)]
    if not chosen:
        sys.exit("No case has such a name; there are: " + ", ".join(case.name for case in CASES))
    rows = _rows(chosen, options)
    made = [row for row in rows if "failed" not in row]
    found: dict[str, Any] = {"cases": rows, "failed": [row["case"] for row in rows if "failed" in row]}
    if made:
        found["max_loss_difference"] = max(row["max_loss_difference"] for row in made)
        found["time_ratio"] = statistics.median(row["time_ratio"] for row in made)
        found["memory_ratio"] = statistics.median(row["memory_ratio"] for row in made)
    print(json.dumps(found) if options.json else "\n".join(map(_line, rows)))
    sys.exit(0 if made and not found["failed"] and all(row["alike"] for row in made) else 1)


def _line(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"{row['case']}: {row['failed']}"
    return (
        f"{row['case']}: losses differ by {row['max_loss_difference']:.1e} at most, "
        f"time {row['time_ratio']:.2f}, memory {row['memory_ratio']:.2f}"
    )


if __name__ == "__main__":
    main()
