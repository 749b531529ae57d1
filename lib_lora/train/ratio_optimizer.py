"""A library's optimizer with ratios per group that really act, its arguments tried before a run begins.

DAdapt and Prodigy share one step size over all parameters and read only one learning rate, so a lower rate for the text
encoder does nothing or raises there. Here every optimizer gets one group with one rate, and what it did to a parameter
is scaled by the parameter's ratio afterwards: ``p ← p_before + ratio · (p_after − p_before)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.sentences import say
from lib_lora.train.joined import Joined
from lib_lora.train.optimizers import OPTIMIZERS, own_rate, spec_of

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions


@dataclass(frozen=True)
class Group:
    """Parameters that share a ratio on what is applied to them."""

    parameters: Sequence[Tensor]
    ratio: float


def _built(name: str) -> Callable[..., torch.optim.Optimizer]:
    """Return what builds an optimizer.

    Raises:
        InputError: its package is missing, or the path leads to no optimizer.
    """
    known = spec_of(name)
    try:
        return known.build()
    except InputError:
        raise
    except Exception as error:  # a module that is imported may raise anything at all
        if known.there:
            raise InputError(
                "{name} cannot be imported: {error}",
                name=name,
                error=error,
                where="optimizer",
                cure="Choose AdamW, or correct the path: package.module.Class.",
            ) from error
        raise InputError(
            "{name} needs the package {package}, which is not installed",
            name=name,
            package=known.package,
            where="optimizer",
            cure="Choose AdamW, or install it.",
        ) from error


TRIED_STEPS = 3
"""Steps on which arguments are tried: some optimizers look at an argument at their second step only."""


def _try_out(name: str, build: Callable[..., torch.optim.Optimizer], settings: Mapping[str, Any]) -> None:
    """Build an optimizer and make a few steps on a matrix and a kernel: many arguments are first looked at there.

    Raises:
        InputError: the optimizer refuses its arguments, or makes numbers of them that are not finite.
    """
    usual = _arguments_of(build)
    for key in settings.keys() - usual.keys() - {"lr"}:
        raise InputError(
            say("{name} has no argument “{text}”", name=name, text=key),
            where="optimizer_args",
            cure="It takes {names}.",
            names=_listed(usual),
        )
    numbers = [torch.full(shape, 0.5, requires_grad=True) for shape in ((2, 2), (2, 2, 1, 1))]
    try:
        tried = build(numbers, **settings)
        for _ in range(TRIED_STEPS):
            for number in numbers:  # a LoRA's first gradients are 0 in one half
                number.grad = torch.tensor([0.1, -0.2, 0.0, 0.3]).reshape(number.shape)
            tried.step()
    except Exception as error:  # a library that gets a wrong value may raise anything at all
        raise InputError(
            "{name} does not take these arguments: {error}",
            name=name,
            error=error,
            where="optimizer_args",
            cure="Give values of the kind that it has by itself: {names}.",
            names=_listed(usual),
        ) from error
    if not all(torch.isfinite(number).all() for number in numbers):
        raise InputError(
            "With these arguments {name} comes to numbers that are not finite",
            name=name,
            where="optimizer_args",
            cure="Its own values are {names}.",
            names=_listed(usual),
        )


def _arguments_of(build: Callable[..., torch.optim.Optimizer]) -> dict[str, Any]:
    """Return an optimizer's arguments with their values, without the parameters and what has an option of its own."""
    known = inspect.signature(build).parameters.values()
    return {one.name: one.default for one in known if one.name not in ("params", "lr")}


def _listed(arguments: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in arguments.items()]


