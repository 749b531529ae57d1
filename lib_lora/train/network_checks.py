"""Options of the network and its blocks that cannot go together, or cannot be read, are refused when they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_lora.blocks.lr_weights import read_row
from lib_lora.errors import InputError
from lib_lora.train.block_numbers import is_name, read_list
from lib_lora.train.optimizers import spec_of

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions

SIDES = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
SIZES = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
LARGEST = 1024
"""The highest rank, as of ``dim``."""


def check_network(options: TrainOptions) -> None:
    """Refuse what cannot go together or cannot be read; what depends on the model is said with the plan.

    Raises:
        InputError: naming the option and a value that would do.
    """
    _check_blocks(options)
    if options.scale_weight_norms and spec_of(options.optimizer).averages:
        raise InputError(
            "{optimizer} keeps an average of its own, which a bound on the norm would tear apart",
            optimizer=options.optimizer,
            where="scale_weight_norms",
            cure="Set it to 0, or choose another optimizer.",
        )
    if options.timestep_rank_min > options.dim:
        raise InputError(
            "{n} ranks cannot be left of a dim of {dim}",
            n=options.timestep_rank_min,
            dim=options.dim,
            where="timestep_rank_min",
            cure="Give a smaller number; 0 is half of dim.",
        )


def _check_blocks(options: TrainOptions) -> None:
    sides = [name for name in SIDES if getattr(options, name).strip()]
    if sides and options.block_lr_weight.strip():
        raise InputError(
            "The blocks' learning rates are said twice",
            where=", ".join(("block_lr_weight", *sides)),
            cure="Leave block_lr_weight empty, or the others.",
        )
    for name in sides:
        read_row(getattr(options, name), name, count=1)
    for name in SIZES:
        text = getattr(options, name)
        for value in read_list(text, name) if text.strip() and not is_name(text) else ():
            if name.endswith("dims") and (value != int(value) or value > LARGEST):
                raise InputError(
                    "{value:g} is no rank",
                    value=value,
                    where=name,
                    cure="Give whole numbers from 0 to {most}.",
                    most=LARGEST,
                )
