"""Learning rates, schedules and optimizers that cannot go together are refused when the options are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_lora.errors import InputError
from lib_lora.sentences import say
from lib_lora.train.optimizers import OptimizerSpec, own_rate, spec_of
from lib_lora.train.rates import in_steps

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions

LEAST_AUTOMATIC = 0.1
"""At and below it, a rate for an optimizer that finds the size itself is meant for another one."""


def check_rates(options: TrainOptions) -> None:
    """Refuse what cannot go together.

    Raises:
        InputError: naming the option and a value that would do.
    """
    known = spec_of(options.optimizer)
    _check_rate(options, known)
    _check_ratios(options, known)
    _check_decay(options, known)
    _check_course(options)
    if known.averages and options.ema_decay:
        raise InputError(
            "{optimizer} keeps an average of its own already",
            optimizer=options.optimizer,
            where="ema_decay",
            cure="Set ema_decay to 0, or choose another optimizer.",
        )


def _check_rate(options: TrainOptions, known: OptimizerSpec) -> None:
    if not options.learning_rate and not own_rate(options.optimizer, options.optimizer_args):
        raise InputError(
            "A learning rate of 0 trains nothing",
            where="learning_rate",
            cure="Use about {rate:g}.",
            rate=known.usual_rate,
        )
    if known.automatic and 0 < options.learning_rate <= LEAST_AUTOMATIC:
        raise InputError(
            "A learning rate of {rate:g} is far too small for {optimizer}",
            rate=options.learning_rate,
            optimizer=options.optimizer,
            where="learning_rate",
            cure="This optimizer finds the size itself: use 1.0.",
        )
    if known.automatic is False and options.learning_rate > known.highest_rate:
        raise InputError(
            "A learning rate of {rate:g} is far too large for {optimizer}",
            rate=options.learning_rate,
            optimizer=options.optimizer,
            where="learning_rate",
            cure=say("Use about {rate:g}.", rate=known.usual_rate),
        )


def _check_ratios(options: TrainOptions, known: OptimizerSpec) -> None:
    ratios = {ratio for ratio in (options.unet_ratio, options.text_encoder_ratio) if ratio}
    apart = _apart(options)
    if apart and (known.averages or (options.as_sd_scripts and known.rates == "one")):
        cure = say("Leave them empty or at 0, or choose another optimizer.")
        if not known.averages:
            cure = say("Leave them empty or at 0, or turn as_sd_scripts off: then they act with every optimizer.")
        raise InputError(
            "{optimizer} cannot have several learning rates",
            optimizer=options.optimizer,
            where=", ".join(apart),
            cure=cure,
        )
    if known.averages and ratios != {1.0}:
        raise InputError(
            "{optimizer} keeps an average of its own, which a ratio would tear apart",
            optimizer=options.optimizer,
            where="unet_ratio, text_encoder_ratio",
            cure="Set each to 1, or to 0 to leave that part out.",
        )
    if options.as_sd_scripts and known.rates == "one" and len(ratios) > 1:
        raise InputError(
            "{optimizer} takes one rate alone, so sd-scripts has no such training",
            optimizer=options.optimizer,
            where="unet_ratio, text_encoder_ratio",
            cure="Set both to 1, or turn as_sd_scripts off: then ratios act with every optimizer.",
        )


def _apart(options: TrainOptions) -> list[str]:
    """Return the options that give parts of the network a rate of their own, besides the ratios of the two parts."""
    named = ("block_lr_weight", "down_lr_weight", "mid_lr_weight", "up_lr_weight")
    plus = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
    return [name for name in (*named, *plus) if getattr(options, name)]


def _check_decay(options: TrainOptions, known: OptimizerSpec) -> None:
    given = {**({} if options.as_sd_scripts else known.defaults), **options.optimizer_args}
    if known.decouples is None:
        return
    if given.get("weight_decay") and not given.get("decouple", known.decouples):
        raise InputError(
            "{optimizer} with a weight decay that is not decoupled leaves a LoRA that holds nothing",
            optimizer=options.optimizer,
            where="optimizer_args",
            cure="Add decouple=True, or leave weight_decay out.",
        )


def _check_course(options: TrainOptions) -> None:
    decay = options.scheduler_decay if options.scheduler == "wsd" else 0.0
    total = options.steps
    if total:
        too_long = in_steps(options.warmup, total) + in_steps(decay, total) > total
    else:
        too_long = options.warmup < 1 and decay < 1 and options.warmup + decay > 1
    if too_long and not own_rate(options.optimizer, options.optimizer_args):
        raise InputError(
            "Warmup and decay are longer than the run",
            where="warmup, scheduler_decay" if decay else "warmup",
            cure="Give shares that come to less than 1, such as 0.1.",
        )
