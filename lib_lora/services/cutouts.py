"""Masks, or transparent copies, of a folder of pictures by a model of the user's; the pictures stay as they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageChops

from lib_lora.data.caption_files import USUAL, CaptionFiles, Endings, captions_of
from lib_lora.data.captions import folded
from lib_lora.data.cutout import AUTO, FORMS, Cutter
from lib_lora.data.files import Problem, shown
from lib_lora.data.images import load_layers, load_picture
from lib_lora.data.leaves import set_of
from lib_lora.errors import FileError, InputError
from lib_lora.options import REQUIRED, option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say
from lib_lora.services.given_data import is_dataset_file
from lib_lora.services.made_pictures import is_made_here, put_caption, save_again

KIND = "cutouts"
MASKS, COPIES = "masks", "transparent"


@dataclass(frozen=True)
class CutoutOptions:
    """How subjects are cut out; making one checks it."""

    cutter: str = option(
        REQUIRED,
        "Model file",
        "A background remover of yours as .onnx file, such as u2net, isnet-anime or BiRefNet.",
        form="FILE",
    )
    makes: str = option(
        MASKS,
        "Makes",
        "masks for a training with a folder of masks, or transparent copies with their captions.",
        choices=(MASKS, COPIES),
    )
    cutter_form: str = option(
        AUTO,
        "Kind of model",
        "How pictures are given to it; auto tells it by the file's name and the size of its input.",
        choices=(AUTO, *FORMS),
    )
    target: str = option(
        "",
        "Into folder",
        "Empty: beside the pictures, with _masks or _transparent behind the name of their data set's folder.",
        form="DIR",
    )
    again: bool = option(False, "Make again", "What was made here and not changed since is made again; else it stays.")

    def __post_init__(self) -> None:
        settle(self)


@dataclass(frozen=True)
class CutoutsMade:
    """What was made.

    Attributes:
        folder: where it lies.
        form: how pictures were given to the model (`FORMS`).
        written: files that were made.
        kept: how many were there already, and stay.
        nothing: pictures in which no subject was found; nothing was made of them.
        problems: what could not be read or written.
    """

    folder: Path
    form: str
    written: Sequence[Path]
    kept: int
    nothing: Sequence[Path]
    problems: Sequence[Problem]


def target_of(pictures: Path, given: Path | None, makes: str) -> Path:
    """Return the folder that masks or copies go into.

    Args:
        pictures: their folder, or a dataset file.
        given: by a person; None: beside the pictures, or beside the data set that a numbered folder is of.
        makes: `MASKS` or `COPIES`.

    Raises:
        InputError: a training would take what is in it for pictures.
    """
    place = pictures.resolve()
    if given is not None:
        target = given.resolve()
    elif is_dataset_file(place):
        target = place.with_name(f"{place.stem}_{makes}")
    else:
        whole = set_of(place)
        beside = whole.with_name(f"{whole.name}_{makes}") if whole.name else whole / makes
        target = beside / place.relative_to(whole)
    if not is_dataset_file(place):
        _refuse_among(target, [place])
    return target


def cut_out(
    folder: Path,
    pictures: Sequence[Path],
    cutter: Path,
    target: Path,
    options: CutoutOptions,
    progress: Progress = QUIET,
    *,
    trained: Iterable[Path] = (),
    endings: Endings = USUAL,
) -> CutoutsMade:
    """Make a mask or a transparent copy for each picture, under its name and sub-folder.

    Args:
        folder: of the pictures, or their dataset file.
        pictures: that are meant.
        cutter: the model's file, where the server may read it.
        target: see `target_of`.
        options: how.
        progress: told of every picture; a stop keeps what is made.
        trained: folders that are trained with those of the pictures.
        endings: of the pictures' caption files.

    Raises:
        AtelierError: onnxruntime is missing, the model cannot be used, or the target is among what is trained.
    """
    _refuse_among(target, {path.resolve() for path in (*trained, *(picture.parent for picture in pictures))})
    model = Cutter.open(cutter, options.cutter_form)
    work = _Work(model, options, captions_of(pictures, endings) if options.makes == COPIES else {})
    for done, picture in enumerate(pictures):
        within = picture.relative_to(folder) if picture.is_relative_to(folder) else _by_folder(picture)
        try:
            work.add(picture, (target / within).with_suffix(".png"))
        except FileError as error:
            work.problems.append(Problem(picture, error.what, error.cure))
        progress.update(done + 1, len(pictures), say("cutting subjects out"))
        if progress.stopped:
            break
    if work.written:
        os.utime(target)  # a list of the folder that was read before is old, whichever sub-folder the files are in
    return CutoutsMade(target, model.form, work.written, work.kept, work.nothing, work.problems)


@dataclass
class _Work:
    """What is made, picture by picture."""

    model: Cutter
    options: CutoutOptions
    captions: Mapping[Path, str]
    there: CaptionFiles = field(default_factory=CaptionFiles)
    written: list[Path] = field(default_factory=list)
    nothing: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    taken: dict[str, Path] = field(default_factory=dict)
    kept: int = 0

    def add(self, picture: Path, path: Path) -> None:
        """Make the file of one picture, unless it is there.

        Raises:
            FileError: the picture cannot be read, or the file not be written; or it is another one's.
        """
        first = self.taken.setdefault(folded(str(path)), picture)
        if first != picture:
            what = say("It would get the file that {other} has", other=shown(first))
            raise FileError(what, cure="Give one of the two another name.")
        if path.exists() and not self.options.again:
            self.kept += 1
            return
        if path.exists() and not is_made_here(path):
            what = say("{file} was not made here, or changed since, so it stays", file=shown(path))
            raise FileError(what, cure="Move it away, or choose another folder.")
        made = _made(self.model, picture, self.options.makes)
        if made is None:
            self.nothing.append(picture)
            return
        save_again(made, path)
        self.written.append(path)
        said = put_caption(path, self.captions.get(picture, ""), self.there, again=self.options.again)
        self.problems += [said] if said else []


def _refuse_among(target: Path, folders: Iterable[Path]) -> None:
    """Refuse a target that is one of the folders of pictures, lies in one, or holds one.

    Raises:
        InputError: so it is.
    """
    target = target.resolve()
    for folder in folders:
        if target.is_relative_to(folder):
            what = say("This folder is among the pictures: a training would learn what is in it")
        elif folder.is_relative_to(target):
            what = say("The pictures lie below this folder: a training of it would learn what is put there")
        else:
            continue
        raise InputError(what, where=shown(target), cure="Choose a folder beside the pictures.", option="target")


def _by_folder(picture: Path) -> Path:
    """Return where the file of a dataset file's picture lies: in a folder called like its own, where it is found."""
    return Path(picture.parent.name, picture.name)


def try_mask(picture: Path, cutter: Path, options: CutoutOptions) -> tuple[Image.Image, Image.Image | None, str]:
    """Return a picture, its mask (None: no subject was found), and the model's form; nothing is written."""
    model, image = Cutter.open(cutter, options.cutter_form), load_picture(picture)
    return image, model.mask(image), model.form


def _made(model: Cutter, picture: Path, makes: str) -> Image.Image | None:
    image, alpha = load_layers(picture)
    mask = model.mask(image)
    if mask is None:
        return None
    if alpha is not None:
        mask = ImageChops.multiply(mask, alpha)
    if makes == MASKS:
        return mask
    image.putalpha(mask)
    return image
