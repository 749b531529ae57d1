"""How several LoRAs are joined: the exact sum, and what other ways there are, with the numbers that each takes."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.errors import InputError
from lib_lora.options import option, settle

METHODS = ("sum", "ties", "dare", "k_lora", "project")
SIDES = ("shared", "inputs", "outputs", "either")
DENSITY = {"ties": 0.2, "dare": 0.5}
"""TIES keeps a fifth (arXiv:2306.01708), DARE the middle of the shares that its authors tried (arXiv:2311.03099)."""
_OF = {"density": tuple(DENSITY), "seed": ("dare",), "side": ("project",)}


@dataclass(frozen=True)
class MethodOptions:
    """How LoRAs are joined; see `lib_lora.merge.join` for what a weight means to each method."""

    method: str = option(
        "sum",
        "How to combine",
        "sum: exact. ties: the largest changes of each, where most agree on the sign. dare: by chance fewer changes, "
        "made stronger. k_lora: each layer from the one that says most there. project: the first without what the "
        "second does.",
        choices=METHODS,
    )
    density: float | None = option(
        None,
        "Share that stays",
        "ties, dare: share of each layer's numbers that stays; without it 0.2 for ties and 0.5 for dare.",
        low=0.001,
        high=1,
    )
    seed: int | None = option(
        None,
        "Seed of dare",
        "dare: draws which numbers stay; without it 0. The same seed gives the same file.",
        low=0,
        high=2**32 - 1,
    )
    side: str | None = option(
        None,
        "What is taken out",
        "project: shared takes out what reads and writes where the second does; outputs, inputs and either take out "
        "more; without it shared.",
        choices=SIDES,
    )

    def __post_init__(self) -> None:
        settle(self)
        for name, methods in _OF.items():
            if getattr(self, name) is not None and self.method not in methods:
                raise InputError(
                    "{name} means nothing to the method {method}",
                    name=name,
                    method=self.method,
                    where=name,
                    cure="Leave it out, or choose the method {methods}.",
                    methods=methods,
                    option=name,
                )

    @property
    def kept(self) -> float:
        """Return the share of numbers that stay, of a method that has one."""
        return self.density if self.density is not None else DENSITY[self.method]

    @property
    def drawn(self) -> int:
        """Return the seed."""
        return self.seed or 0

    @property
    def taken_out(self) -> str:
        """Return what `project` takes out."""
        return self.side or SIDES[0]

    def check(self, count: int) -> None:
        """Refuse a number of LoRAs that the method has no meaning for.

        Raises:
            InputError: `k_lora` of fewer than two, `project` of any number but two.
        """
        if self.method == "k_lora" and count < 2:
            raise InputError(
                "Each layer can only be chosen from two LoRAs or more", where=self.method, cure="Add another LoRA."
            )
        if self.method == "project" and count != 2:
            raise InputError(
                "Two LoRAs are needed: the one that stays, and the one whose directions are taken out",
                where=self.method,
                cure="Give two; several that are to be taken out are added into one file first.",
            )

    def step(self) -> dict[str, object]:
        """Return the method and its numbers, as a recipe tells them."""
        step: dict[str, object] = {"op": self.method}
        if self.method in DENSITY:
            step["density"] = self.kept
        if self.method == "dare":
            step["seed"] = self.drawn
        if self.method == "project":
            step["side"] = self.taken_out
        return step
