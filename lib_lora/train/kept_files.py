"""LoRA files that a run stands on are copied into its folder: it can be moved, and resumed when they are gone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from lib_lora.atomic import cure_of
from lib_lora.errors import FileError
from lib_lora.train.options import TrainOptions
from lib_lora.train.options.network import split_strength
from lib_lora.train.run_folder import BEGUN_FROM, RunFolder


def with_copies(options: TrainOptions, folder: RunFolder) -> TrainOptions:
    """Return options that name the copies in the run's folder, where there are some."""
    first, *others = (_copy(folder, number, path) for number, path in enumerate(_files(options)))
    strengths = [split_strength(text)[1] for text in options.base_loras]
    base = tuple(f"{path}:{strength!r}" for path, strength in zip(others, strengths, strict=True))
    return replace(options, continue_from=str(first) if options.continue_from else "", base_loras=base)


def keep_copies(options: TrainOptions, folder: RunFolder) -> None:
    """Copy the files into the run's folder, each once.

    Raises:
        FileError: the disk refuses.
    """
    for number, path in enumerate(_files(options)):
        target = _place(folder, number, path)
        if not path or target.exists():
            continue
        try:
            target.parent.mkdir(exist_ok=True)
            half = target.with_suffix(".part")
            shutil.copyfile(path, half)
            half.replace(target)
        except OSError as error:
            raise FileError(
                "The LoRA cannot be copied into the run's folder ({reason})",
                reason=error,
                where=str(target),
                cure=cure_of(error),
            ) from error


def _files(options: TrainOptions) -> list[str]:
    return [options.continue_from, *(split_strength(text)[0] for text in options.base_loras)]


def _place(folder: RunFolder, number: int, path: str) -> Path:
    return folder.path / BEGUN_FROM / f"{number}-{Path(path).name}"


def _copy(folder: RunFolder, number: int, path: str) -> str:
    """Return where a file is read from: the copy where it was made, else the place that was named."""
    place = _place(folder, number, path)
    return str(place) if path and place.is_file() else path
