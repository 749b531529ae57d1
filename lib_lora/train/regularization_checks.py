"""What is drawn of a class, and wishes for it that contradict others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_lora.errors import InputError

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions


def prompts_of(options: TrainOptions) -> tuple[str, ...]:
    """Return what is drawn, in turn."""
    return tuple(filter(None, map(str.strip, options.reg_prompts))) or (options.class_word.strip(),)


def check_regularization(options: TrainOptions) -> None:
    """Refuse wishes for drawn pictures that contradict others.

    Raises:
        InputError: naming the options.
    """
    if not options.reg_count:
        return
    if options.dataset_config:
        raise InputError(
            "The dataset file says which regularization pictures there are",
            where="dataset_config, reg_count",
            cure="Leave out reg_count, and give the file a subset with is_reg.",
        )
    if not any(prompts_of(options)):
        raise InputError(
            "Nothing says what the regularization pictures show",
            where="reg_count",
            cure="Give reg_prompts or class_word, such as: girl.",
        )
