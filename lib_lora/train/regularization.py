"""Regularization pictures that the model itself draws: what of, where they are kept, which are missing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.atomic import cure_of, replace_file
from lib_lora.data.dataset import Picture
from lib_lora.data.folder import count_pictures
from lib_lora.data.kinds import kind_of
from lib_lora.data.leaves import Source
from lib_lora.errors import FileError, InputError
from lib_lora.host.base import LoadedModel
from lib_lora.host.in_groups import Wish
from lib_lora.host.request import LARGEST_SEED, GenerateRequest
from lib_lora.sentences import Sentence, say
from lib_lora.train.option_checks import prompts_of
from lib_lora.train.options import TrainOptions
from lib_lora.train.recipes import facts_of
from lib_lora.train.run_folder import REGULARIZATION, REGULARIZATION_HALF
from lib_lora.train.training_set import Sample, training_size
from lib_lora.walk import list_folder

FOLDER = ".regularization"
"""Beside the runs, shared by all of them; what lies there is never drawn again.

It may be deleted at any time: a run keeps those that it learns from in its own folder.
"""
NEXT = ".next"
"""In a folder of drawn pictures: the number of the next one, so that the last one does not come back when deleted."""
_WORDS = 40
"""Letters of model and prompt in a folder's name."""


@dataclass(frozen=True)
class ClassPictures:
    """Pictures of a class, drawn by the model that is to keep it.

    Attributes:
        folder: where they are kept.
        prompts: what is drawn, in turn; also the captions.
        count: how many of the folder take part, the first by name.
        request: what all share; its seed is that of number 0.
        kept: whether the folder is a run's own, which has all that it learns from.
    """

    folder: Path
    prompts: tuple[str, ...]
    count: int
    request: GenerateRequest
    kept: bool = False

    @classmethod
    def of(cls, options: TrainOptions, model: LoadedModel, runs: Path, run: Path | None = None) -> ClassPictures | None:
        """Return what a run wants besides the pictures that it was given; None where that is nothing.

        Pictures of one model, of the same prompts and settings, share a folder: a next run draws none of them again.
        A run that goes on, ``run`` being its folder, has its own.

        Raises:
            InputError: the folder of regularization pictures is not there.
        """
        given = count_pictures(Path(options.reg_images)) if options.reg_images and options.reg_count else 0
        if options.reg_count <= given:
            return None
        step = model.pixels_per_latent * 8  # of the UNet, which halves three times
        width, height = (max(step, side // step * step) for side in training_size(model, options))
        prompts = prompts_of(options)
        request = GenerateRequest(
            prompts[0],
            negative=options.reg_negative,
            seed=options.reg_seed,
            steps=options.reg_steps,
            cfg_scale=options.reg_cfg,
            width=width,
            height=height,
            clip_skip=options.clip_skip,
        )
        folder = runs / FOLDER / _folder_name(model, prompts, request)
        wanted = cls(folder, prompts, options.reg_count - given, request)
        return (None if run is None else wanted._kept_in(run)) or wanted

    def prompt(self, number: int) -> str:
        """Return what picture ``number`` shows."""
        return self.prompts[number % len(self.prompts)]

    def wish(self, number: int) -> Wish:
        """Return prompt and seed of picture ``number``."""
        return Wish(self.prompt(number), (self.request.seed + number) % (LARGEST_SEED + 1))

    def path(self, number: int) -> Path:
        """Return the file of picture ``number``."""
        return self.folder / f"{number:05d}.png"

    def there(self) -> list[Path]:
        """Return the pictures that are in the folder, by name."""
        files = list_folder(self.folder).files if self.folder.is_dir() else ()
        return [path for path in files if kind_of(path)[0] == "picture"]

    def missing(self) -> range:
        """Return the numbers that are to be drawn: behind the last one, so none that somebody deleted comes again."""
        if self.kept:
            return range(0)
        files = list_folder(self.folder).files if self.folder.is_dir() else ()
        last = max((int(path.stem) for path in files if path.stem.isdecimal()), default=-1)
        next_ = max(1 + last, self._next_known())
        return range(next_, next_ + max(0, self.count - len(self.there())))

    def drawing(self, number: int) -> None:
        """Note in the folder that picture ``number`` is made.

        Raises:
            FileError: the disk refuses.
        """
        replace_file(self.folder / NEXT, str(number + 1).encode(), what=say("The picture"))

    def _next_known(self) -> int:
        try:
            return int((self.folder / NEXT).read_text())
        except (OSError, ValueError):  # not there, or damaged: the names tell nearly as much
            return 0

    def keep_in(self, run: Path) -> ClassPictures:
        """Keep in a run's folder those that take part, with their captions: it can be moved, and the others deleted.

        Where the disk allows it both are one file, which takes no room twice. Returns those of the run.

        Raises:
            FileError: the disk refuses.
        """
        if self.kept:
            return self
        whole, half = run / REGULARIZATION, run / REGULARIZATION_HALF
        place = half / self.folder.name  # metadata tell this name
        try:
            shutil.rmtree(half, ignore_errors=True)
            place.mkdir(parents=True)
            for picture in self.there()[: self.count]:
                _link_or_copy(picture, place / picture.name)
                caption = picture.with_suffix(".txt")
                if caption.is_file():  # a copy: an editor may write it in its place
                    shutil.copyfile(caption, place / caption.name)
            half.replace(whole)
        except OSError as error:
            raise FileError(
                "The regularization pictures cannot be kept in the run's folder ({reason})",
                reason=error,
                where=str(whole),
                cure=cure_of(error),
            ) from error
        return replace(self, folder=whole / place.name, kept=True)

    def moved(self, samples: Iterable[Sample], before: Path) -> tuple[Sample, ...]:
        """Return samples that read here what was in the folder ``before``: one that varies is read in each step."""

        def here(sample: Sample) -> Sample:
            if sample.picture.path.parent != before:
                return sample
            picture = replace(sample.picture, path=self.folder / sample.picture.path.name)
            varied = None if sample.varied is None else replace(sample.varied, picture=picture)
            return replace(sample, picture=picture, varied=varied)

        return tuple(map(here, samples))

    def _kept_in(self, run: Path) -> ClassPictures | None:
        """Return those that a run has kept; None where there are none, as of earlier versions."""
        whole = run / REGULARIZATION
        folders = [path for path in whole.iterdir() if path.is_dir()] if whole.is_dir() else []
        return replace(self, folder=folders[0], kept=True) if folders else None

    def source(self) -> Source:
        """Return the folder for a scan: the first by name, so that more of them change nothing for this run.

        Raises:
            InputError: some are not drawn yet.
        """
        missing = len(self.missing())
        if missing:
            raise InputError(
                "{n} regularization {n:picture is|pictures are} missing",
                n=missing,
                where=str(self.folder),
                cure="Start the run again: they are drawn before it begins.",
            )
        return Source(self.folder, repeats=1, class_tokens="", first=self.count)

    @property
    def remark(self) -> Sentence:
        """What a person should know of them."""
        return say(
            "the model itself drew {n} of the regularization pictures: {folder}", n=self.count, folder=str(self.folder)
        )

    def planned(self) -> tuple[Picture, ...]:
        """Return the pictures as they will be, for a plan: those that are missing too."""
        size = (self.request.width or 0, self.request.height or 0)
        there = [(path, self.prompts[0]) for path in self.there()[: self.count]]
        rows = [*there, *((self.path(number), self.prompt(number)) for number in self.missing())]
        return tuple(Picture(path, prompt, 1, size, True, str(path)) for path, prompt in rows)


def _folder_name(model: LoadedModel, prompts: Iterable[str], request: GenerateRequest) -> str:
    """Return a name that people can read, and that changes with the model and everything that is drawn.

    Of the checkpoint size and time tell, and how the model is used: its prediction and its noise schedule.
    """
    one, file = request, model.path.stat() if model.path.is_file() else None
    used = (model.name, file and (file.st_size, int(file.st_mtime)), facts_of(model))
    settings = (one.negative, one.seed, one.steps, one.cfg_scale, one.width, one.height, one.sampler, one.clip_skip)
    digest = hashlib.sha256(repr((used, tuple(prompts), settings)).encode()).hexdigest()[:10]
    return "-".join([*(_plain(text) for text in (Path(model.name).stem, request.prompt)), digest])


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)


def _plain(text: str) -> str:
    """Return a text as a part of a folder's name; no underscore, which would be read as one of CharFramework's."""
    return re.sub(r"[\W_]+", " ", text).strip()[:_WORDS].strip() or "x"