class RatioOptimizer:
    """A library's optimizer over all groups as one, and the ratios of the groups on its applied update.

    With ``as_sd_scripts`` the library gets a group with a rate of its own for each part instead, and whatever it makes
    of them happens: so published recipes come out to the number.
    """

    def __init__(
        self,
        name: str,
        groups: Sequence[Group],
        *,
        learning_rate: float,
        arguments: Mapping[str, Any],
        as_sd_scripts: bool = False,
        joined: bool = True,
    ) -> None:
        if "lr" in arguments:
            raise InputError(
                "The learning rate is an option of its own", where="optimizer_args, lr", cure="Set learning_rate."
            )
        known = spec_of(name)
        self.groups = tuple(group for group in groups if group.ratio and group.parameters)
        self._exact = as_sd_scripts
        self._own_rate = own_rate(name, arguments)
        settings = {**({} if as_sd_scripts else known.defaults), **arguments}
        settings["lr"] = None if self._own_rate else learning_rate
        build = _built(name)
        if arguments or name not in OPTIMIZERS:
            _try_out(name, build, settings)
        given = self._given(learning_rate)
        self._joined = Joined(lambda groups: build(groups, **settings), given) if joined and known.joins else None
        self._plain = build(given, **settings) if self._joined is None else self._joined.plain
        self._first = [group.get("d") for group in self.inner.param_groups]
        self._rates = [group["lr"] for group in self.inner.param_groups]
        self._averages = hasattr(self.inner, "eval") and hasattr(self.inner, "train")

    def _given(self, learning_rate: float) -> list[dict[str, Any]]:
        if self._exact and not self._own_rate:
            return [{"params": list(g.parameters), "lr": learning_rate * g.ratio} for g in self.groups]
        return [{"params": [p for group in self.groups for p in group.parameters]}]

    @property
    def inner(self) -> torch.optim.Optimizer:
        """The library's optimizer that holds the present states."""
        return self._plain if self._joined is None else self._joined.active

    def _ratios(self) -> list[list[float]]:
        """Return what scales the update of each parameter of each of the library's groups."""
        if self._exact:
            return [[1.0] * len(group["params"]) for group in self._plain.param_groups]
        return [[group.ratio for group in self.groups for _ in group.parameters]]

    def step(self, factor: float) -> None:
        """Make one step with the learning rate times ``factor``."""
        if not self._own_rate:
            for group, rate in zip(self.inner.param_groups, self._rates, strict=True):
                # D-Adaptation refuses to estimate at a rate of exactly 0, the last point of a cosine.
                group["lr"] = rate * factor if self._exact else max(rate * factor, rate * 1e-8)
        if self._joined is not None and self._joined.step(self._ratios()):
            return
        scaled = [] if self._exact else [group for group in self.groups if group.ratio != 1]
        before = [[p.detach().clone() for p in group.parameters] for group in scaled]
        self.inner.step()
        with torch.no_grad():
            for group, old in zip(scaled, before, strict=True):
                for new, was in zip(group.parameters, old, strict=True):
                    new.copy_(torch.lerp(was, new, group.ratio))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._plain.zero_grad(set_to_none=True)  # it alone knows the parameters that are joined

    @contextmanager
    def to_use(self) -> Iterator[None]:
        """Put what is to be used in place of what is trained, where the two differ (schedule-free), and back."""
        if not self._averages:
            yield
            return
        trained = [p.detach().clone() for group in self.groups for p in group.parameters]
        self.inner.eval()
        try:
            yield
        finally:
            self.inner.train()
            with torch.no_grad():  # to the bit: the way there and back rounds
                for p, was in zip((p for group in self.groups for p in group.parameters), trained, strict=True):
                    p.copy_(was)

    @property
    def effective_rate(self) -> float:
        """The rate that acts at a ratio of 1: the library's ``d · lr`` where it estimates d, else its rate."""
        group = self.inner.param_groups[-1]
        rate = float(group.get("d", 1.0)) * float(group["lr"] or 0.0)
        return rate / self.groups[-1].ratio if self._exact and not self._own_rate else rate

    @property
    def has_not_started(self) -> bool:
        """Whether the library still stands at the step size that it began with, where it looks for one."""
        now = [group.get("d") for group in self.inner.param_groups]
        return any(d is not None and float(d) == float(first) for d, first in zip(now, self._first, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on bit for bit."""
        return self.inner.state_dict() if self._joined is None else self._joined.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        (self.inner if self._joined is None else self._joined).load_state_dict(state)


def optimizer_for(options: TrainOptions, groups: Sequence[Group]) -> RatioOptimizer:
    """Return the optimizer of a run over ``groups``.

    Raises:
        InputError: its package is missing, or it does not take its arguments.
    """
    return RatioOptimizer(
        options.optimizer,
        groups,
        learning_rate=options.learning_rate,
        arguments=options.optimizer_args,
        as_sd_scripts=options.as_sd_scripts,
        joined=not options.module_dropout,  # else each step has gradients for other parameters
    )


def measured_states(name: str) -> float:
    """Return what an optimizer keeps for each number that is trained, in numbers of 4 bytes, on one layer's LoRA.

    Raises:
        InputError: see `RatioOptimizer`.
    """
    layer = [torch.ones(16, 640, requires_grad=True), torch.zeros(640, 16, requires_grad=True)]  # down, and up at first
    made = RatioOptimizer(name, [Group(layer, 1.0)], learning_rate=spec_of(name).usual_rate, arguments={})
    for _ in range(2):
        for parameter in layer:
            parameter.grad = torch.full_like(parameter, 0.01)
        made.step(1.0)
    kept = [value for state in made.inner.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(value.numel() * value.element_size() for value in kept) / 4 / sum(p.numel() for p in layer)
