"""The one small family of errors: each says what is wrong, where, and the cure."""

from __future__ import annotations


class AtelierError(Exception):
    """Something that a person must know about; never shown as a traceback.

    Args:
        what: what is wrong, in words without Python in them.
        where: file, option, key or character that it is about.
        cure: what to do now.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", cure: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.cure = what, where, cure

    def __str__(self) -> str:
        text = f"{self.what} — {self.where}" if self.where else self.what
        return f"{text.rstrip('.')}. {self.cure}" if self.cure else text


class InputError(AtelierError):
    """What the user gave cannot be right: an option, a tag, a name, a number."""

    exit_code = 2


class FileError(AtelierError):
    """A file is missing, broken, of the wrong kind, or cannot be written."""


class StoppedError(AtelierError):
    """Somebody asked the work to stop, and it did before it had a result."""

    def __init__(self) -> None:
        super().__init__("The work was stopped before it was finished")
