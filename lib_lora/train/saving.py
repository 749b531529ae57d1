"""What a run leaves: its state to go on from, and the file."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch

from lib_lora.errors import AtelierError
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.merge.precision import TYPES
from lib_lora.sentences import say
from lib_lora.train import network
from lib_lora.train.every import Every
from lib_lora.train.metadata import training_metadata
from lib_lora.train.training import Training
from lib_lora.train.verdict import best_row

logger = logging.getLogger(__name__)
NORMS = "norms"
"""What the remark on layers whose norm is held is about: there is one, of the last file."""


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
    if training.average is not None:
        state["average"] = training.average.state()
    training.folder.save_state(training.step, state, keep=training.options.keep_states)


def save_lora(training: Training, path: Path) -> Path:
    """Save the LoRA as it is now; a file that is there is replaced.

    Raises:
        AtelierError: a number is not finite or too large for the file; FileError: the disk refuses.
    """
    dtype = TYPES[training.options.save_precision]
    for name, value in network.parameters_of(training.lora).items():
        if not torch.isfinite(value.to(dtype)).all():
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
    metadata["ss_network_args"] = network.arguments(training.lora, training.options, training.model.family)
    if training.norms is not None and training.norms.scaled:
        training.remark(
            say(
                "layers held at the norm {most:g} in the last step: {n} of {all}",
                most=training.options.scale_weight_norms,
                n=training.norms.scaled,
                all=len(training.lora.adapters),
            ),
            about=NORMS,
        )
    finished = LoraFile(adapters=training.lora.adapters, metadata=metadata, extras={}, path=None)
    with training.to_use():
        return write_lora(finished, path, dtype=dtype, overwrite=True)


def save_on_the_way(training: Training) -> None:
    """Save a state and the LoRA as they are after this step; how many older files stay, the options say."""
    options, step = training.options, training.step
    save_state(training)
    save_lora(training, path_at(training, step))
    if not options.keep_files:
        return
    best = best_row(training.folder.measures())
    kept = path_at(training, best["step"]) if best else None
    for old in _on_the_way(training)[: -options.keep_files]:
        if old == kept:
            continue
        try:
            old.unlink(missing_ok=True)
        except OSError as error:  # it only takes room
            logger.info("%s stays: %s", old, error)


def path_at(training: Training, step: int) -> Path:
    """Return where the file of a step goes: by its epoch where files are saved by epochs, the last by no number."""
    folder, each = training.folder, training.steps_per_epoch
    if step == training.total:
        return folder.lora_path()
    by_epoch = Every(training.options.save_every_epochs, 0).comes(step, each)
    return folder.lora_path(step // each) if by_epoch else folder.lora_path_at(step)


def _on_the_way(training: Training) -> list[Path]:
    """Return the files that the run saved by itself up to now, oldest first; not what somebody asked for."""
    options, each = training.options, training.steps_per_epoch
    found: dict[int, Path] = {}
    for path in training.folder.own_loras():
        named = re.fullmatch(r"-(?:(\d+)|step(\d+))", path.stem.removeprefix(options.name))
        if named is None:
            continue
        step = int(named[1]) * each if named[1] else int(named[2])
        own = Every(options.save_every_epochs, 0) if named[1] else Every(0, options.save_every_steps)
        if step <= training.step and own.comes(step, each):
            found[step] = path
    return [path for _, path in sorted(found.items())]
