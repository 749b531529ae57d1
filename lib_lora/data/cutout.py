"""The subject of a picture told from its background by a model of the user's: u2net, isnet, BiRefNet and their kin.

Such a model takes (1, 3, h, w): the picture stretched to its side, divided by its brightest value, less a mean, divided
by a deviation; and gives (1, 1, h, w), how far each pixel belongs to the subject. The numbers are those of rembg.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora.data.files import shown
from lib_lora.data.onnx_model import OnnxModel, open_model, sigmoid_where_needed
from lib_lora.errors import InputError

Numbers = tuple[float, float, float]

_IMAGENET: Numbers = (0.485, 0.456, 0.406)
SPREAD = 0.05
"""Least difference in a model's answer for there to be a subject and a background."""


@dataclass(frozen=True)
class CutterForm:
    """How a kind of model is shown a picture: red, green, blue; ``side`` in px where the file leaves it open."""

    mean: Numbers
    deviation: Numbers
    side: int


FORMS = {
    "u2net": CutterForm(_IMAGENET, (0.229, 0.224, 0.225), 320),
    "isnet": CutterForm((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), 1024),
    "isnet-anime": CutterForm(_IMAGENET, (1.0, 1.0, 1.0), 1024),
    "birefnet": CutterForm(_IMAGENET, (0.229, 0.224, 0.225), 1024),
}
AUTO = "auto"


class Cutter:
    """A model that finds the subject of pictures."""

    def __init__(self, model: OnnxModel, form: str) -> None:
        self._model, self.form = model, form

    @classmethod
    def open(cls, path: Path, form: str = AUTO) -> Cutter:
        """Open a model; ``form`` is a name of `FORMS`, or `AUTO`: told by the file's name and its input's side.

        Raises:
            AtelierError: onnxruntime is not installed.
            FileError: the file is missing or cannot be read.
            InputError: it is no such model.
        """
        model = open_model(path)
        if model.channels_last:
            raise _other(path)
        return cls(model, form_of(path, model.size) if form == AUTO else form)

    def mask(self, picture: Image.Image) -> Image.Image | None:
        """Return how far each pixel belongs to the subject (mode L, the picture's size); None where none was found.

        Raises:
            FileError: the model cannot work.
            InputError: it answers with something else than a mask.
        """
        form = FORMS[self.form]
        size = self._model.size or (form.side, form.side)
        values = np.asarray(picture.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
        values = values / max(float(values.max()), 1e-6)
        shown_to = (values - np.array(form.mean, np.float32)) / np.array(form.deviation, np.float32)
        found = np.squeeze(self._model.run(shown_to)[0])
        if found.ndim != 2:
            raise _other(self._model.path)
        found = sigmoid_where_needed(found)
        low, high = float(found.min()), float(found.max())
        if high - low < SPREAD:
            return Image.new("L", picture.size, 255) if low > 0.5 else None
        made = Image.fromarray(((found - low) / (high - low) * 255).round().astype(np.uint8))
        return made.resize(picture.size, Image.Resampling.LANCZOS)


def form_of(path: Path, size: tuple[int, int] | None) -> str:
    """Return the name of a model's form, by the words in its file's name, else by the side of its input."""
    name = path.stem.lower()
    if "birefnet" in name or "rmbg-2" in name or "rmbg2" in name:
        return "birefnet"
    if "isnet" in name and "anime" in name:
        return "isnet-anime"
    if "u2net" in name:
        return "u2net"
    isnet = "isnet" in name or "rmbg" in name or (size is not None and max(size) > 512)
    return "isnet" if isnet else "u2net"


def _other(path: Path) -> InputError:
    return InputError(
        "This model does not answer with a mask",
        where=shown(path),
        cure="Choose a model for removing backgrounds, such as u2net, isnet-anime or BiRefNet.",
    )
