"""A folder of pictures as a training would see it: the scan, the captions, previews with the crop drawn."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lib_lora.data.buckets import BucketPlan
from lib_lora.data.caption_files import Endings, captions_of
from lib_lora.data.dataset import FolderScan, Picture
from lib_lora.data.files import Problem, shown
from lib_lora.data.folder import scan
from lib_lora.data.preview import crop_preview
from lib_lora.errors import AtelierError
from lib_lora.host.base import LoadedModel
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence, say
from lib_lora.services.captions import chosen_by
from lib_lora.services.given_data import data_options, is_dataset_file
from lib_lora.train.encoding import layers_of, mask_folder
from lib_lora.train.options import TrainOptions
from lib_lora.train.pictures import options_for, scan_pictures
from lib_lora.train.training_set import plan_for

KIND = "look"
SHOWN = 60
"""Pictures in the gallery at most."""
CAPTION_LETTERS = 60


@dataclass(frozen=True)
class Found:
    """A folder that was looked at: the scan, each picture's caption file as it is, and which captions are meant.

    ``folder`` may also be a dataset file, which says what folders there are.
    """

    folder: Path
    scan: FolderScan
    captions: dict[Path, str]
    only: str = ""

    @property
    def train(self) -> list[Picture]:
        """The training pictures in their order, each once: several datasets of a file may name its folder."""
        return list({picture.path: picture for picture in reversed(self.scan.train)}.values())[::-1]

    @property
    def endings(self) -> Endings:
        """The endings of each folder's captions."""
        return endings_of(self.scan)

    @property
    def pictures(self) -> list[Path]:
        """The files of `train`."""
        return [picture.path for picture in self.train]

    @property
    def chosen(self) -> list[Path]:
        """Those of the training pictures whose captions the filter takes; all of them without one."""
        return chosen_by(self.captions, self.only)

    @property
    def in_view(self) -> list[Picture]:
        """What the gallery shows of those, row by row: a picture of two datasets twice, as each of them crops it."""
        chosen = set(self.chosen)
        return [picture for picture in self.scan.train if picture.path in chosen]


def look(folder: Path, model: LoadedModel, progress: Progress, *, only: str = "") -> Found:
    """Read a folder of pictures, or those of a dataset file; `only` chooses captions (`caption_filter`).

    Raises:
        InputError: it is no folder, or no picture in it can be used, or the filter is none.
        StoppedError: somebody asked to stop.
    """
    least = model.pixels_per_latent * 8
    if is_dataset_file(folder):
        found = scan_pictures(TrainOptions(name="look", **data_options(folder)), min_side=least, progress=progress)
    else:
        found = scan(folder, min_side=least, progress=progress)
    captions = captions_of((picture.path for picture in found.train), endings_of(found))
    chosen_by(captions, only)  # a filter that is none is told here
    return Found(folder, replace(found, notices=(*found.notices, *_about_endings(found))), captions, only)


def endings_of(found: FolderScan) -> Endings:
    """Return the endings of each folder's captions; where datasets read it by several, those of the first."""
    return {one.path: one.endings for one in reversed(found.folders)}


def _about_endings(found: FolderScan) -> list[Sentence]:
    """Say of which folder's captions only some are edited."""
    several: dict[Path, dict[str, None]] = {}
    for one in found.folders:
        several.setdefault(one.path, {})[one.endings[0]] = None
    return [
        say(
            "{folder}: datasets read captions with different endings here ({endings}); those with {first} are edited",
            folder=shown(folder),
            endings=list(endings),
            first=next(iter(endings)),
        )
        for folder, endings in several.items()
        if len(endings) > 1
    ]


class Previews:
    """Previews with the crop drawn; kept while the file and the plan stay the same."""

    def __init__(self, limit: int = 4 * SHOWN) -> None:
        self._kept: OrderedDict[Any, Image.Image] = OrderedDict()
        self._limit = limit

    def gallery(
        self,
        found: Found,
        model: LoadedModel,
        options: TrainOptions,
        progress: Progress,
        problems: list[Problem] | None = None,
    ) -> list[tuple]:
        """Return (picture, caption) of the chosen ones for the gallery; ``problems`` gets what cannot be shown."""
        rows, meant = [], found.in_view[:SHOWN]
        wrong: dict[Path, Problem] = {}
        for done, picture in enumerate(meant):
            own = options_for(picture, options)
            plan = plan_for(picture.size, model, own)
            preview = self._preview(picture, plan, own, wrong)
            rows.append((preview, _caption(picture.path, found, plan.bucket)))
            progress.passed(done + 1, len(meant), say("drawing previews"))
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        if problems is not None:
            problems += wrong.values()
        return rows

    def _preview(
        self, picture: Picture, plan: BucketPlan, options: TrainOptions, wrong: dict[Path, Problem]
    ) -> Image.Image:
        """Return a preview, without a mask that does not fit; gray where the picture cannot be read any more."""
        for tried in (options, replace(options, masks="")) if options.masks else (options,):
            try:
                return self._drawn(picture, plan, tried)
            except AtelierError as error:
                wrong.setdefault(picture.path, Problem(picture.path, error.what, error.cure))
        return Image.new("RGB", (64, 64), "gray")  # each has its place: a click opens the caption of what stands there

    def _drawn(self, picture: Picture, plan: BucketPlan, options: TrainOptions) -> Image.Image:
        mask = mask_folder(options.masks).find(picture.path) if options.masks else None
        changed = mask.stat().st_mtime_ns if mask is not None and mask.exists() else 0
        looks = (options.background, options.alpha_mask, mask, changed)
        key = (picture.path, picture.digest, plan, looks)
        if key not in self._kept:
            image, veil = layers_of(picture.path, options)
            self._kept[key] = crop_preview(image, plan, mask=veil)
        self._kept.move_to_end(key)
        return self._kept[key]


def _caption(path: Path, found: Found, bucket: tuple[int, int]) -> str:
    text = found.captions.get(path, "")
    short = text if len(text) <= CAPTION_LETTERS else text[: CAPTION_LETTERS - 1] + "…"
    return f"{path.name} · {bucket[0]}×{bucket[1]}" + (f" · {short}" if short else "")
