"""What a run is about: its pictures, its name, what it shall teach."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import REQUIRED, option
from lib_lora.train.recipes import KINDS


@dataclass(frozen=True)
class SubjectOptions:
    """See `TrainOptions`."""

    images: str = option(
        REQUIRED,
        "Folder of pictures",
        "6 to 60 pictures are usual; their folder may have sub-folders named like 10_name.",
        form="DIR",
    )
    name: str = option(REQUIRED, "Name", "Name of the run and of the LoRA file.")
    dataset_config: str = option(
        "",
        "Dataset file",
        "A dataset file of sd-scripts (.toml, .json) in place of a folder: several folders, sizes and batches.",
        form="FILE",
    )
    trigger: str = option(
        "",
        "Trigger word",
        "A made-up word that calls what was learned, e.g. krnk. It stands first in every caption.",
    )
    kind: str = option(
        "character", "It is a …", "Chooses the recipe: how it learns, and for how long.", choices=tuple(KINDS)
    )
