"""Orders and fits with as little of everything as shows that it is done: every step is real, few of its parts are done.

python -m tests.short_make studio --data FOLDER     a studio whose orders are that short
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.host.request import GenerateRequest
from lib_lora.services import fit_pictures
from lib_lora.services.make import answers, captions_used, plan, proof, shrink, weights
from lib_lora.train import rate_range, recipes

SMALL: dict[str, Any] = {"resolution": 64, "batch_size": 1, "dim": 2, "conv_dim": 2}


def shorten(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Lower every amount; ``put`` sets a name of a module, so that a test can have it set back."""
    few = partial(FitOptions, rounds=1, levels=1, neutral=("red apple", "star", "ninja", "boy"))
    put(plan, "DRAWN_SMALL", 2)
    put(plan, "SAVES", 2)
    put(rate_range, "STEPS", 2)
    put(recipes, "SMALL", {**recipes.SMALL, **SMALL})
    put(weights, "FitOptions", few)
    put(weights, "AnalyzeOptions", partial(AnalyzeOptions, neutral=("red apple",)))
    for module in (answers, shrink):
        put(module, "LEVELS", 1)
    put(shrink, "ASKED", 1)
    put(shrink, "SHARES", (0.3, 0.9))
    put(proof, "GenerateRequest", partial(GenerateRequest, steps=1, width=64, height=64))
    put(fit_pictures, "request_of", lambda options: GenerateRequest("", seed=options.seed, steps=1))
    put(captions_used, "SMALL_MEASURED", captions_used.SMALL_MEASURED[:2])


if __name__ == "__main__":
    from lib_lora.__main__ import start

    shorten()
    sys.exit(start())
