"""What do compressing, merging, baking and extracting cost beside sd-scripts' tools, and which error do they make?

    python bench/merge.py --sd-scripts DIR --python DIR/venv/bin/python --json

Both sides get the same files, as wide as SD1.5's layers, and one thread each; CPU time of the whole process is taken,
and what the same command takes on a file of one small layer (its start) is subtracted and shown. The error is that of
the written file against the exact change, relative, in Frobenius norm.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from bench.mergers.material import write_checkpoints, write_lora_of  # noqa: E402
from lib_lora.architectures.registry import architecture_of  # noqa: E402
from lib_lora.architectures.stored import stored_layers  # noqa: E402
from lib_lora.formats.files import read_tensors  # noqa: E402
from lib_lora.formats.lora import LoraFile, read_lora  # noqa: E402

OURS = """
import sys; from pathlib import Path
from lib_lora.blocks.presets import PresetFile; from lib_lora.merge.rank import RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec; from lib_lora.services import merge
a, b, rank, out = sys.argv[1:]
order = MergeSpec((Ingredient(Path(a)), Ingredient(Path(b))), RankRule("rank", int(rank)))
merge.write(order, Path(out), PresetFile.parse(""))
"""
"""Merging two files to a rank."""


@dataclass(frozen=True)
class Work:
    """One comparison: our command and the tool's, with the folder of the files in place of ``{}``."""

    name: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


PRECISION = ("--save_precision", "fp16")
WORKS = (
    Work(
        "compress r128 to r32",
        ("-m", "lib_lora", "compress", "{}/r128.safetensors", "--rank", "32", "--out"),
        ("resize_lora.py", "--model", "{}/r128.safetensors", "--new_rank", "32", *PRECISION, "--save_to"),
    ),
    Work(
        "merge 2 x r64 to r64",
        ("-c", OURS, "{}/a64.safetensors", "{}/b64.safetensors", "64"),
        ("svd_merge_lora.py", "--models", "{}/a64.safetensors", "{}/b64.safetensors", "--ratios", "1", "1")
        + ("--new_rank", "64", *PRECISION, "--save_to"),
    ),
    Work(
        "bake r128 at 0.8",
        ("-m", "lib_lora", "bake", "{}/r128.safetensors", "--strength", "0.8", "--out"),
        ("merge_lora.py", "--models", "{}/r128.safetensors", "--ratios", "0.8", *PRECISION, "--save_to"),
    ),
    Work(
        "extract r32",
        ("-m", "lib_lora", "extract", "{}/tuned.safetensors", "{}/original.safetensors", "--rank", "32", "--out"),
        ("extract_lora_from_models.py", "--model_tuned", "{}/tuned.safetensors", "--model_org")
        + ("{}/original.safetensors", "--dim", "32", *PRECISION, "--save_to"),
    ),
)


def prepare(folder: Path, count: int) -> Path:
    """Write the files of one size; return their folder."""
    folder.mkdir()
    write_checkpoints(folder, count)
    for number, (name, rank) in enumerate((("r128", 128), ("a64", 64), ("b64", 64))):
        write_lora_of(folder / f"{name}.safetensors", count, rank, seed=number)
    return folder


def seconds(command: list[str]) -> float:
    """Return the CPU seconds of a process with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    run = subprocess.run(command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wanted(work: Work, folder: Path) -> dict[str, torch.Tensor]:
    """Return the exact change of every module, in fp64."""
    if work.name.startswith("extract"):
        new, old = (read_tensors(folder / f"{name}.safetensors")[0] for name in ("tuned", "original"))
        table = stored_layers(architecture_of("sd1"), new)
        return {key: new[str(one.weight)].double() - old[str(one.weight)].double() for key, one in table.items()}
    files = ("a64", "b64") if work.name.startswith("merge") else ("r128",)
    loras = [read_lora(folder / f"{name}.safetensors") for name in files]
    factor = 0.8 if work.name.startswith("bake") else 1.0
    return {key: factor * sum(one.adapters[key].delta().double() for one in loras) for key in loras[0].adapters}


def error(made: LoraFile, exact: dict[str, torch.Tensor]) -> float:
    """Return the relative error of a file over all modules."""
    lost = sum(
        float((change - (made.adapters[key].delta().double() if key in made.adapters else 0)).square().sum())
        for key, change in exact.items()
    )
    return (lost / sum(float(change.square().sum()) for change in exact.values())) ** 0.5


def compare(work: Work, options: argparse.Namespace, small: Path, large: Path) -> dict[str, Any]:
    """Return the CPU seconds of both sides without their start, and the errors."""
    reference = [
        options.python,
        "-m",
        "bench.mergers.reference",
        str(Path(options.sd_scripts).resolve()),
    ]
    row: dict[str, Any] = {"work": work.name}
    exact = wanted(work, large)
    for side, start, parts in (("ours", [sys.executable], work.ours), ("theirs", reference, work.theirs)):
        times = []
        for folder in (small, large):
            out = folder / f"{side}-{work.name.split()[0]}.safetensors"
            times.append(seconds([*start, *(part.replace("{}", str(folder)) for part in parts), str(out)]))
        row[side] = {"start": times[0], "seconds": times[1] - times[0], "error": error(read_lora(out), exact)}
    row["ratio"] = row["theirs"]["seconds"] / max(row["ours"]["seconds"], 0.01)
    return row


def main() -> None:
    """Compare every work and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sd-scripts", required=True, help="a checkout of sd-scripts")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with its requirements")
    parser.add_argument(
        "--layers", type=int, default=24, help="layers of the UNet, up to 24: a third each of 320, 640, 1280"
    )
    parser.add_argument("--works", nargs="*", default=[""], help="names, or parts of names")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        small, large = prepare(Path(place) / "small", 1), prepare(Path(place) / "large", options.layers)
        rows = []
        for work in WORKS:
            if any(wish in work.name for wish in options.works):
                rows.append(compare(work, options, small, large))
                print(_line(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"layers": options.layers, "works": rows}) if options.json else "\n".join(map(_line, rows)))


def _line(row: dict[str, Any]) -> str:
    sides = ", ".join(
        f"{side} {row[side]['seconds']:.2f} s (start {row[side]['start']:.2f} s), error {row[side]['error']:.2e}"
        for side in ("ours", "theirs")
    )
    return f"{row['work']}: {row['ratio']:.1f} times less CPU; {sides}"


if __name__ == "__main__":
    main()
