"""Do files that we train load elsewhere, with every key used and the same change of every layer?

    python bench/loads.py --sd-scripts DIR --sd-scripts-python DIR/venv/bin/python --python PYTHON --json
    python bench/loads.py --python PYTHON --loaders lycoris diffusers --kinds dora

Small random models in the layouts of SD1, SD2 and SDXL are trained for a few steps with every kind of network, and the
files are opened by sd-scripts' own network module (and LyCORIS' one for it), by lycoris-lora on bare layers, and by
diffusers. ``--python`` is an interpreter with lycoris-lora, diffusers and PEFT. A row holds when no module of the file
is left over, the loader misses and finds nothing, and each layer's change is ours within 1e-6.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from safetensors.torch import load_file  # noqa: E402

from bench.loaders.ours import FAMILIES, KINDS, digest, write_file, write_model  # noqa: E402

LOADERS = ("sd_scripts", "lycoris_kohya", "lycoris", "diffusers")
OF_SD_SCRIPTS = LOADERS[:2]
SAME = 1e-6
"""Changes that differ by less are the same: a layer's weights are about 0.1."""
REFUSED = {
    ("diffusers", "loha"): "its loader for these pipelines reads LoRA alone",
    ("diffusers", "lokr"): "its loader for these pipelines reads LoRA alone",
    ("diffusers", "dora"): "it drops every length (“filter out the keys”), and loads what is left as a LoRA",
}
"""Loader and kind that do not go together, whoever trained the file."""


def rows_of(family: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each loader and kind, on one family."""
    model = write_model(family, folder)
    paths = [write_file(model, kind, folder) for kind in options.kinds]
    found = []
    for loader in options.loaders:
        answers = _asked(loader, folder, paths, options)
        for kind, path, answer in zip(options.kinds, paths, answers, strict=True):
            row = {"loader": loader, "family": family, "kind": kind, "sha256": digest(load_file(path))}
            found.append({**row, **_judged(loader, kind, path, answer)})
            print(_line(found[-1]), file=sys.stderr, flush=True)
    return found


def _asked(loader: str, folder: Path, paths: list[Path], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what a loader says of each file."""
    python = options.sd_scripts_python if loader in OF_SD_SCRIPTS else options.python
    command = [python, "-m", "bench.loaders.theirs", loader, str(Path(options.sd_scripts).resolve()), str(folder)]
    told = subprocess.run([*command, *map(str, paths)], cwd=ROOT, capture_output=True, text=True)
    if told.returncode:
        sys.exit(f"{loader} could not be asked:\n{told.stderr[-2000:]}")
    if options.verbose:
        print(told.stderr, file=sys.stderr)
    return [json.loads(line) for line in told.stdout.splitlines()]


def _judged(loader: str, kind: str, path: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """Return a row: whether all is used and the same, and what is not."""
    known = REFUSED.get((loader, kind))
    if "refused" in answer:
        return {"holds": known is not None, **answer, **({"known": known} if known else {})}
    left = {word: answer[word] for word in ("unmatched", "missing", "unexpected")}
    ours, theirs = load_file(path.with_name("ours.safetensors")), load_file(path.with_name(f"{loader}.safetensors"))
    gaps = [float((theirs[key].reshape(own.shape) - own).abs().max()) for key, own in ours.items() if key in theirs]
    size = max(float(own.abs().max()) for own in ours.values())
    gap = max(gaps, default=size)
    holds = not any(left.values()) and gap < SAME < size
    row = {"holds": holds or known is not None, "modules": answer["modules"], "largest": size, "gap": gap}
    return row | {word: names for word, names in left.items() if names} | ({"known": known} if known else {})


def recorded(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each family and kind which loaders took every tensor of the file, and the hash of these."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["holds"] and "known" not in row:
            facts = {"modules": row["modules"], "sha256": row["sha256"], "loaders": []}
            found.setdefault(row["family"], {}).setdefault(row["kind"], facts)["loaders"].append(row["loader"])
    return found


def _line(row: dict[str, Any]) -> str:
    place = f"{row['loader']}, {row['family']}, {row['kind']}: "
    if "refused" in row:
        return f"{place}{row.get('known') or row['refused']}"
    left = ", ".join(
        f"{len(row[word])} {word} ({row[word][0]} …)"
        for word in ("unmatched", "missing", "unexpected")
        if row.get(word)
    )
    return f"{place}{row['modules']} modules, change differs by {row['gap']:.1e}{', ' if left else ''}{left}" + (
        f"; {row['known']}" if "known" in row else ""
    )


def main() -> None:
    """Train, have the files loaded, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sd-scripts", default=".", help="a checkout of sd-scripts")
    parser.add_argument("--sd-scripts-python", default=sys.executable, help="an interpreter with its requirements")
    parser.add_argument("--python", default=sys.executable, help="one with lycoris-lora, diffusers and PEFT")
    parser.add_argument("--loaders", nargs="*", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--families", nargs="*", choices=tuple(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--kinds", nargs="*", choices=tuple(KINDS), default=list(KINDS))
    parser.add_argument("--record", type=Path, help="a JSON file for what loads where, which the tests read")
    parser.add_argument("--verbose", action="store_true", help="show what the loaders say themselves")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for family in options.families:
            rows += rows_of(family, Path(place) / family, options)
    if options.record:
        options.record.write_text(json.dumps(recorded(rows), indent=1) + "\n", encoding="utf-8")
    held = all(row["holds"] for row in rows)
    print(json.dumps({"holds": held, "rows": rows}) if options.json else "\n".join(map(_line, rows)))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
