"""Options of loss and noise that cannot go together are refused when the options are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_lora.errors import InputError

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions


def check_loss(options: TrainOptions) -> None:
    """Refuse what cannot go together.

    Raises:
        InputError: naming the options and what would do.
    """
    if options.min_timestep >= options.max_timestep:
        raise InputError(
            "No timestep lies between {low} and {high}",
            low=options.min_timestep,
            high=options.max_timestep,
            where="min_timestep, max_timestep",
            cure="Make max_timestep the larger one; for a single timestep it is one more.",
        )
    if options.adaptive_noise_scale and not options.noise_offset:
        raise InputError(
            "The adaptive noise offset adds to a noise offset, and there is none",
            where="adaptive_noise_scale",
            cure="Set noise_offset too, such as 0.05, or leave this at 0.",
        )
