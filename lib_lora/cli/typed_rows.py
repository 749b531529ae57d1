"""LoRAs as they are typed into a terminal: a file or its name, as in a tag without its brackets."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.services.ingredients import Written

FORM = "LORA:STRENGTH:BLOCKS"
EXAMPLES = "a file or its name, as in a tag without brackets: girl:1:FACE dress:-0.5 style:0.7:1,0,…"


def add_lora_folders(
    command: argparse.ArgumentParser, *, what: str = "names are looked up", usual: str = "this folder"
) -> None:
    """Add the folders that say where ``what``; without one it is the ``usual`` place."""
    command.add_argument(
        "--lora-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help=f"where {what}; may be given several times (default: {usual})",
    )


def typed_rows(
    texts: Iterable[str], folders: list[Path], presets: PresetFile, *, prompt: str | None = None
) -> list[Written]:
    """Return the rows that texts mean, and those of a prompt's tags behind them.

    Raises:
        InputError: there is no such LoRA, or something of it cannot be right.
    """
    from lib_lora.formats.lora_names import file_of_name, named_files
    from lib_lora.services.ingredients import rows_of_prompt, typed_row

    folders = folders or [Path()]
    known = named_files(folders)

    def find(name: str) -> Path:
        return file_of_name(name, folders, known)

    written = [typed_row(text, find, presets, paths=True) for text in texts]
    return written if prompt is None else [*written, *rows_of_prompt(prompt, find, presets)]
