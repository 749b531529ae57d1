"""Text files that a person gave by name: options and sample prompts."""

from __future__ import annotations

from pathlib import Path

from lib_lora.errors import FileError, InputError
from lib_lora.sentences import Sentence


def read_given(path: Path, what: Sentence) -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: as it was given.
        what: what it holds, for the error: “the options”.

    Raises:
        InputError: there is no such file, or it is no text in UTF-8; FileError: the disk refuses.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError("There is no such file", where=str(path), cure="Check the name and the folder.") from error
    except UnicodeDecodeError as error:
        raise InputError("The file is no text in UTF-8", where=str(path), cure="Save the file as UTF-8.") from error
    except OSError as error:
        raise FileError("{noun} cannot be read ({reason})", noun=what, reason=error, where=str(path)) from error
