"""The table of optimizers: where each comes from, and all that a run and its plan must know of it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from lib_lora.errors import InputError
from lib_lora.sentences import say


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer.

    Attributes:
        path: ``module:class``.
        package: what pip calls it.
        usual_rate: the learning rate that it starts from.
        states: what it keeps for each number that is trained, in numbers of 4 bytes.
        automatic: whether it finds the step size itself; None: not known, any rate is taken.
        small_rate: the rate for a small model, which has a few hundred steps; None: the usual one.
        highest_rate: above it a rate is a mistake, where it does not find the size itself.
        defaults: arguments that it gets where nobody says otherwise.
        optional: whether its package comes with nothing: it is offered where somebody installed it.
        rates: what the library makes of groups with different rates: ``each`` has its own, all get the ``first``
            one's, or it takes ``one`` alone and refuses others.
        averages: whether what it trains and what is to be used are two things (schedule-free).
        decouples: whether weight decay is decoupled where its argument ``decouple`` is not given; None: it has none.
        needs: ``module:name`` that its package must have, where not every version has it.
        joins: whether it treats each number by itself, or sums over all of them: see `Joined`.
    """

    path: str
    package: str
    usual_rate: float
    states: float
    automatic: bool | None = False
    small_rate: float | None = None
    highest_rate: float = 0.1
    defaults: Mapping[str, Any] = field(default_factory=dict)
    optional: bool = False
    rates: str = "each"
    averages: bool = False
    decouples: bool | None = None
    needs: str = ""
    joins: bool = False

    @property
    def module(self) -> str:
        """The package's module, to look for without importing it."""
        return self.path.partition(":")[0].partition(".")[0]

    @property
    def there(self) -> bool:
        """Whether it can be used here; its package is not imported."""
        if importlib.util.find_spec(self.module) is None:
            return False
        module, _, name = self.needs.partition(":")
        return not self.needs or hasattr(importlib.import_module(module), name)

    def build(self) -> Callable[..., torch.optim.Optimizer]:
        """Return the class.

        Raises:
            ImportError: its package is missing, or has no such module.
            InputError: the module has no such class, or it is no optimizer of torch.
        """
        module, _, name = self.path.partition(":")
        found = getattr(importlib.import_module(module), name, None)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            raise InputError(
                say("{module} has no optimizer “{name}”", module=module, name=name),
                where="optimizer",
                cure="Install a newer version of {package}, or give another class.",
                package=self.package,
            )
        return found


def _adapting(path: str, states: float, **more: Any) -> OptimizerSpec:
    return OptimizerSpec(path, "dadaptation", 1.0, states=states, automatic=True, joins=True, **more)


OPTIMIZERS: dict[str, OptimizerSpec] = {
    # 2e-3 is about where D-Adaptation arrives on a small model.
    "AdamW": OptimizerSpec(
        "torch.optim:AdamW", "torch", 1e-4, states=2, small_rate=2e-3, defaults={"weight_decay": 0.01}, joins=True
    ),
    "AdamW8bit": OptimizerSpec(
        "bitsandbytes.optim:AdamW8bit",
        "bitsandbytes",
        1e-4,
        states=0.56,
        small_rate=2e-3,
        defaults={"weight_decay": 0.01},
        optional=True,
    ),
    "Lion": OptimizerSpec("lion_pytorch:Lion", "lion-pytorch", 3e-5, states=1, joins=True),
    # Its step has the gradients' own length, which the limit holds at 1 and momentum makes tenfold: AdamW at 1e-4 moves
    # a million numbers by 0.1 in all.
    "SGD": OptimizerSpec(
        "torch.optim:SGD",
        "torch",
        0.01,
        states=1,
        small_rate=0.05,
        highest_rate=10.0,
        defaults={"momentum": 0.9, "nesterov": True},
        joins=True,
    ),
    "DAdaptAdanIP": _adapting("dadaptation.experimental:DAdaptAdanIP", 5, rates="first"),
    "DAdaptAdan": _adapting("dadaptation:DAdaptAdan", 5, rates="first"),
    # A decay that is added to the gradient shrinks with d, and leaves LoRAs that hold nothing.
    "DAdaptAdam": _adapting("dadaptation:DAdaptAdam", 3, rates="one", decouples=False, defaults={"decouple": True}),
    "DAdaptAdaGrad": _adapting("dadaptation:DAdaptAdaGrad", 3, rates="first"),
    "DAdaptLion": _adapting("dadaptation:DAdaptLion", 2, rates="one"),
    "DAdaptSGD": _adapting("dadaptation:DAdaptSGD", 3, rates="one"),
    "Prodigy": OptimizerSpec(
        "prodigyopt:Prodigy",
        "prodigyopt",
        1.0,
        states=4,
        automatic=True,
        joins=True,
        rates="one",
        decouples=True,
        defaults={"decouple": True, "weight_decay": 0.01, "use_bias_correction": True, "safeguard_warmup": True},
    ),
    # Its d0 of 1e-6 may never start; 1e-5 does.
    "ProdigyPlusScheduleFree": OptimizerSpec(
        "prodigyplus:ProdigyPlusScheduleFree",
        "prodigy-plus-schedule-free",
        1.0,
        states=1.13,
        automatic=True,
        defaults={"d0": 1e-5},
        optional=True,
        averages=True,
    ),
    # With relative steps AdaFactor makes its own rate and takes none; learning_rate 0 says so.
    "AdaFactor": OptimizerSpec(
        "transformers.optimization:Adafactor",
        "transformers",
        1e-4,
        states=0.07,
        defaults={"relative_step": True, "scale_parameter": True, "warmup_init": False},
    ),
    "CAME": OptimizerSpec("came_pytorch:CAME", "came-pytorch", 1e-4, states=1.13, small_rate=2e-3, optional=True),
    # Steps as long as AdamW's, so that its rates fit (arXiv:2502.16982).
    "Muon": OptimizerSpec(
        "lib_lora.train.muon:MuonWithAdamW",
        "torch 2.9",
        1e-4,
        states=1,
        small_rate=2e-3,
        optional=True,
        needs="torch.optim:Muon",
    ),
    "AdamW_adv": OptimizerSpec("adv_optm:AdamW_adv", "adv-optm", 1e-4, states=2, small_rate=2e-3, optional=True),
    # Prodigy_adv of the same package is left to its path: 2.5.16 forgets a factor at the first step of a resumed run.
}


def spec_of(name: str) -> OptimizerSpec:
    """Return what is known of an optimizer: its line of the table, or what a full path like ``package.Class`` says."""
    if name in OPTIMIZERS or "." not in name:
        return OPTIMIZERS[name]
    module, _, cls = name.rpartition(".")
    package = module.partition(".")[0]
    return OptimizerSpec(f"{module}:{cls}", package, 1e-4, states=2, automatic=None, optional=True)


def own_rate(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the optimizer makes its own rate and takes none: AdaFactor with relative steps."""
    return name == "AdaFactor" and bool({**OPTIMIZERS[name].defaults, **arguments}.get("relative_step"))
