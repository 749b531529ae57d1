"""Captions of other things: some are drawn so that the model keeps what it knows, others measure what it forgot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib_lora.host.base import LoadedModel, is_small

KEPT = Path(__file__).parents[2] / "host" / "pocket" / "kept.txt"
"""Captions that the pocket model knows."""


@dataclass(frozen=True)
class OtherThings:
    """Captions without the trigger word; no list shares one with another, nor with what a fit learns from.

    Attributes:
        kept: of which regularization pictures are drawn.
        measured: on which the drift of the finished LoRA is measured.
        scenes: to stand behind the trigger: far from usual training pictures.
        untouched: one that is rendered, to see that it stays as it was.
    """

    kept: tuple[str, ...]
    measured: tuple[str, ...]
    scenes: tuple[str, ...]
    untouched: str


FULL = OtherThings(
    (
        "1girl, school uniform, classroom, sitting",
        "1girl, dress, garden, flowers, smile",
        "1boy, jacket, street, walking",
        "1boy, suit, office, standing",
        "2girls, park, talking, day",
        "an old woman reading a book in an armchair",
        "a man with a beard, portrait, studio light",
        "a child playing on a beach",
        "a white cat on a windowsill",
        "a dog running in a field",
        "a horse beside a fence",
        "a bird on a branch, spring",
        "a train at a station, evening",
        "a bicycle against a brick wall",
        "an old car in a garage",
        "a bowl of ramen, steam",
        "a cake with strawberries on a plate",
        "a mountain lake, morning mist",
        "a forest path in autumn",
        "a snowy village at night, lights",
        "a harbor with fishing boats",
        "a desk with books and a lamp",
        "a kitchen, pots on a stove",
        "a temple with red lanterns",
    ),
    (
        "1girl, kimono, festival, fireworks",
        "1boy, baseball cap, sitting on stairs",
        "a rabbit in tall grass",
        "a ship on a stormy sea",
        "a glass of lemonade on a table",
        "a waterfall in a jungle",
        "a robot in a workshop",
        "an empty street in the rain, neon signs",
    ),
    ("riding a bicycle, city street, from side", "sitting in a café, night, looking out of the window"),
    "a lighthouse on a cliff, sunset",
)
SMALL_MEASURED = (
    "green apple, white background",
    "girl dark skin tone, green background",
    "small red heart on the left, gray background",
    "dog face",
    "sun, blue background",
    "small smiling face at the top, pink background",
    "umbrella, white background",
    "banana",
)
SMALL_SCENES = ("yellow background", "small, on the right, blue background")


def other_things(model: LoadedModel) -> OtherThings:
    """Return the captions that suit a model."""
    if not is_small(model.native_side):
        return FULL
    measured = {*SMALL_MEASURED}
    kept = tuple(text for text in KEPT.read_text(encoding="utf-8").splitlines() if text not in measured)
    return OtherThings(kept, SMALL_MEASURED, SMALL_SCENES, "red car, green background")
