"""What CharFramework's names say: a data set's file with the batch of each size, and its logic names as options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_lora.data.buckets import Size
from lib_lora.data.dataset import FolderScan, Picture
from lib_lora.data.files import shown
from lib_lora.data.folder import scan
from lib_lora.errors import InputError
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say
from lib_lora.train.toml_files import toml_text

CLASSES = (512, 768, 1024)
"""Sizes of a side: the smallest that it fits into, or the last one."""
BATCHES: Mapping[str, Mapping[Size, int]] = {
    "usual": {(512, 512): 2},
    "12gb": {
        (512, 512): 4,
        (768, 512): 3,
        (512, 768): 3,
        (768, 768): 2,
        (1024, 512): 2,
        (512, 1024): 2,
    },
}
"""Batch size by classes of width and height, for a card of 8 and of 12 GB; all others 1."""

_LOGIC = re.compile(
    r"(?P<network>lora3x3|lora1x1|locon|loha)(?P<alpha>a1|a50p)-(?P<optimizer>adamw8|adafactor|adafacotor)",
    re.IGNORECASE,
)
_EXAMPLE = "Lora3x3A50p-AdamW8 128 100 1000"


def logic_options(text: str) -> dict[str, Any]:
    """Return the options that a logic name says, such as ``Lora3x3A50p-AdamW8 128 100 1000``.

    The numbers are the dim, the learning rate in millionths, and the steps; the text encoder learns with 0.44 of it.

    Raises:
        InputError: it is no such name.
    """
    name, *numbers = text.split() or [""]
    match = _LOGIC.fullmatch(name)
    if match is None or len(numbers) > 3 or not all(one.isdecimal() and int(one) for one in numbers):
        raise InputError(
            "“{value}” is no logic name",
            value=text[:80],
            where="logic",
            cure=say("Write one like {name}.", name=_EXAMPLE),
        )
    dim, rate, steps = (int(one) for one in (*numbers, *("128", "100", "1000")[len(numbers) :]))
    alpha = 1.0 if match["alpha"].lower() == "a1" else float(max(1, dim // 2))
    network = {"lora3x3": "locon", "lora1x1": "lora", "locon": "locon", "loha": "loha"}[match["network"].lower()]
    found: dict[str, Any] = {
        "network": network, "dim": dim, "alpha": alpha, "conv_dim": dim, "conv_alpha": alpha, "steps": steps,
        "seed": 31337, "scheduler": "cosine_with_restarts", "scheduler_cycles": 1,
    }  # fmt: skip
    if match["optimizer"].lower() == "adamw8":
        text_rate = rate * 44 // 100
        found |= {"optimizer": "AdamW8bit", "optimizer_args": {}, "learning_rate": rate / 1_000_000, "unet_ratio": 1.0}
        return found | {"text_encoder_ratio": text_rate / rate}
    arguments = {"relative_step": True, "scale_parameter": True, "warmup_init": False}
    return found | {"optimizer": "AdaFactor", "optimizer_args": arguments, "learning_rate": 0.0}


def size_class(size: Size) -> Size:
    """Return the classes of a picture's width and height."""
    width, height = (next((one for one in CLASSES if side <= one), CLASSES[-1]) for side in size)
    return width, height


def dataset_file(
    folders: Sequence[Path], *, memory: str = "usual", color_aug: bool = False, progress: Progress = QUIET
) -> str:
    """Return a dataset file of sd-scripts for folders named by CharFramework's grammar, several characters or one.

    Every folder with pictures is a subset; those of one class of sizes are a dataset with its batch size. CharFramework
    always changes colors by chance (``color_aug``); that encodes each picture anew in every step.

    Raises:
        InputError: a folder holds no picture, or pictures of several classes.
    """
    found = scan(list(folders), progress=progress)
    datasets: dict[Size, list[dict[str, Any]]] = {}
    for place, pictures in _by_folder(found).items():
        classes = sorted({size_class(picture.size) for picture in pictures})
        if len(classes) > 1:
            raise InputError(
                "The pictures of one folder are of several sizes: {sizes}",
                sizes=[f"{width} x {height}" for width, height in classes],
                where=shown(place),
                cure="Put those of each size into a folder of their own.",
            )
        datasets.setdefault(classes[0], []).append(_subset(place, pictures, found))
    rows = [
        {"resolution": list(size), "batch_size": BATCHES[memory].get(size, 1), "subsets": subsets}
        for size, subsets in sorted(datasets.items())
    ]
    general = {"enable_bucket": True, "bucket_no_upscale": True, "caption_extension": ".txt"}
    general |= {"color_aug": True} if color_aug else {}
    return toml_text({"general": general, "datasets": rows})


def _by_folder(found: FolderScan) -> dict[Path, list[Picture]]:
    rows: dict[Path, list[Picture]] = {}
    for picture in found.train:
        rows.setdefault(picture.path.parent, []).append(picture)
    return rows


def _subset(place: Path, pictures: Sequence[Picture], found: FolderScan) -> dict[str, Any]:
    use = next(one for one in found.folders if one.path == place)
    flip = pictures[0].flip
    subset: dict[str, Any] = {"image_dir": str(place.resolve()), "num_repeats": use.repeats}
    if use.class_tokens:
        subset["class_tokens"] = use.class_tokens
    return subset | {"flip_aug": True if flip is None else flip}
