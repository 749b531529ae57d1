"""The keys of sd-scripts' dataset files, and which of our options each one is."""

from __future__ import annotations

from collections.abc import Mapping

from lib_lora.sentences import Sentence, say

SUBSET_OPTIONS: Mapping[str, str] = {
    "shuffle_caption": "shuffle_caption",
    "caption_separator": "caption_separator",
    "keep_tokens": "keep_tokens",
    "keep_tokens_separator": "keep_tokens_separator",
    "secondary_separator": "secondary_separator",
    "enable_wildcard": "wildcards",
    "flip_aug": "flip",
    "caption_prefix": "caption_prefix",
    "caption_suffix": "caption_suffix",
    "caption_dropout_rate": "caption_dropout",
    "caption_dropout_every_n_epochs": "caption_dropout_every_epochs",
    "caption_tag_dropout_rate": "tag_dropout",
    "token_warmup_min": "token_warmup_min",
    "token_warmup_step": "token_warmup_steps",
    "alpha_mask": "alpha_mask",
    "color_aug": "color_aug",
    "random_crop": "random_crop",
}
"""Keys of a subset that are options of ours; they may stand in its dataset or in ``[general]`` for all below."""

DATASET_OPTIONS: Mapping[str, str] = {
    "batch_size": "batch_size",
    "enable_bucket": "buckets",
    "min_bucket_reso": "bucket_min",
    "max_bucket_reso": "bucket_max",
    "bucket_reso_steps": "bucket_step",
    "bucket_no_upscale": "bucket_upscale",
}
"""Keys of a dataset, likewise; ``resolution`` is two options, see `size_of`."""
TURNED = frozenset({"bucket_no_upscale"})
"""Keys that say the contrary of our option."""

SUBSET_KEYS = frozenset(
    {"conditioning_data_dir", "image_dir", "num_repeats", "is_reg", "class_tokens", "caption_extension"}
)
"""Keys of a subset that are no option of the run, but say which pictures it is about."""

IDLE: Mapping[str, Sentence] = {
    "cache_info": say("pictures are known by their contents here"),
    "network_multiplier": say("the LoRA is trained at strength 1"),
    "debug_dataset": say("nothing is shown on the way"),
    "validation_seed": say("no pictures are held back"),
    "validation_split": say("no pictures are held back"),
    "face_crop_aug_range": say("faces are not cropped by chance"),
    "custom_attributes": say("no program here asks for it"),
    "skip_image_resolution": say("pictures smaller than it stay in"),
    "resize_interpolation": say("pictures are made smaller by area and larger by Lanczos"),
}
"""Keys that nothing here follows, and why; said where they ask for something."""
REFUSED = frozenset({"metadata_file"})
"""Keys that make another kind of data set."""
ALL = frozenset({*SUBSET_OPTIONS, *DATASET_OPTIONS, "resolution", *SUBSET_KEYS, *IDLE, *REFUSED})
"""Every key that may stand in ``[general]``, in ``[[datasets]]`` or in ``[[datasets.subsets]]``."""
