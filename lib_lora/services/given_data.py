"""What somebody gives as a training's pictures: a folder, or a dataset file of sd-scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.train.dataset_config import read_dataset_config

if TYPE_CHECKING:
    from lib_lora.services.atelier import Folders

ENDINGS = (".toml", ".json")


def is_dataset_file(place: Path) -> bool:
    """Whether a place is a dataset file, or is meant for one."""
    return place.suffix.lower() in ENDINGS and not place.is_dir()


def data_options(place: Path) -> dict[str, Any]:
    """Return the options that say which pictures are trained."""
    if is_dataset_file(place):
        return {"images": "", "dataset_config": str(place)}
    return {"images": str(place), "dataset_config": ""}


def check_dataset_file(folders: Folders, path: Path) -> None:
    """Refuse a dataset file that cannot be read, or that names a folder which may not be used.

    Raises:
        InputError: naming the place in the file, or the folder; FileError: it cannot be read.
    """
    for subsets in read_dataset_config(path).datasets:
        for subset in subsets:
            for place in filter(None, (subset.folder, dict(subset.own).get("masks"))):
                folders.allowed(Path(place), where="dataset_config")
