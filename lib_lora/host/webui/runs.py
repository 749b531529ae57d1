"""Which LoRA files were saved by one training, by what it wrote into them and how it named them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_ON_THE_WAY = re.compile(r"-(?:\d{6}|step\d{8})$")
"""How the files end that a training saves after an epoch or where it was stopped; kohya's end alike."""


def run_of(name: str, metadata: Mapping[str, str]) -> str:
    """Return the name of the run that saved a file: its own name without the epoch, or what ours wrote into it."""
    stem = _ON_THE_WAY.sub("", name)
    if stem == name and "atelier_options" in metadata:  # a file of ours that was renamed
        return metadata.get("ss_output_name") or name
    return stem


def files_of_runs(files: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the runs that left at least two files, each with its files' names in the order of the training.

    Args:
        files: every file's name with its metadata.
    """
    runs: dict[str, list[str]] = {}
    for name, metadata in files.items():
        runs.setdefault(run_of(name, metadata), []).append(name)
    return {run: in_order(names, run) for run, names in sorted(runs.items()) if len(names) > 1}


def in_order(names: Iterable[str], run: str) -> list[str]:
    """Return the files by epoch or step, the finished one last."""
    return sorted(names, key=lambda name: (name == run, _ON_THE_WAY.search(name) is None, name))
