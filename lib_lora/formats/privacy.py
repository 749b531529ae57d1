"""What tells of a person's machine, folders and pictures: found in metadata, taken out, and not written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

LONGEST = 100_000
"""Characters of a text from which on it may be a picture, so that only what is a path for sure counts in it."""

_PRIVATE = (
    "ss_tag_frequency",
    "ss_dataset_dirs",
    "ss_reg_dataset_dirs",
    "ss_datasets",
    "ss_bucket_info",
    "ss_training_comment",
    "ss_sd_model_name",
    "ss_vae_name",
    "ss_session_id",
    "ss_training_started_at",
    "ss_training_finished_at",
    "ss_sample",
    "sshs_cp",
    "training_info",
    "atelier_options",
    "ot_config",
    "workflow",
)
_PRIVATE_WORD = re.compile(
    r"sample_?prompt|(?:^|_)prompts?$|(?:^|_)dirs?$|hostname|user_?name|machine"
    r"|(?:hf|hub|huggingface|wandb|api|access|auth)_?token|api_?key|password|secret|e_?mail|repo_?id"
    r"|command_?line|cmd_?line|(?:^|_)(?:argv|cwd|captions?|parameters|user|host|computer)$|pnginfo"
    r"|image_?(?:names|list|files)|(?:run|tracker)_?name|config_?file",
    re.IGNORECASE,
)
_PICTURES = ("modelspec.thumbnail", "ssmd_cover_images")

_ROOTS = (
    "home|Users|mnt|media|root|workspace|content|data|kaggle|opt|srv|var|tmp|usr|etc|Volumes|private|run|storage|sdcard"
    "|notebooks|teamspace|Library|Applications"
)
_BEFORE = "(?<![^\\s\"'(=,;\\[{<>|`“‘「『【（［：，、；])"
"""In front of a path stands nothing, a blank or a sign."""
_SURE = (
    r"[A-Za-z]:[\\/]"
    r"|\\\\[\w?.]"
    r"|~[\w.-]*[\\/]|~$"
    r"|%\w+%[\\/]|\$\{?\w+\}?/"
    rf"|/(?:{_ROOTS})\b"
)
_SURE_PATH = re.compile(
    rf"(?:{_BEFORE}|(?<=[^\x00-\x7f]))(?:{_SURE})|(?i:file):/+|(?<![\w+])(?i:smb|cifs|nfs|afp|s?ftp|ssh)://"
)
"""What is a path beside a Japanese word too, and what no picture in base64 looks like."""
_PATH = re.compile(
    rf"{_BEFORE}(?://[\w.-]+/\w|/[\w.@+-]+/[\w.@+-]|\.\.?[\\/][\w.])|(?<=[^\W\d_]:)/(?!/)[\w.@+-]+/|{_SURE_PATH.pattern}"
)
"""What begins like a place on somebody's disk: drive, share, home, a file's address, an absolute path, a variable."""

_WHOLE_PATH = re.compile(
    r"(?<![\w:/\\.~])(?:file:/+)?"
    r"(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*[\\/]|/(?=[^\s/]+/)|/(?=(?:" + _ROOTS + r")\b))"
    r"(?:[^\\/:*?\"<>|\r\n“”']+[\\/])*(?P<name>[^\\/:*?\"<>|\r\n“”'(),;]*)"
)


def tells_a_path(text: str) -> bool:
    """Whether a text holds what begins like a place on somebody's disk."""
    return (_PATH if len(text) < LONGEST else _SURE_PATH).search(text) is not None


def without_folders(text: str) -> str:
    """Return a sentence in which every absolute path is only its last name."""
    return _WHOLE_PATH.sub(lambda found: found.group("name") or "…", text)


def last_name(path: str) -> str:
    """Return the last name of a path of any system, without its folders."""
    return re.split(r"[\\/]+", path.rstrip("\\/"))[-1]


def without_private(metadata: Mapping[str, str], own: Collection[str] = ()) -> dict[str, str]:
    """Return metadata without folder names, caption tags, prompts, paths, comments and times of the training.

    Of a table in JSON (``ss_network_args``) only the entries that tell something go: ``algo`` and its like stay.

    Args:
        metadata: a file's.
        own: keys of the user's own fields, which stay whatever they say.
    """
    found = {key: _cleaned(key, value, own) for key, value in metadata.items()}
    return {key: value for key, value in found.items() if value is not None}


def private_in(metadata: Mapping[str, str], own: Collection[str] = ()) -> tuple[str, ...]:
    """Return the keys that `without_private` takes away or cleans."""
    return tuple(key for key, value in metadata.items() if _cleaned(key, value, own) != value)


def _cleaned(key: str, value: str, own: Collection[str]) -> str | None:
    """Return a value without what is private in it, None where nothing is left."""
    if key in own or key.startswith(_PICTURES):
        return value
    if key.startswith(_PRIVATE) or _PRIVATE_WORD.search(key):
        return None
    try:
        table = json.loads(value) if value[:1] in ("{", "[") else value
    except (ValueError, RecursionError):
        table = value
    try:
        if not _tells(table):
            return value
        kept = {name: one for name, one in table.items() if not _tells({name: one})} if isinstance(table, dict) else {}
    except RecursionError:  # nested as only a hostile file is
        return None
    return json.dumps(kept, ensure_ascii=False) if kept else None


def _tells(value: Any) -> bool:
    """Whether a text, or a text somewhere in a list or table, holds a path, or a table a private entry."""
    if isinstance(value, dict):
        return any(_PRIVATE_WORD.search(name) or _tells(name) or _tells(entry) for name, entry in value.items())
    if isinstance(value, list):
        return any(map(_tells, value))
    return isinstance(value, str) and tells_a_path(value)
