"""Which WebUI this is, told by what it has and never by its version text, and what each kind cannot do."""

from __future__ import annotations

import importlib.util
import sys
from enum import Enum

from lib_lora.sentences import Sentence, say


class HostKind(str, Enum):
    """The hosts that differ for us."""

    A1111 = "A1111"
    FORGE = "Forge"
    NEO = "Forge Neo"
    REFORGE = "reForge"
    CLASSIC = "Forge classic"
    UNKNOWN = "unknown"


def detect() -> HostKind:
    """Return the kind of the WebUI around us; UNKNOWN outside of one."""
    if not _there("modules.sd_models"):
        return HostKind.UNKNOWN
    if not _there("modules_forge"):
        return HostKind.A1111
    if _there("backend.memory_management"):
        return HostKind.NEO if _there("backend.logging") else HostKind.FORGE
    if _there("ldm_patched.modules.model_management"):
        return HostKind.REFORGE if _there("modules.sd_schedulers") else HostKind.CLASSIC
    return HostKind.UNKNOWN


def why_not(kind: HostKind, what: str) -> Sentence | None:
    """Return in one sentence why a kind of host cannot do ``what`` (``train``), or None where it can."""
    if what == "train" and kind in (HostKind.REFORGE, HostKind.CLASSIC):
        return say(
            "{kind} cannot train on its loaded model: it moves the weights by itself between two steps", kind=kind.value
        )
    if kind is HostKind.UNKNOWN:
        return say("This WebUI is of a kind that LoRA Atelier does not know")
    return None


def _there(name: str) -> bool:
    """Whether a module is loaded or could be; a parent that is missing is a no."""
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
