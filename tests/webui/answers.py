"""What a WebUI's REST answers: pictures with what they carry, and refusals."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Made:
    """What the host answered to an order for pictures."""

    images: list[Image.Image]
    info: dict[str, Any]
    answer: dict[str, Any]

    @property
    def image(self) -> Image.Image:
        """The first picture, RGB."""
        return self.images[0]

    @property
    def infotexts(self) -> list[str]:
        """The text that each picture carries, one a picture."""
        return self.info["infotexts"]

    @property
    def infotext(self) -> str:
        """The text that the first picture carries."""
        return self.infotexts[0]


class Refused(Exception):
    """The host answered with an error: its status and what it said."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said[:2000]}")
        self.status, self.said = status, said

    @property
    def json(self) -> Any:
        """What it said, read as JSON."""
        return json.loads(self.said)


class Hung(TimeoutError):
    """The host lives and does not answer, or not in time; with what each of its threads was doing."""


def as_base64(image: Image.Image) -> str:
    """Return a picture as the host's REST takes it."""
    held = io.BytesIO()
    image.save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


def from_base64(text: str) -> Image.Image:
    """Return a picture of the host's REST, with what it carries (``.info``)."""
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image
