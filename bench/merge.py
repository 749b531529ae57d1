"""What do work on files and the listing of many cost beside sd-scripts' tools, and which error is made?

    python bench/merge.py --sd-scripts DIR --python DIR/venv/bin/python --json

Both sides get the same files, with the layers of a whole SD1.5 or SDXL model, and one thread each; CPU time of the
whole process is taken, and what the same command takes on a file of one layer (its start) is subtracted and shown.
The error is that of the written file against the exact change, relative, in Frobenius norm. Listing and inspecting have
no other side; they are measured in one process, whose start does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from bench.mergers.material import Layer, layers, write_checkpoints, write_lora_of  # noqa: E402
from lib_lora.formats.lora import read_lora  # noqa: E402
from lib_lora.formats.one_by_one import open_tensors  # noqa: E402


@dataclass(frozen=True)
class Work:
    """One comparison: our command and the tool's, with the folder of the files in place of ``{}``."""

    name: str
    family: str
    files: tuple[str, ...]
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    factors: tuple[float, ...] = ()


PRECISION = ("--save_precision", "fp16")
R128, A64, B64 = "{}/r128.safetensors", "{}/a64.safetensors", "{}/b64.safetensors"
COMPRESS = (
    ("r128",),
    ("compress", R128, "--rank", "32", "--out"),
    ("resize_lora.py", "--model", R128, "--new_rank", "32", *PRECISION, "--save_to"),
    (1.0,),
)
WORKS = (
    Work("compress SD1.5 r128 to r32", "sd1", *COMPRESS),
    Work(
        "svd-merge SD1.5 2 x r64 to r64",
        "sd1",
        ("a64", "b64"),
        ("merge", A64, B64, "--rank", "64", "--out"),
        ("svd_merge_lora.py", "--models", A64, B64, "--ratios", "1", "1", "--new_rank", "64", *PRECISION, "--save_to"),
        (1.0, 1.0),
    ),
    Work(
        "bake SD1.5 r128 at 0.8",
        "sd1",
        ("r128",),
        ("bake", R128, "--strength", "0.8", "--out"),
        ("merge_lora.py", "--models", R128, "--ratios", "0.8", *PRECISION, "--save_to"),
        (0.8,),
    ),
    Work(
        "sum SD1.5 2 x r64",
        "sd1",
        ("a64", "b64"),
        ("merge", A64, B64, "--out"),
        ("merge_lora.py", "--models", A64, B64, "--ratios", "1", "1", "--concat", *PRECISION, "--save_to"),
        (1.0, 1.0),
    ),
    Work(
        "extract SD1.5 r32",
        "sd1",
        (),
        ("extract", "{}/tuned.safetensors", "{}/original.safetensors", "--rank", "32", "--out"),
        ("extract_lora_from_models.py", "--model_tuned", "{}/tuned.safetensors", "--model_org")
        + ("{}/original.safetensors", "--dim", "32", *PRECISION, "--save_to"),
    ),
    Work("compress SDXL r128 to r32", "sdxl", *COMPRESS),
)
LISTING = """
import resource, sys
from pathlib import Path
from lib_lora.formats.contents import contents_of
from lib_lora.formats.inspection import inspection
paths = sorted(Path(sys.argv[2]).glob("*.safetensors"))[: int(sys.argv[3])]
before = resource.getrusage(resource.RUSAGE_SELF)
for path in paths:
    contents_of(path) if sys.argv[1] == "list" else inspection(path)
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""
LISTS = (("list", 500), ("inspect", 300))


def prepare(folder: Path, work: Work, found: list[Layer]) -> Path:
    """Write the files of a work; return their folder."""
    folder.mkdir()
    if not work.files:
        write_checkpoints(folder, found)
    for number, name in enumerate(work.files):
        write_lora_of(folder / f"{name}.safetensors", found, int(name[1:]), seed=number)
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


def wanted(work: Work, folder: Path, found: list[Layer]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the exact change of every module, in fp64."""
    if work.files:
        loras = [read_lora(folder / f"{name}.safetensors") for name in work.files]
        for key in loras[0].adapters:
            pairs = zip(work.factors, loras, strict=True)
            yield key, sum(factor * _delta(one.adapters[key]) for factor, one in pairs)
        return
    with open_tensors(folder / "tuned.safetensors") as new, open_tensors(folder / "original.safetensors") as old:
        for one in found:
            yield one.key, new.tensor(one.tensor).double() - old.tensor(one.tensor).double()


