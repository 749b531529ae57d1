"""Masks, or transparent copies, of a folder of pictures by a model of the user's; the pictures stay as they are."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from lib_lora.atomic import cure_of, replace_file
from lib_lora.data.cutout import AUTO, FORMS, Cutter
from lib_lora.data.edit_captions import captions_of
from lib_lora.data.files import CAPTION_SUFFIXES, Problem, shown
from lib_lora.data.images import load_layers, load_picture
from lib_lora.data.tags import write_text
from lib_lora.errors import FileError, InputError
from lib_lora.options import REQUIRED, option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

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
        "Empty: beside the folder of pictures, with _masks or _transparent behind its name.",
        form="DIR",
    )
    again: bool = option(False, "Make again", "What is there already is made again; else it stays.")

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

    Raises:
        InputError: it lies in the folder of pictures, where a training would take all of it for pictures.
    """
    folder = pictures.resolve()
    target = folder.with_name(f"{folder.name}_{makes}") if given is None else given.resolve()
    if target == folder or target.is_relative_to(folder):
        raise InputError(
            "This folder is among the pictures: a training would learn what is in it",
            where=shown(target),
            cure="Choose a folder beside them, or leave it empty.",
            option="target",
        )
    return target


def cut_out(
    folder: Path,
    pictures: Sequence[Path],
    cutter: Path,
    target: Path,
    options: CutoutOptions,
    progress: Progress = QUIET,
) -> CutoutsMade:
    """Make a mask or a transparent copy for each picture, under its name and sub-folder.

    Args:
        folder: of the pictures.
        pictures: that are meant.
        cutter: the model's file, where the server may read it.
        target: see `target_of`.
        options: how.
        progress: told of every picture; a stop keeps what is made.

    Raises:
        AtelierError: onnxruntime is missing, or the model cannot be used.
    """
    model = Cutter.open(cutter, options.cutter_form)
    captions = captions_of(pictures) if options.makes == COPIES else {}
    written: list[Path] = []
    nothing: list[Path] = []
    problems: list[Problem] = []
    kept = 0
    for done, picture in enumerate(pictures):
        within = (
            picture.resolve().relative_to(folder.resolve()) if picture.is_relative_to(folder) else Path(picture.name)
        )
        path = target / within.with_suffix(".png")
        try:
            if path.exists() and not options.again:
                kept += 1
            elif (made := _made(model, picture, options.makes)) is None:
                nothing.append(picture)
            else:
                _save(made, path)
                if text := captions.get(picture, ""):
                    write_text(path.with_suffix(CAPTION_SUFFIXES[0]), text + "\n")
                written.append(path)
        except FileError as error:
            problems.append(Problem(picture, error.what, error.cure))
        progress.update(done + 1, len(pictures), say("cutting subjects out"))
        if progress.stopped:
            break
    if written:
        os.utime(target)  # a list of the folder that was read before is old, whichever sub-folder the files are in
    return CutoutsMade(target, model.form, written, kept, nothing, problems)


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


def _save(picture: Image.Image, path: Path) -> None:
    data = io.BytesIO()
    picture.save(data, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = say("The folder cannot be made ({reason})", reason=error)
        raise FileError(what, where=shown(path.parent), cure=cure_of(error)) from error
    replace_file(path, data.getvalue(), what=say("The picture"))
