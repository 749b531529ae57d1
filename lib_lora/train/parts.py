"""A batch in parts of a few rows, each in a thread of its own: how a small model uses more than one processor core.

Its layers are too short to share among cores: torch's threads would mostly wait for each other (`process.use_threads`).
Whole rows of a batch need nothing of each other until their gradients are added up. How a batch is parted follows from
its size alone, and the sums are made in one order, so a run gives the same bits with one core or many.
"""

from __future__ import annotations

from lib_lora.train.memory.ladder import PLAIN
from lib_lora.train.training import Training

ROWS = 4
"""The rows of a part: with fewer, the work beside the layers' own grows."""


def parted(rows: slice) -> list[slice]:
    """Return the parts of some rows of a batch, as even as can be."""
    count = max(1, -(-(rows.stop - rows.start) // ROWS))
    edges = [rows.start + (rows.stop - rows.start) * n // count for n in range(count + 1)]
    return [slice(*pair) for pair in zip(edges, edges[1:], strict=False)]


def can_be_parted(training: Training) -> bool:
    """Whether parts of a batch need nothing of each other in this run, and gain by being computed apart.

    Dropout says to all layers at once what is going on; a model that is held in another way than its own is changed
    while it computes.
    """
    model, options = training.model, training.options
    held = training.fit is not None and training.fit.rung != PLAIN
    if held or options.compile or training.dropout.active:
        return False
    return model.side_by_side
