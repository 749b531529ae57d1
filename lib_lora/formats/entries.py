"""Single entries of a file's metadata by their keys: what a person may write there, so that every reader copes with it.

A1111 reads a value that begins with a brace as JSON, and a card of its whole list breaks on a table or a date that is
none; sd-scripts' own keys therefore take only what sd-scripts would write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from lib_lora.blocks.tokens import read_number
from lib_lora.errors import InputError
from lib_lora.formats.cover import COVERS, THUMBNAIL
from lib_lora.formats.metadata import FIELD_LIMIT, FIELDS, ORDER, RECIPE
from lib_lora.formats.peft import HEADER_KEY
from lib_lora.sentences import say

PREFIXES = ("ss_", "ssmd_", "modelspec.")
"""What keys begin with that every program knows; others can be changed where a file has them."""
HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
_FIXED = (*HASHES, THUMBNAIL, COVERS, RECIPE, ORDER, HEADER_KEY)
_TABLES: Mapping[str, type] = {
    "ss_tag_frequency": dict,
    "ss_dataset_dirs": dict,
    "ss_reg_dataset_dirs": dict,
    "ss_bucket_info": dict,
    "ss_network_args": dict,
    "ss_datasets": list,
}
_NUMBERS = ("ss_training_started_at", "ss_training_finished_at")
_FIELD_OF = {key: name for name, keys in FIELDS.items() for key in keys}


def with_entries(metadata: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return metadata with entries changed by their keys; an empty text removes one.

    Raises:
        InputError: a key that is nobody's, or that follows from something else; a value that its readers cannot take.
    """
    found = dict(metadata)
    for key, text in changes.items():
        _check(key, text, known=key in metadata)
        if text.strip():
            found[key] = f" {text}" if text.startswith("{") and key not in _TABLES else text
        else:
            found.pop(key, None)
    return found


def _check(key: str, text: str, *, known: bool) -> None:
    shown = key[:60]
    if key in _FIXED or key.startswith("sshs_"):
        cure = say("Leave it out: it follows from the tensors, the cover, or how the file was made.")
        raise InputError("The entry “{key}” cannot be typed", key=shown, cure=cure)
    if key in _FIELD_OF:
        raise InputError(
            "The entry “{key}” belongs to the field {field}",
            key=shown,
            field=_FIELD_OF[key],
            cure="Change the field: it stands under every key that programs read.",
        )
    if not known and not (key.startswith(PREFIXES) and key.isprintable() and len(key) <= 100):
        raise InputError(
            "“{key}” is no entry of the file, and none that other programs know",
            key=shown,
            cure="Known keys begin with {names}.",
            names=PREFIXES,
        )
    if len(text) > FIELD_LIMIT:
        cure = say("Keep it below {limit}.", limit=FIELD_LIMIT)
        raise InputError("The text has {n} characters", n=len(text), where=shown, cure=cure)
    if not text.strip():
        return
    if key in _TABLES and not _is_table(text, _TABLES[key]):
        cure = say("Write it as sd-scripts does, in JSON.")
        raise InputError("This entry must be a table in JSON", where=shown, cure=cure)
    number = read_number(text.strip()) if key in _NUMBERS else 0.0
    if number is None or not math.isfinite(number):
        raise InputError("This entry must be a number", where=shown, cure="Write the seconds since 1970.")


def _is_table(text: str, kind: type) -> bool:
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):
        return False
