"""Muon for what is a matrix, AdamW for the rest, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class MuonWithAdamW(torch.optim.Optimizer):
    """torch's Muon (arXiv:2502.16982), which takes matrices only; kernels of convolutions go to AdamW.

    Args:
        params: what is trained, or groups of it with rates of their own.
        lr: of both; Muon's steps are made as long as AdamW's.
        weight_decay: decoupled, of both.
        momentum, nesterov, ns_steps: of Muon.
        betas, eps: of AdamW.

    Raises:
        AttributeError: this torch has no Muon (it came with 2.9).
    """

    def __init__(
        self,
        params: Iterable[Tensor | dict[str, Any]],
        lr: float = 1e-4,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        groups: list[dict[str, Any]] = [one if isinstance(one, dict) else {"params": [one]} for one in params]
        rows = [(parameter, group.get("lr", lr)) for group in groups for parameter in group["params"]]
        both = {"lr": lr, "weight_decay": weight_decay}
        shape = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps, "adjust_lr_fn": "match_rms_adamw"}
        matrices, others = _by_rate(rows, lambda p: p.ndim == 2), _by_rate(rows, lambda p: p.ndim != 2)
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(torch.optim.Muon(matrices, **both, **shape))
        if others:
            self._parts.append(torch.optim.AdamW(others, **both, betas=betas, eps=eps))
        super().__init__([group for part in self._parts for group in part.param_groups], both)
        self._join()

    def _join(self) -> None:
        """Let both parts' groups and states be those of this one."""
        self.param_groups = [group for part in self._parts for group in part.param_groups]
        self.state.clear()
        for part in self._parts:
            self.state.update(part.state)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step of both."""
        value = closure() if closure is not None else None
        for part in self._parts:
            part.step()
        self._join()
        return value

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        super().load_state_dict(state_dict)
        groups = list(self.param_groups)
        for part in self._parts:
            part.param_groups = [groups.pop(0) for _ in part.param_groups]
            own = {parameter for group in part.param_groups for parameter in group["params"]}
            part.state.clear()
            part.state.update({parameter: kept for parameter, kept in self.state.items() if parameter in own})


def _by_rate(rows: list[tuple[Tensor, float]], belongs: Callable[[Tensor], bool]) -> list[dict[str, Any]]:
    """Return groups of equal rate of the parameters that belong."""
    found: dict[float, list[Tensor]] = {}
    for parameter, rate in rows:
        if belongs(parameter):
            found.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in found.items()]
