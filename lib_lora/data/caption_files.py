"""Which file holds the caption of a picture, or will, and what is written into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lib_lora.data.captions import CaptionIndex, read_caption
from lib_lora.data.files import CAPTION_SUFFIXES
from lib_lora.errors import FileError
from lib_lora.walk import Listing, list_folder

Endings = Mapping[Path, Sequence[str]]
"""Endings of caption files by folder, where they are others than the usual ones (`CAPTION_SUFFIXES`)."""
USUAL: Endings = {}


class CaptionFiles:
    """The caption files of pictures, as `scan` finds them; each folder is listed once.

    Args:
        endings: of folders whose captions have others; the first that exists counts, and the first is written.
    """

    def __init__(self, endings: Endings = USUAL) -> None:
        self._endings = endings
        self._known: dict[Path, CaptionIndex] = {}

    def find(self, picture: Path) -> Path | None:
        """Return the file of a picture's caption, None where it has none."""
        folder = picture.parent
        if folder not in self._known:
            self.know(list_folder(folder) if folder.is_dir() else Listing(folder))
        return self._known[folder].find(picture)

    def place(self, picture: Path) -> Path:
        """Return the file that holds the caption of a picture, or will."""
        return self.find(picture) or self.fresh(picture)

    def fresh(self, picture: Path) -> Path:
        """Return the file into which the first caption of a picture is written."""
        return picture.with_name(picture.stem + self._of(picture.parent)[0])

    def know(self, listing: Listing) -> None:
        """Take what is known already of what lies in a folder."""
        self._known[listing.folder] = CaptionIndex(listing.files, self._of(listing.folder))

    def _of(self, folder: Path) -> Sequence[str]:
        return self._endings.get(folder) or CAPTION_SUFFIXES


def captions_of(pictures: Iterable[Path], endings: Endings = USUAL) -> dict[Path, str]:
    """Return each picture's caption as its file has it; "" where there is none, or none that can be read."""
    found, files = {}, CaptionFiles(endings)
    for picture in pictures:
        path = files.place(picture)
        try:
            found[picture] = read_caption(path).text if path.is_file() else ""
        except FileError:
            found[picture] = ""  # `scan` says why
    return found
