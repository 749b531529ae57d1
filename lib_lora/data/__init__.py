"""Pictures, captions, tags, buckets and folders: everything about a data set that needs no model."""

from __future__ import annotations

from lib_lora.data.buckets import (
    Batch,
    BucketPlan,
    apply_plan,
    batch_count,
    bucket_sizes,
    epoch_batches,
    plan_bucket,
    plan_fixed,
)
from lib_lora.data.captions import CaptionRules, read_caption
from lib_lora.data.dataset import FolderScan, FolderUse, Picture, balance_regularization
from lib_lora.data.decoding import CaptionText, decode_caption
from lib_lora.data.files import Problem
from lib_lora.data.folder import scan
from lib_lora.data.images import PictureFacts, inspect_picture, load_picture
from lib_lora.data.leaves import Source
from lib_lora.data.tag_lines import split_tags
from lib_lora.data.tags import (
    CaptionPlan,
    CaptionReport,
    FolderName,
    TagLists,
    parse_folder_name,
    plan_captions,
    tags_for,
    write_captions,
)

__all__ = [
    "Batch",
    "BucketPlan",
    "CaptionPlan",
    "CaptionReport",
    "CaptionRules",
    "CaptionText",
    "FolderName",
    "FolderScan",
    "FolderUse",
    "Picture",
    "PictureFacts",
    "Problem",
    "Source",
    "TagLists",
    "apply_plan",
    "balance_regularization",
    "batch_count",
    "bucket_sizes",
    "decode_caption",
    "epoch_batches",
    "inspect_picture",
    "load_picture",
    "parse_folder_name",
    "plan_bucket",
    "plan_captions",
    "plan_fixed",
    "read_caption",
    "scan",
    "split_tags",
    "tags_for",
    "write_captions",
]
