"""Crops around faces: proposed first, then written as new pictures into a folder that the person names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from PIL import Image

from lib_lora.atomic import make_folder
from lib_lora.data.caption_files import USUAL, CaptionFiles, Endings, captions_of
from lib_lora.data.captions import folded
from lib_lora.data.faces import FRAMES, FRAMING_TAGS, Box, crop_box, find_faces
from lib_lora.data.files import Problem
from lib_lora.data.images import load_picture
from lib_lora.data.tag_lines import with_tag, without_tag
from lib_lora.errors import FileError
from lib_lora.options import option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say
from lib_lora.services.made_pictures import put_caption, save_new

KIND = "crops"


@dataclass(frozen=True)
class CropOptions:
    """Which crops are proposed; making one checks it."""

    frame: str = option(
        "face", "Crop", "Around each face: the face, the upper body, or the body.", choices=tuple(FRAMES)
    )
    least_side: int = option(256, "Least side", "Crops with a shorter side in pixels are left out.", low=16, high=4096)
    target: str = option(
        "",
        "Into folder",
        "Folder of the new pictures, e.g. krnk_face; what is there stays. Without one the crops are only told.",
        form="DIR",
    )
    with_captions: bool = option(
        True, "With captions", "Copies each caption; tags such as full body give way to the crop's own."
    )

    def __post_init__(self) -> None:
        settle(self)


@dataclass(frozen=True)
class Crop:
    """One crop of a picture.

    Attributes:
        picture: its file.
        name: under which it would be written.
        box: where it lies.
        sure: how sure the face is, 0 to 1.
        frame: what of the figure is in it (`FRAMES`); empty where the crop says nothing of that.
    """

    picture: Path
    name: str
    box: Box
    sure: float
    frame: str

    def cut(self) -> Image.Image:
        """Return its pixels, as many as the picture has there."""
        return load_picture(self.picture).crop(self.box)


@dataclass(frozen=True)
class Proposed:
    """The crops, and of which pictures there is none: no face, too small, or nearly the picture itself.

    ``endings`` are those of the pictures' caption files.
    """

    crops: Sequence[Crop]
    faceless: Sequence[Path]
    small: Sequence[Path]
    whole: Sequence[Path]
    problems: Sequence[Problem]
    endings: Endings = field(default_factory=dict)


@dataclass(frozen=True)
class CropsWritten:
    """Files that were written, how many were there already and stay, and what could not be written."""

    folder: Path
    written: Sequence[Path]
    kept: int
    problems: Sequence[Problem]


def propose(
    pictures: Sequence[Path], options: CropOptions, progress: Progress = QUIET, *, endings: Endings = USUAL
) -> Proposed:
    """Look for faces and return a crop around each; nothing is written.

    Raises:
        AtelierError: animeface is not installed.
        StoppedError: somebody asked to stop.
    """
    crops: list[Crop] = []
    taken: set[str] = set()
    faceless: list[Path] = []
    small: dict[Path, None] = {}
    whole: dict[Path, None] = {}
    problems: list[Problem] = []
    for done, picture in enumerate(pictures):
        try:
            image = load_picture(picture)
        except FileError as error:
            problems.append(Problem(picture, error.what, error.cure))
            continue
        faces = find_faces(image)
        if not faces:
            faceless.append(picture)
        for number, face in enumerate(faces, start=1):
            box = crop_box(face, options.frame, image.size)
            if box is None:
                whole[picture] = None
            elif min(box[2] - box[0], box[3] - box[1]) < options.least_side:
                small[picture] = None
            else:
                name = _free(picture, f"{options.frame}{number if number > 1 else ''}", taken)
                crops.append(Crop(picture, name, box, face.sure, options.frame))
        progress.passed(done + 1, len(pictures), say("looking for faces"))
    return Proposed(crops, faceless, list(small), list(whole), problems, endings)


def write_crops(
    crops: Sequence[Crop],
    target: Path,
    options: CropOptions,
    progress: Progress = QUIET,
    *,
    only: Collection[str] | None = None,
    endings: Endings = USUAL,
) -> CropsWritten:
    """Write crops as PNG; a name that is taken stays what it is. A stop keeps what is written.

    Args:
        crops: as proposed.
        target: folder of the new pictures; made where it is not there.
        options: whether captions come along.
        progress: told of every crop.
        only: names of those that are written; None writes all.
        endings: of the pictures' caption files.

    Raises:
        FileError: the folder cannot be made.
    """
    meant = [crop for crop in crops if only is None or crop.name in only]
    captions = captions_of({crop.picture: None for crop in meant}, endings) if options.with_captions else {}
    written: list[Path] = []
    problems: list[Problem] = []
    kept, there = 0, CaptionFiles()
    make_folder(target)
    for done, crop in enumerate(meant):
        path = target / f"{crop.name}.png"
        try:
            save_new(crop.cut(), path)
            written.append(path)
            text = captions.get(crop.picture, "")
            said = put_caption(path, _framed(text, crop.frame) if text else "", there)
            problems += [said] if said else []
        except FileExistsError:
            kept += 1
        except FileError as error:
            problems.append(Problem(crop.picture, error.what, error.cure))
        progress.update(done + 1, len(meant), say("writing crops"))
        if progress.stopped:
            break
    return CropsWritten(target, written, kept, problems)


def _framed(caption: str, frame: str) -> str:
    """Return a caption with the crop's framing in the place of the picture's; without a frame it stays."""
    if not frame:
        return caption
    return with_tag(without_tag(caption, ", ".join(FRAMING_TAGS)), FRAMES[frame].tag)


def _free(picture: Path, what: str, taken: set[str]) -> str:
    """Return a name that no crop has yet, on a disk that tells no case either."""
    first = f"{picture.stem}_{what}"
    # Of another folder, or of a picture with another ending.
    second = f"{picture.parent.name}_{picture.suffix[1:]}_{first}"
    more = (f"{second}_{number}" for number in count(2))
    name = next(one for one in chain((first, second), more) if folded(one) not in taken)
    taken.add(folded(name))
    return name