def _delta(adapter: Any) -> torch.Tensor:
    return (adapter.up.double() @ adapter.down.double().flatten(1)) * adapter.scale()


def error(made: Path, exact: Iterator[tuple[str, torch.Tensor]]) -> float:
    """Return the relative error of a file over all modules."""
    adapters, lost, whole = read_lora(made).adapters, 0.0, 0.0
    for key, change in exact:
        got = _delta(adapters[key]) if key in adapters else 0
        lost += float((change - got).square().sum())
        whole += float(change.square().sum())
    return (lost / whole) ** 0.5


def compare(work: Work, options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Return the CPU seconds of both sides without their start, and the errors."""
    found = layers(work.family, every=options.every)
    small, large = prepare(place / "small", work, found[:1]), prepare(place / "large", work, found)
    reference = [options.python, "-m", "bench.mergers.reference", str(Path(options.sd_scripts).resolve())]
    row: dict[str, Any] = {"work": work.name, "layers": len(found)}
    ours = [sys.executable, "-m", "lib_lora"]
    for side, start, parts in (("ours", ours, work.ours), ("theirs", reference, work.theirs)):
        times = []
        for folder in (small, large):
            out = folder / f"{side}.safetensors"
            times.append(seconds([*start, *(part.replace("{}", str(folder)) for part in parts), str(out)]))
        row[side] = {
            "start": times[0],
            "seconds": times[1] - times[0],
            "error": error(out, wanted(work, large, found)),
            "bytes": out.stat().st_size,
        }
    row["ratio"] = row["theirs"]["seconds"] / max(row["ours"]["seconds"], 0.01)
    return row


def listed(name: str, count: int, place: Path) -> dict[str, Any]:
    """Return the CPU seconds of listing or inspecting so many files, each of all layers of SD1.5 at rank 8."""
    first = place / "0000.safetensors"
    write_lora_of(first, layers("sd1"), 8, seed=0)
    for number in range(1, count):
        shutil.copy(first, place / f"{number:04}.safetensors")
    command = [sys.executable, "-c", LISTING, name, str(place), str(count)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    return {"work": f"{name} {count} files", "seconds": float(run.stdout), "bytes": first.stat().st_size}


def main() -> None:
    """Compare every work and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sd-scripts", required=True, help="a checkout of sd-scripts")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with its requirements")
    parser.add_argument("--every", type=int, default=1, help="take every n-th layer only")
    parser.add_argument("--works", nargs="*", default=[""], help="names, or parts of names")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for work in WORKS:
        if any(wish in work.name for wish in options.works):
            with tempfile.TemporaryDirectory() as place:
                rows.append(compare(work, options, Path(place)))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    for name, count in LISTS:
        if any(wish in f"{name} {count} files" for wish in options.works):
            with tempfile.TemporaryDirectory() as place:
                rows.append(listed(name, count, Path(place)))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=1) if options.json else "\n".join(map(_line, rows)))


def _line(row: dict[str, Any]) -> str:
    if "ours" not in row:
        return f"{row['work']}: {row['seconds']:.2f} s"
    sides = ", ".join(
        f"{side} {row[side]['seconds']:.2f} s (start {row[side]['start']:.2f} s), error {row[side]['error']:.2e}"
        for side in ("ours", "theirs")
    )
    return f"{row['work']}, {row['layers']} layers: {row['ratio']:.1f} times less CPU; {sides}"


if __name__ == "__main__":
    main()
