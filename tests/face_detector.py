"""A stand-in for animeface: no drawn face can be made in a test that it is sure to find."""

from __future__ import annotations

from types import SimpleNamespace


def detector(*boxes):
    """Return a stand-in for animeface that finds these boxes (x, y, width, height, sure), in px of what it is shown."""

    def detect(picture):
        assert picture.mode == "RGB"
        detect.seen.append(picture.size)
        return [
            SimpleNamespace(
                likelihood=sure, face=SimpleNamespace(pos=SimpleNamespace(x=x, y=y, width=width, height=height))
            )
            for x, y, width, height, sure in boxes
        ]

    detect.seen = []
    return SimpleNamespace(detect=detect)
