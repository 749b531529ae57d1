"""A run on its rung of the ladder: a step that does not fit is made again on the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.live.attach import attach
from lib_lora.sentences import say
from lib_lora.train.memory.blocks import blocks_of
from lib_lora.train.memory.compiling import compiled
from lib_lora.train.memory.ladder import CHECKPOINTING, PLAIN, above, saving
from lib_lora.train.memory.planner import choose, free_memory, out_of_memory
from lib_lora.train.saving import save_state
from lib_lora.train.training import Training

RUNG = "memory.json"
"""Where a run keeps its rung, so that it goes on as it began."""


class Fit:
    """The way in which a run's model is held while it trains."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.rung = PLAIN
        self._held = ExitStack()

    def begin(self) -> None:
        """Choose the rung, or take the one that the run has stood on, and hold the model so."""
        folder = self.training.folder
        known = folder.read_json(RUNG)
        if isinstance(known, dict) and known.get("rung") in (PLAIN, *above(PLAIN, self.training.model)):
            self.rung = str(known["rung"])
        else:
            choice = choose(self.training)
            self._stand_on(choice.rung, choice.why)
        self._hold()

    def end(self) -> None:
        """Give the model back as it was."""
        self._held.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the model be held as its host holds it for a while: for pictures."""
        self._held.close()
        try:
            yield
        finally:
            self._hold()

    def step(self, make: Callable[[Training], dict[str, Any]]) -> dict[str, Any]:
        """Return the row of the next step; where memory does not suffice, it is made again on the next rung.

        What is random in a step follows from its number, so it is the same step.

        Raises:
            AtelierError: it does not fit on the last rung, or the optimizer's own numbers do not.
        """
        while True:
            try:
                return make(self.training)
            except Exception as error:  # however torch says it
                if not out_of_memory(error):
                    raise
            self.training.optimizer.zero_grad()
            self._climb()

    def _climb(self) -> None:
        """Stand on the next rung.

        Raises:
            AtelierError: there is none (the state is saved), or the step has begun to change the LoRA.
        """
        training, higher = self.training, above(self.rung, self.training.model)
        if training.updating or not higher:
            if training.step and not training.updating:
                save_state(training)
            raise AtelierError(
                "The memory does not suffice for a step, not even with everything that saves some",
                where=say("step {n}", n=training.step + 1),
                cure="Close what else uses the GPU and resume the run; or start one with a smaller training size, "
                "batch size or dim.",
            )
        self._held.close()
        free_memory()
        self._stand_on(
            higher[0],
            say(
                "step {n} did not fit into the memory and was made again with {rung}",
                n=training.step + 1,
                rung=higher[0],
            ),
        )
        self._hold()

    def _stand_on(self, rung: str, why: str) -> None:
        self.rung = rung
        if why:
            self.training.remark(why, about="memory")
        if rung != PLAIN or why:
            self.training.folder.save_json(RUNG, {"rung": rung})

    def _hold(self) -> None:
        self._held = ExitStack()
        if self.training.options.compile and self.rung in (PLAIN, CHECKPOINTING):
            blocks = blocks_of(self.training.model.networks[:1])
            self._held.enter_context(compiled(blocks, self.training.remark))
        self._held.enter_context(saving(self.training.model, self.rung))


@contextmanager
def fitted(training: Training) -> Iterator[Fit]:
    """Hold a run's model on its rung while the context lasts.

    Raises:
        InputError: the rung that was asked for cannot be had here.
    """
    fit = Fit(training)
    training.fit = fit
    try:
        fit.begin()
        yield fit
    finally:
        fit.end()
        training.fit = None


@contextmanager
def ready(training: Training) -> Iterator[Fit]:
    """Let steps be made while the context lasts: the LoRAs under it and its own attached, the model on its rung.

    Raises:
        InputError: see `fitted`.
    """
    with ExitStack() as stack:
        for base in training.bases:
            stack.enter_context(attach(training.model, base.lora, base.strength, strategy="folded"))
        around = training.dropout.around(training.lora)
        training.attached = stack.enter_context(attach(training.model, around, 1.0, strategy="factors"))
        yield stack.enter_context(fitted(training))
