"""Which files are pictures, and which of those this Pillow, with the plugins that are installed, can read."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PIL import Image, features

from lib_lora.data.files import PICTURE_SUFFIXES
from lib_lora.sentences import say

UNREAD_SUFFIXES = frozenset(
    # of telephones and browsers; of painting programs; of cameras; of vectors and film
    (".heic", ".heif", ".hif", ".avif", ".avifs", ".jxl", ".jxr", ".wdp", ".bpg", ".jls", ".webp2")
    + (".psd", ".psb", ".clip", ".kra", ".xcf", ".sai", ".sai2", ".mdp", ".procreate", ".ora", ".afphoto", ".pdn")
    + (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw", ".x3f")
    + (".svg", ".svgz", ".ai", ".eps", ".pcx", ".exr", ".hdr", ".ico", ".icns", ".dds", ".cur", ".emf", ".wmf")
)
"""Endings of pictures that no Pillow reads, or only some."""

_PLUGINS = {"HEIF": "pillow_heif", "JXL": "pillow_jxl", "AVIF": "pillow_avif"}
"""Pillow's name of a kind, and the package that teaches it to Pillow; used where somebody installed it."""
_FEATURES = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}
"""Kinds that only some builds of Pillow can read, by the name of the feature."""
_BY_SUFFIX = {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".jxl": "JXL", ".avif": "AVIF", ".avifs": "AVIF"}
_BY_SUFFIX |= {".webp": "WEBP", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".qoi": "QOI"}
_HEADS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL), "HEIF"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"), "JXL"),
    (re.compile(rb"8BPS"), "PSD"),
)

NO_ENDING = say("no ending")
Kind = Literal["picture", "unread", "other"]
logger = logging.getLogger(__name__)


def kind_of(path: Path) -> tuple[Kind, str]:
    """Say whether a file is a picture that can be read here, one that cannot, or none; and what to call it.

    The first bytes count where they are known, because names lie: telephones hand out HEIC pictures as ``.jpg``. The
    second value is the ending, with the true kind in front where that is another.
    """
    suffix = path.suffix.lower()
    true = _content(path)
    if true:
        honest = _BY_SUFFIX.get(suffix) == true or suffix == f".{true.lower()}"
        said = suffix if honest else say("{kind} as {ending}", kind=true, ending=suffix)
        return ("picture" if can_read(true) else "unread"), said
    if suffix in UNREAD_SUFFIXES or suffix in PICTURE_SUFFIXES:
        named = _BY_SUFFIX.get(suffix, "")
        readable = can_read(named) if named else suffix in PICTURE_SUFFIXES
        return ("picture" if readable else "unread"), suffix
    return "other", suffix or NO_ENDING


@lru_cache(maxsize=32)
def can_read(kind: str) -> bool:
    """Return whether this Pillow reads a kind, by its name for it (``PNG``, ``AVIF`` …)."""
    if kind in _PLUGINS:
        _load(kind)
    Image.init()
    if kind not in Image.OPEN or kind == "PSD":
        return False
    feature = _FEATURES.get(kind)
    if feature is None or not Image.OPEN[kind][0].__module__.startswith("PIL."):
        return True
    return bool(features.check(feature))  # Pillow registers a kind whether or not its build has the library


def plugin_kinds() -> tuple[str, ...]:
    """Return the kinds beside Pillow's own that an installed plugin reads."""
    return tuple(kind for kind in _PLUGINS if can_read(kind))


def _load(kind: str) -> None:
    """Let an installed package teach Pillow a kind; none has to be there."""
    name = _PLUGINS[kind]
    if importlib.util.find_spec(name) is None:
        return
    try:
        module = importlib.import_module(name)
        if kind == "HEIF":
            module.register_heif_opener()
    except Exception as error:  # a broken package of somebody else's: the pictures stay unread, and are counted so
        logger.warning("%s is installed and cannot be used: %s", name, error)


def _content(path: Path) -> str:
    """Return the kind that a file's first bytes show, or ""; a file that cannot be read shows none."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return ""
    return next((kind for pattern, kind in _HEADS if pattern.match(head)), "")
