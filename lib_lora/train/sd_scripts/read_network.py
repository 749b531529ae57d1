"""The network, the LoRAs under it and the optimizer of sd-scripts' settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_lora.options import options_of
from lib_lora.sentences import say
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options.blocks import BlockOptions
from lib_lora.train.options.learning import LearningOptions
from lib_lora.train.options.network import NetworkOptions
from lib_lora.train.sd_scripts import names
from lib_lora.train.sd_scripts.imported import Imported, arguments_in, is_asked, take_switch

_OF_NETWORKS = {
    one.name for one in (*options_of(NetworkOptions), *options_of(BlockOptions), *options_of(LearningOptions))
}
"""Options that may stand among the arguments of a network."""


def take_network(rest: dict[str, Any], made: Imported) -> None:
    """Take over the network and its arguments."""
    module = str(rest.pop("network_module", "networks.lora"))
    arguments = arguments_in(rest.pop("network_args", []), made)
    on_output = arguments.pop("wd_on_output", True)
    arguments = {name: value for name, value in arguments.items() if is_asked(value)}
    if module == "lycoris.kohya":
        arguments = _lycoris(arguments, rest, made)
    elif module in names.MODULES:
        made.values["network"] = names.MODULES[module]
        arguments = {"conv_dim": 0, **arguments}
    elif module != "networks.lora":
        made.not_understood("network_module", module)
    elif arguments.get("conv_dim"):
        made.values["network"] = "locon"
    if arguments.pop("dora_wd", False) or take_switch(rest, "dora_wd"):
        made.values["dora"] = True
        if on_output:
            made.notes.append(
                say(
                    "DoRA keeps a length for each input here, as with wd_on_output=False: "
                    "AUTOMATIC1111's WebUI applies no other one"
                )
            )
    options = {"conv_dim": "conv_dim", "conv_alpha": "conv_alpha", "factor": "lokr_factor", "rs_lora": "rslora"}
    for name, value in arguments.items():
        option = options.get(name, name)
        if made.values["network"] == "lora" and name in options and option != "rslora":
            continue  # nothing there uses it either
        if option in _OF_NETWORKS:
            made.take(option, value, name)
        else:
            made.not_understood("network_args", f"{name}={value}")


def _lycoris(arguments: dict[str, Any], rest: Mapping[str, Any], made: Imported) -> dict[str, Any]:
    """Take LyCORIS' algorithm over, and return the arguments with what it does about convolutions by itself."""
    algorithm = str(arguments.pop("algo", "lora")).lower()
    if algorithm not in names.ALGORITHMS:
        made.not_understood("algo", algorithm)
        return arguments
    made.values["network"] = names.ALGORITHMS[algorithm]
    dims = {"conv_dim": rest.get("network_dim", 4), "conv_alpha": rest.get("network_alpha", 1)}
    if made.values["network"] == "locon" and arguments.get("conv_dim") in (0, "0"):
        made.values["network"] = "lora"
    return {**dims, **arguments}


def take_base_loras(rest: dict[str, Any], made: Imported) -> None:
    """Take over the files that lie under a training, each with its strength; 1 where none is given, as there."""
    files, strengths = rest.pop("base_weights", []), rest.pop("base_weights_multiplier", [])
    files, strengths = ([one] if isinstance(one, str | int | float) else list(one) for one in (files, strengths))
    strengths += [1.0] * (len(files) - len(strengths))
    try:
        strengths = [float(one) for one in strengths]
    except (TypeError, ValueError):
        made.not_understood("base_weights_multiplier", str(strengths))
        return
    if files:
        made.take(
            "base_loras",
            [f"{file}:{number!r}" for file, number in zip(files, strengths, strict=False)],
            "base_weights",
        )


def take_optimizer(rest: dict[str, Any], made: Imported) -> None:
    """Take over the optimizer and its arguments."""
    wanted = str(rest.pop("optimizer_type", "") or "AdamW")
    for flag, name in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        wanted = name if take_switch(rest, flag) else wanted
    known = {name.lower(): name for name in OPTIMIZERS if name not in names.NO_OPTIMIZER} | dict(names.OPTIMIZERS)
    found = known.get(wanted.lower(), wanted if "." in wanted else "")
    if not found:
        made.not_understood("optimizer_type", wanted)
    made.values["optimizer"] = found or "AdamW"
    own = names.OPTIMIZER_ARGUMENTS.get(wanted.lower(), {})
    made.values["optimizer_args"] = {**own, **arguments_in(rest.pop("optimizer_args", []), made)}
