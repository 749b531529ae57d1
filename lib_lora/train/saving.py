"""What a run leaves: its state to go on from, and the file."""

from __future__ import annotations

from pathlib import Path

import torch

from lib_lora.errors import AtelierError
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.train import network
from lib_lora.train.metadata import training_metadata
from lib_lora.train.training import Training


def save_state(training: Training) -> None:
    """Save everything needed to go on.

    Raises:
        FileError: the disk refuses, or a number is not finite; earlier states stay.
    """
    state = {
        "step": training.step,
        "session": training.origin.session,
        "algorithm": training.options.optimizer,
        "recent": training.recent,
        "bad_steps": training.bad_steps,
        "left_out": training.left_out,
        "scale": training.scale.value,
        "parameters": network.parameters_of(training.lora),
        "optimizer": training.optimizer.state_dict(),
    }
    training.folder.save_state(training.step, state)


def save_lora(training: Training, path: Path) -> Path:
    """Save the LoRA as it is now; a file that is there is replaced.

    Raises:
        AtelierError: a number is not finite or too large for the file; FileError: the disk refuses.
    """
    for name, value in network.parameters_of(training.lora).items():
        if not torch.isfinite(value.half()).all():
            raise AtelierError(
                "The LoRA has come to numbers that no file can hold, so it is not saved",
                where=name,
                cure=training.cure(),
            )
    metadata = training_metadata(
        training.model,
        training.options,
        training.data,
        training.origin,
        step=training.step,
        total=training.total,
        per_epoch=training.steps_per_epoch,
    )
    finished = LoraFile(adapters=training.lora.adapters, metadata=metadata, extras={}, path=None)
    with training.optimizer.to_use():
        return write_lora(finished, path, dtype=torch.float16, overwrite=True)
