"""What a trained file says of its pictures, in the fields of sd-scripts; of folders only their names."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from lib_lora.data.tag_lines import split_tags
from lib_lora.host.base import LoadedModel
from lib_lora.train.options import TrainOptions
from lib_lora.train.pictures import options_for
from lib_lora.train.training_set import Sample, TrainingSet, bucket_limits, training_size


def data_metadata(model: LoadedModel, options: TrainOptions, training_set: TrainingSet) -> dict[str, Any]:
    """Return the ``ss_*`` fields of pictures, folders, buckets and captions, as plain values or JSON texts."""
    items = training_set.samples
    whole = _dataset(model, options, items)
    folders = _folders(items)
    numbers = sorted({item.picture.dataset for item in items})
    datasets = [
        _dataset(model, options_for(own[0].picture, options), own) | {"is_dreambooth": True}
        for own in ([item for item in items if item.picture.dataset == number] for number in numbers)
    ]
    return {
        "ss_num_train_images": whole["num_train_images"],
        "ss_num_reg_images": whole["num_reg_images"],
        "ss_resolution": "({}, {})".format(*datasets[0]["resolution"]),
        "ss_enable_bucket": options.buckets,
        "ss_bucket_no_upscale": not options.bucket_upscale,
        "ss_min_bucket_reso": whole["min_bucket_reso"],
        "ss_max_bucket_reso": whole["max_bucket_reso"],
        "ss_bucket_info": _json(whole["bucket_info"]),
        "ss_tag_frequency": _json(whole["tag_frequency"]),
        "ss_dataset_dirs": _json(_counts(folders, is_reg=False)),
        "ss_reg_dataset_dirs": _json(_counts(folders, is_reg=True)),
        "ss_datasets": _json(datasets),
    }


def _dataset(model: LoadedModel, options: TrainOptions, items: Sequence[Sample]) -> dict[str, Any]:
    """Return the row of one dataset."""
    smallest, largest = bucket_limits(model, options)
    folders = _folders(items)
    return {
        "num_train_images": _draws(items, is_reg=False),
        "num_reg_images": _draws(items, is_reg=True),
        "resolution": list(training_size(model, options)),
        "enable_bucket": options.buckets,
        "min_bucket_reso": smallest,
        "max_bucket_reso": largest,
        "bucket_info": _buckets(items, model.pixels_per_latent),
        "tag_frequency": {name: _tags(own) for (name, _), own in folders.items()},
        "batch_size_per_device": options.batch_size,
        "subsets": [
            _subset(name, own, options_for(own[0].picture, options), is_reg=reg) for (name, reg), own in folders.items()
        ],
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _draws(items: Iterable[Sample], *, is_reg: bool) -> int:
    return sum(item.picture.repeats for item in items if item.picture.is_reg == is_reg)


def _folders(items: Iterable[Sample]) -> dict[tuple[str, bool], list[Sample]]:
    """Return the pictures by their folder's name and whether they are for regularization."""
    found: dict[tuple[str, bool], list[Sample]] = defaultdict(list)
    for item in items:
        found[item.picture.path.parent.name, item.picture.is_reg].append(item)
    return found


def _counts(folders: dict[tuple[str, bool], list[Sample]], *, is_reg: bool) -> dict[str, dict[str, int]]:
    return {
        name: {"n_repeats": max(item.picture.repeats for item in items), "img_count": len(items)}
        for (name, reg), items in folders.items()
        if reg == is_reg
    }


def _subset(name: str, items: list[Sample], options: TrainOptions, *, is_reg: bool) -> dict[str, Any]:
    every = [options_for(item.picture, options) for item in items]  # two datasets may use one folder
    return {
        "image_dir": name,
        "img_count": len(items),
        "num_repeats": max(item.picture.repeats for item in items),
        "is_reg": is_reg,
        "class_tokens": options.class_word or None,
        "color_aug": max(one.color_aug for one in every),
        "flip_aug": any(len(item.latents) > 1 for item in items),
        "random_crop": max(one.random_crop for one in every),
        "shuffle_caption": max(one.shuffle_caption for one in every),
        "keep_tokens": max(one.keep_tokens for one in every),
    }


def _tags(items: Iterable[Sample]) -> dict[str, int]:
    """Return how many pictures carry each tag."""
    return dict(Counter(tag for item in items for tag in split_tags(item.caption)))


def _buckets(items: Iterable[Sample], scale: int) -> dict[str, Any]:
    """Return the draws of each bucket in pixels, and the mean error of the sides' ratio over all pictures."""
    counts: Counter[tuple[int, int]] = Counter()
    errors = []
    for item in items:
        height, width = (side * scale for side in item.latents[0].shape[-2:])
        counts[width, height] += item.picture.repeats
        errors.append(abs(width / height - item.picture.size[0] / item.picture.size[1]))
    rows = {
        str(n): {"resolution": list(size), "count": count} for n, (size, count) in enumerate(sorted(counts.items()))
    }
    return {"buckets": rows, "mean_img_ar_error": sum(errors) / len(errors)}
