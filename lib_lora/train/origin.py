"""Where a run comes from: its session, when it began, and the checkpoint that it was started on, by its hashes."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lib_lora.errors import FileError, StoppedError
from lib_lora.formats.hashes import chunks, sha256, told
from lib_lora.host.base import LoadedModel
from lib_lora.progress import Progress
from lib_lora.sentences import say

_OLD_WINDOW = (0x100000, 0x110000)
"""The bytes that the WebUI's first hash of a checkpoint looked at."""
_known: dict[tuple[str, int, int], tuple[str, str]] = {}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """What of a run stays the same from its first step to its last, over every pause.

    Attributes:
        session: a number of its own; a state tells by it which run it is of.
        started: seconds since 1970.
        sha256, old_hash: of the checkpoint's file (64 hex digits, and the WebUI's first 8); "" where it has none.
    """

    session: str = field(default_factory=lambda: str(uuid.uuid4().int >> 65))
    started: float = field(default_factory=time.time)
    sha256: str = ""
    old_hash: str = ""

    @classmethod
    def of(cls, model: LoadedModel, progress: Progress) -> Origin:
        """Return the origin of a run that begins now."""
        sha256, old_hash = checkpoint_hashes(model, progress)
        return cls(sha256=sha256, old_hash=old_hash)

    @classmethod
    def from_json(cls, known: Any) -> Origin | None:
        """Return what `to_json` wrote; None where it is not there or is something else."""
        if not isinstance(known, Mapping) or not isinstance(known.get("session"), str):
            return None
        return cls(**{name: value for name, value in known.items() if name in asdict(cls())})

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def checkpoint_hashes(model: LoadedModel, progress: Progress) -> tuple[str, str]:
    """Return SHA-256 of the model's file and the WebUI's old hash; both empty where it cannot be read or is stopped.

    A file of some gigabytes takes seconds, once for a program.
    """
    path = getattr(model, "path", None)
    if not path or not Path(path).is_file():
        return "", ""
    try:
        facts = Path(path).stat()
        key = (str(path), facts.st_size, facts.st_mtime_ns)
        if key not in _known:
            _known[key] = _read(Path(path), facts.st_size, progress)
        return _known[key]
    except StoppedError:
        return "", ""
    except (OSError, FileError) as error:
        logger.warning("%s has no hash: %s", path, error)
        return "", ""


def _read(path: Path, size: int, progress: Progress) -> tuple[str, str]:
    with path.open("rb") as file:
        blocks = chunks(file, where=str(path))
        whole = sha256(told(blocks, size, progress, text=say("reading the checkpoint")))
        file.seek(_OLD_WINDOW[0])
        return whole, sha256([file.read(_OLD_WINDOW[1] - _OLD_WINDOW[0])])[:8]
