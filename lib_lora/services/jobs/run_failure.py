"""Why a run failed, in words: whatever was raised becomes an error that a person can read."""

from __future__ import annotations

import logging

import torch

from lib_lora.atomic import cure_of
from lib_lora.errors import AtelierError, FileError
from lib_lora.sentences import reason_of, say

logger = logging.getLogger(__name__)


def in_words(error: Exception, name: str, *, has_state: bool) -> AtelierError:
    """Return any failure as one that a person can read; ``has_state`` tells whether the run can go on from a state."""
    if isinstance(error, AtelierError):
        return error
    if isinstance(error, OSError):
        return FileError(reason_of(error), where=str(error.filename or name), cure=cure_of(error))
    if isinstance(error, torch.cuda.OutOfMemoryError):
        cure = say("Close other programs and resume, or start a new run with a smaller batch or training size.")
        return AtelierError("The memory of the GPU is full", where=name, cure=cure)
    logger.error("the run %s failed", name, exc_info=error)
    cure = say("The details are in the terminal; please report them.")
    if has_state:
        cure = say("The details are in the terminal; please report them. The newest state is kept.")
    return AtelierError("Something unforeseen: {error}", error=error, where=name, cure=cure)
