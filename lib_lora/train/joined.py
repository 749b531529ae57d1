"""Many parameters as a few long tensors for a library's optimizer: one call of each of its operations for all.

A LoRA has hundreds of small tensors, and the optimizers that find their step size make some twenty operations and a
wait for the GPU for each of them. Where an optimizer treats every number by itself, or sums over all of them, the same
work on long tensors gives the same numbers; only its sums are added up in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Build = Callable[[list[Any]], torch.optim.Optimizer]
LONGEST = {"cpu": 2**16}
"""Numbers of a long tensor: on a processor it should stay in the cache, and below what is fetched anew from the system
for each result. Elsewhere there is no limit: what costs is each call."""
_TRIED = (2, 2)


class Joined:
    """A library's optimizer that works on joined parameters while each step has a gradient for the same of them.

    What is saved and loaded has the library's own form, one entry for each parameter, so states fit either way. Between
    steps nothing is held but the optimizer's states.
    """

    def __init__(self, build: Build, groups: Sequence[Mapping[str, Any]]) -> None:
        """Build the optimizer on groups of torch's kind: ``params``, and rates of their own."""
        self._build = build
        self.plain = build([dict(group) for group in groups])
        self._rows = _rows(build)
        self._long: torch.optim.Optimizer | None = None
        self._pieces: list[list[list[int]]] = []

    @property
    def active(self) -> torch.optim.Optimizer:
        """The optimizer that holds the present states."""
        return self.plain if self._long is None else self._long

    def step(self, ratios: Sequence[Sequence[float]]) -> bool:
        """Make one step, and scale what it did to each parameter by its ratio; return whether it was made.

        It is not where other parameters have gradients than before, or several devices are in it: from then on `plain`
        holds the states.
        """
        pieces = [_pieces(group["params"]) for group in self.plain.param_groups]
        if not (pieces == self._pieces if self._long is not None else self._join(pieces)):
            self.part()
            return False
        with torch.no_grad():
            before = [_gather(long, own) for long, own, _ in self._each(ratios)]
        self.active.step()
        with torch.no_grad():
            for was, (long, own, scales) in zip(before, self._each(ratios), strict=True):
                _scale(was, long.data, own, scales)
                for parameter, value in zip(own, long.data.split([p.numel() for p in own]), strict=True):
                    parameter.copy_(value.view_as(parameter))
                long.grad, long.data = None, long.data.new_empty(0)
        return True

    def part(self) -> None:
        """Give `plain` the states, for good."""
        if self._long is not None:
            self.plain.load_state_dict(self.state_dict())
        self._long, self._rows = None, None

    def state_dict(self) -> dict[str, Any]:
        """Return the states in the library's own form."""
        if self._long is None:
            return self.plain.state_dict()
        kept = self.plain.state_dict()
        states: dict[int, dict[str, Any]] = {}
        for group, mine, pieces, long in zip(
            kept["param_groups"], self.plain.param_groups, self._pieces, self._long.param_groups, strict=True
        ):
            group.update({name: value for name, value in long.items() if name != "params"})
            for piece, parameter in zip(pieces, long["params"], strict=True):
                own = [mine["params"][n] for n in piece]
                apart = _apart(self._long.state[parameter], own, self._rows or ())
                states |= dict(zip((group["params"][n] for n in piece), apart, strict=True))
        return {"state": dict(sorted(states.items())), "param_groups": kept["param_groups"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._long = None
        self.plain.load_state_dict(state)

    def _each(self, ratios: Sequence[Sequence[float]]) -> Iterator[tuple[nn.Parameter, list[Tensor], list[float]]]:
        """Yield each long parameter with those that it stands for, and their ratios."""
        for group, pieces, long, scales in zip(
            self.plain.param_groups, self._pieces, self.active.param_groups, ratios, strict=True
        ):
            for piece, parameter in zip(pieces, long["params"], strict=True):
                yield parameter, [group["params"][n] for n in piece], [scales[n] for n in piece]

    def _join(self, pieces: list[list[list[int]]]) -> bool:
        """Make the optimizer on long parameters, with the states so far; return whether that can be."""
        if self._rows is None or not all(pieces):
            return False
        state, groups = self.plain.state, self.plain.param_groups
        owns = [[[g["params"][n] for n in piece] for piece in own] for g, own in zip(groups, pieces, strict=True)]
        everyone = [p for own in owns for piece in own for p in piece]
        if {id(p) for p, kept in state.items() if kept} - {id(p) for p in everyone}:
            return False  # some that have no gradient now had one
        together = [[_together([state.get(p, {}) for p in piece], piece) for piece in own] for own in owns]
        if len({(p.device, p.dtype) for p in everyone}) > 1 or any(None in own for own in together):
            return False
        given = [
            {**group, "params": [nn.Parameter(piece[0].new_empty(0)) for piece in own]}
            for group, own in zip(groups, owns, strict=True)
        ]
        self._long, self._pieces = self._build(given), pieces
        for group, kept in zip(self._long.param_groups, together, strict=True):
            self._long.state.update({p: one for p, one in zip(group["params"], kept, strict=True) if one})
        state.clear()
        return True


def _pieces(parameters: Sequence[Tensor]) -> list[list[int]]:
    """Return which parameters with a gradient are joined, as their numbers: as many together as may be."""
    found: list[list[int]] = []
    room = 0
    for number, parameter in enumerate(parameters):
        if parameter.grad is None:
            continue
        if not found or parameter.numel() > room:
            found.append([])
            room = LONGEST.get(parameter.device.type, 2**62)
        found[-1].append(number)
        room -= parameter.numel()
    return found


def _gather(long: nn.Parameter, own: list[Tensor]) -> Tensor:
    """Put values and gradients into a long parameter; return the values as they were."""
    before = torch.cat([p.detach().flatten() for p in own])
    long.data = before.clone()
    long.grad = torch.cat([p.grad.flatten() for p in own if p.grad is not None])
    return before


def _apart(state: Mapping[str, Any], own: list[Tensor], rows: Sequence[str]) -> list[dict[str, Any]]:
    """Return the states of each parameter from those of the long one; ``rows`` have no other form."""
    sizes = [p.numel() for p in own]
    found: list[dict[str, Any]] = [{} for _ in own]
    for name, value in state.items():
        if isinstance(value, Tensor) and value.ndim and value.numel() == sum(sizes):
            pieces = [piece.clone() for piece in value.split(sizes)]
            values: list[Any] = pieces if name in rows else list(map(Tensor.view_as, pieces, own))
        else:
            values = [value.clone() if isinstance(value, Tensor) else value for _ in own]
        for one, piece in zip(found, values, strict=True):
            one[name] = piece
    return found


def _scale(before: Tensor, after: Tensor, own: list[Tensor], ratios: list[float]) -> None:
    """Scale what was applied, ``p ← p_before + ratio · (p_after − p_before)``, for each run of equal ratios at once."""
    begin = end = 0
    for number, (parameter, ratio) in enumerate(zip(own, ratios, strict=True)):
        end += parameter.numel()
        if number + 1 < len(own) and ratios[number + 1] == ratio:
            continue
        if ratio != 1:
            after[begin:end] = torch.lerp(before[begin:end], after[begin:end], ratio)
        begin = end


def _together(states: list[dict[str, Any]], own: list[Tensor]) -> dict[str, Any] | None:
    """Return the states of a long parameter from those of each; None where they do not fit together."""
    if len({tuple(sorted(state)) for state in states}) > 1:
        return None
    found: dict[str, Any] = {}
    sizes = [p.numel() for p in own]
    for name, first in states[0].items():
        values = [state[name] for state in states]
        if all(isinstance(value, Tensor) for value in values) and any(value.ndim for value in values):
            # One that is all zero may be kept as one number.
            rows = [value.flatten() if value.ndim else value.expand(n) for value, n in zip(values, sizes, strict=True)]
            if [len(row) for row in rows] != sizes:
                return None
            found[name] = torch.cat(rows)
        elif all(torch.equal(value, first) if isinstance(value, Tensor) else value == first for value in values):
            found[name] = first.clone() if isinstance(first, Tensor) else first
        else:
            return None
    return found


def _rows(build: Build) -> tuple[str, ...] | None:
    """Return which states an optimizer keeps as a row, whatever form the parameter has.

    None where it keeps some of another size, which cannot be joined.
    """
    tried = nn.Parameter(torch.full(_TRIED, 0.5))
    tried.grad = torch.tensor([[0.1, -0.2], [0.3, 0.4]])
    made = build([{"params": [tried]}])
    made.step()
    kept = {name: value for name, value in made.state[tried].items() if isinstance(value, Tensor)}
    if any(value.ndim and value.numel() != tried.numel() for value in kept.values()):
        return None
    return tuple(name for name, value in kept.items() if value.ndim == 1 and value.numel() == tried.numel())
