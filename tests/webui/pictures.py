"""Pictures compared level by level, and our own orders run inside a live host."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from tests.webui.live import LiveHost, from_base64

PRELUDE = """
from dataclasses import replace
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.weights import BlockWeights
from lib_lora.host.base import GenerateRequest
from lib_lora.progress import Stoppable
from lib_lora.ui.webui import singletons

host = singletons.atelier().host
ONES = BlockWeights.uniform(full_layout(host.model.family), 1.0)
USUAL = GenerateRequest("", seed=1, steps=4, cfg_scale=3, width=side, height=side, sampler="Euler")

def told(made):
    return {"images": [as_base64(one) for one in made.images], "infotexts": made.infotexts, "notes": made.notes}
"""


def difference(one: Image.Image, two: Image.Image) -> int:
    """Return the largest difference of a level (0 to 255) of two pictures of one size."""
    levels = [np.asarray(each.convert("RGB"), dtype=np.int16) for each in (one, two)]
    assert levels[0].shape == levels[1].shape
    return int(np.abs(levels[0] - levels[1]).max())


def run(webui: LiveHost, code: str, **given: Any) -> Any:
    """Run ``code`` in the host after `PRELUDE`: ``host`` is ours, ``USUAL`` the order that `LiveHost.txt2img` makes."""
    lines = code.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    return webui.run(PRELUDE + "\n".join(line[margin:] for line in lines), side=webui.side, **given)


def order(webui: LiveHost, **changes: Any) -> list[Image.Image]:
    """Return the pictures of our own order, the usual one with ``changes``."""
    told = run(webui, "result = told(host.generate(replace(USUAL, **changes)))", changes=changes)
    return [from_base64(text) for text in told["images"]]
