"""The pictures of a run: found in its folders or by its dataset file, and the options that each has for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lib_lora.data.dataset import FolderScan, Picture
from lib_lora.data.files import CAPTION_SUFFIXES
from lib_lora.data.folder import check_folder, count_pictures, scan
from lib_lora.data.leaves import Source
from lib_lora.errors import AtelierError, InputError
from lib_lora.progress import Progress
from lib_lora.train.captions import reading_of
from lib_lora.train.dataset_config import DatasetConfig, Subset, read_dataset_config
from lib_lora.train.encoding import mask_folder
from lib_lora.train.options import TrainOptions


def scan_pictures(
    options: TrainOptions, *, min_side: int, progress: Progress, drawn: Source | None = None
) -> FolderScan:
    """Return the pictures of a run, and what a person should know of them; ``drawn``: by the model, for regularization.

    Raises:
        InputError: a folder is missing or holds no picture that can be used, or the dataset file is wrong.
        StoppedError: somebody asked to stop.
    """
    if options.dataset_config:
        config = read_dataset_config(Path(options.dataset_config))
        found = [
            _scan_dataset(number, subsets, options, min_side=min_side, progress=progress)
            for number, subsets in enumerate(config.datasets)
        ]
        return _together(found, config)
    reg = [*given_regularization(options), *([drawn] if drawn is not None else [])]
    return scan(
        Path(options.images),
        reg=reg or None,
        class_tokens=options.class_word,
        min_side=min_side,
        reading=reading_of(options),
        progress=progress,
    )


def count_draws(options: TrainOptions) -> int:
    """Return about how many pictures an epoch draws, from names alone; no picture is opened.

    Raises:
        InputError: a folder is missing or holds no picture, or the dataset file is wrong.
    """
    if options.masks:
        mask_folder(options.masks)
    if not options.dataset_config:
        draws = check_folder(Path(options.images), is_reg=False) if options.images else 0
        for folder in given_regularization(options):
            check_folder(folder, is_reg=True)
        return draws * 2 if options.reg_images or options.reg_count else draws  # these are drawn as often
    draws = 0
    for subsets in read_dataset_config(Path(options.dataset_config)).datasets:
        for subset in subsets:
            own = _own_options(options, subset.own, where=str(subset.folder))
            if own.masks:
                mask_folder(own.masks)
        counted = [(subset.is_reg, check_folder(_source(subset), is_reg=subset.is_reg)) for subset in subsets]
        train = sum(count for is_reg, count in counted if not is_reg)
        draws += train * (2 if any(is_reg for is_reg, _ in counted) else 1)
    return draws


def given_regularization(options: TrainOptions) -> list[Source]:
    """Return the folder of regularization pictures that a person gave; it may be empty where the model draws some.

    Raises:
        InputError: there is no such folder.
    """
    if not options.reg_images or (options.reg_count and not count_pictures(Path(options.reg_images))):
        return []
    return [Source(Path(options.reg_images))]


def options_for(picture: Picture, options: TrainOptions) -> TrainOptions:
    """Return the options of a run as they stand for one picture."""
    return _own_options(options, picture.own, where=str(picture.path)) if picture.own else options


def each_options(options: TrainOptions) -> tuple[TrainOptions, ...]:
    """Return the options of a run as they stand for each part of its pictures; no picture is opened.

    Raises:
        AtelierError: the dataset file cannot be read, or is wrong.
    """
    if not options.dataset_config:
        return (options,)
    subsets = (one for each in read_dataset_config(Path(options.dataset_config)).datasets for one in each)
    return tuple(_own_options(options, one.own, where=str(one.folder)) for one in subsets)


def batch_sizes(shown: Sequence[Picture], options: TrainOptions) -> dict[int, int]:
    """Return the batch size of each dataset."""
    first = {picture.dataset: picture for picture in reversed(shown)}
    return {number: options_for(picture, options).batch_size for number, picture in sorted(first.items())}


def _own_options(options: TrainOptions, own: tuple, *, where: str) -> TrainOptions:
    """Return the options with those that a dataset file has for some pictures.

    Raises:
        InputError: such an option is out of range, or contradicts another.
    """
    try:
        return replace(options, **dict(own))
    except AtelierError as error:
        place = f"{options.dataset_config}: {where}: {error.where}"
        raise InputError(error.what, where=place, cure=error.cure) from error


def _source(subset: Subset) -> Source:
    return Source(subset.folder, subset.repeats, subset.class_tokens)


def _scan_dataset(
    number: int, subsets: Sequence[Subset], options: TrainOptions, *, min_side: int, progress: Progress
) -> FolderScan:
    """Return the pictures of one dataset; its batch size and sizes are those of its first subset."""
    one = partial(scan, class_tokens=options.class_word, min_side=min_side, progress=progress)
    found = []
    for subset in subsets:
        reading = reading_of(_own_options(options, subset.own, where=str(subset.folder)))
        made = one(_source(subset), extensions=subset.endings or CAPTION_SUFFIXES, reading=reading)
        marked = (replace(each, own=subset.own, dataset=number, is_reg=subset.is_reg) for each in made.pictures)
        found.append(replace(made, pictures=tuple(marked)))
    joined = _joined(found)
    if not joined.train:
        raise InputError(
            "A dataset has only regularization pictures",
            where=str(subsets[0].folder),
            cure="Add a subset without is_reg.",
        )
    return joined


def _together(found: Sequence[FolderScan], config: DatasetConfig) -> FolderScan:
    joined = _joined(found)
    return replace(joined, warnings=(*config.notes, *joined.warnings))


def _joined(found: Sequence[FolderScan]) -> FolderScan:
    """Return several scans as one, training pictures first."""
    pictures = [picture for one in found for picture in one.pictures]

    def all_of(name: str) -> tuple:
        return tuple(dict.fromkeys(row for one in found for row in getattr(one, name)))

    return FolderScan(
        pictures=(*(p for p in pictures if not p.is_reg), *(p for p in pictures if p.is_reg)),
        numbered=True,
        **{name: all_of(name) for name in ("problems", "notices", "folders", "unread", "warnings")},
    )
