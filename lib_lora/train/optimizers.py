"""The optimizers, each from its library, with ratios per group that really act.

DAdapt and Prodigy share one step size over all parameters and read only one learning rate, so a lower rate for the text
encoder does nothing or raises there. Here every optimizer gets one group with one rate, and what it did to a parameter
is scaled by the parameter's ratio afterwards: ``p ← p_before + ratio · (p_after − p_before)``.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.sentences import say


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer: where it comes from, and all that a run and its plan must know of it.

    Attributes:
        path: ``module:class``.
        package: what pip calls it.
        usual_rate: the learning rate that it starts from.
        states: numbers that it keeps for each one that is trained.
        automatic: whether it finds the step size itself.
        small_rate: the rate for a small model, which has a few hundred steps; None: the usual one.
        defaults: arguments that it gets where nobody says otherwise.
    """

    path: str
    package: str
    usual_rate: float
    states: float
    automatic: bool = False
    small_rate: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The package's module, to look for without importing it."""
        return self.path.partition(":")[0].partition(".")[0]

    def build(self) -> Callable[..., torch.optim.Optimizer]:
        """Return the class; ImportError where its package is missing."""
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)


OPTIMIZERS: dict[str, OptimizerSpec] = {
    # 2e-3 is about where D-Adaptation arrives on a small model.
    "AdamW": OptimizerSpec(
        "torch.optim:AdamW", "torch", 1e-4, states=2, small_rate=2e-3, defaults={"weight_decay": 0.01}
    ),
    "Lion": OptimizerSpec("lion_pytorch:Lion", "lion-pytorch", 3e-5, states=1),
    "DAdaptAdanIP": OptimizerSpec(
        "dadaptation.experimental:DAdaptAdanIP", "dadaptation", 1.0, states=5, automatic=True
    ),
    "DAdaptAdam": OptimizerSpec("dadaptation:DAdaptAdam", "dadaptation", 1.0, states=3, automatic=True),
    "Prodigy": OptimizerSpec(
        "prodigyopt:Prodigy",
        "prodigyopt",
        1.0,
        states=4,
        automatic=True,
        defaults={"decouple": True, "weight_decay": 0.01, "use_bias_correction": True, "safeguard_warmup": True},
    ),
    # With relative steps AdaFactor makes its own rate and takes none; learning_rate 0 says so.
    "AdaFactor": OptimizerSpec(
        "transformers.optimization:Adafactor",
        "transformers",
        1e-4,
        states=0.4,
        defaults={"relative_step": True, "scale_parameter": True, "warmup_init": False},
    ),
}


def own_rate(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the optimizer makes its own rate and takes none: AdaFactor with relative steps."""
    return name == "AdaFactor" and bool({**OPTIMIZERS[name].defaults, **arguments}.get("relative_step"))


@dataclass(frozen=True)
class Group:
    """Parameters that share a ratio on what is applied to them."""

    parameters: Sequence[Tensor]
    ratio: float


def _built(name: str) -> Callable[..., torch.optim.Optimizer]:
    """Return what builds an optimizer.

    Raises:
        InputError: its package is missing.
    """
    try:
        return OPTIMIZERS[name].build()
    except ImportError as error:
        raise InputError(
            "{name} needs the package {package}, which is not installed",
            name=name,
            package=OPTIMIZERS[name].package,
            where="optimizer",
            cure="Choose AdamW, or install it.",
        ) from error


TRIED_STEPS = 3
"""Steps on which arguments are tried: some optimizers look at an argument at their second step only."""


def _try_out(name: str, build: Callable[..., torch.optim.Optimizer], settings: Mapping[str, Any]) -> None:
    """Build an optimizer and make a few steps on four numbers: many arguments are first looked at there.

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
    number = torch.full((2, 2), 0.5, requires_grad=True)
    try:
        tried = build([number], **settings)
        for _ in range(TRIED_STEPS):
            number.grad = torch.tensor([[0.1, -0.2], [0.0, 0.3]])  # a LoRA's first gradients are 0 in one half
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
    if not torch.isfinite(number).all():
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
    """A library's optimizer over all groups as one, and the ratios of the groups on its applied update."""

    def __init__(
        self, name: str, groups: Sequence[Group], *, learning_rate: float, arguments: Mapping[str, Any]
    ) -> None:
        if "lr" in arguments:
            raise InputError(
                "The learning rate is an option of its own", where="optimizer_args, lr", cure="Set learning_rate."
            )
        known = OPTIMIZERS[name]
        self.groups = tuple(group for group in groups if group.ratio and group.parameters)
        self._parameters = [p for group in self.groups for p in group.parameters]
        self._base_rate = learning_rate
        settings = {**known.defaults, **arguments}
        self._own_rate = own_rate(name, arguments)
        settings["lr"] = None if self._own_rate else learning_rate
        build = _built(name)
        if arguments:
            _try_out(name, build, settings)
        self.inner = build(self._parameters, **settings)

    def step(self, factor: float) -> None:
        """Make one step with the learning rate times ``factor``."""
        if not self._own_rate:
            for group in self.inner.param_groups:
                # D-Adaptation refuses to estimate at a rate of exactly 0, the last point of a cosine.
                group["lr"] = max(self._base_rate * factor, self._base_rate * 1e-8)
        before = [None if g.ratio == 1 else [p.detach().clone() for p in g.parameters] for g in self.groups]
        self.inner.step()
        with torch.no_grad():
            for group, old in zip(self.groups, before, strict=True):
                for new, was in zip(group.parameters, old or (), strict=False):
                    new.copy_(torch.lerp(was, new, group.ratio))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.inner.zero_grad(set_to_none=True)

    @property
    def effective_rate(self) -> float:
        """The rate that acts: the library's ``d · lr`` where it estimates d, else its rate."""
        group = self.inner.param_groups[0]
        return float(group.get("d", 1.0)) * float(group["lr"] or 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on bit for bit."""
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.inner.load_state_dict(state)
