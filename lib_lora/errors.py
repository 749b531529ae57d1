"""The one small family of errors: each says what is wrong, where, and the cure."""

from __future__ import annotations

from typing import Any

from lib_lora.sentences import Sentence, say


class AtelierError(Exception):
    """Something that a person must know about; never shown as a traceback.

    Args:
        what: what is wrong, in words without Python in them and without a full stop; a literal template or a sentence.
        where: file, option, key or character that it is about; a name as it is, or a sentence.
        cure: what to do now; a literal template or a sentence.
        option: the name of one of the program's options that the cure speaks of; the terminal shows its flag.
        values: what stands in the ``{places}`` of `what` and `cure` (`sentences.say`).
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", cure: str = "", option: str = "", **values: Any) -> None:
        super().__init__(what)
        self.what, self.where, self.cure, self.option = say(what, **values), where, say(cure, **values), option

    @property
    def sentence(self) -> Sentence:
        """The error as running text, which can be said in another language and stand inside of another sentence."""
        what = say("{what} — {where}", what=self.what, where=self.where) if self.where else self.what
        return say("{what}. {cure}", what=what, cure=self.cure) if self.cure else what

    def __str__(self) -> str:
        return str(self.sentence)


class InputError(AtelierError):
    """What the user gave cannot be right: an option, a tag, a name, a number."""

    exit_code = 2


class FileError(AtelierError):
    """A file is missing, broken, of the wrong kind, or cannot be written."""


class StoppedError(AtelierError):
    """Somebody asked the work to stop, and it did before it had a result."""

    def __init__(self) -> None:
        super().__init__(say("The work was stopped before it was finished"))
