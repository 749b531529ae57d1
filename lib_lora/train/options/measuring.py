"""What of a run is measured beside its own loss."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option

MEASURED = ("saves", "epochs", "off")


@dataclass(frozen=True)
class MeasuringOptions:
    """See `TrainOptions`."""

    steady_loss: str = option(
        "saves",
        "Steady loss",
        "Measures loss and drift on the same pictures, noise and timesteps each time, so that numbers can be compared: "
        "with each file (saves), after each epoch, or not. From it follow the best file and what went wrong.",
        choices=MEASURED,
    )
    tensorboard: bool = option(
        False,
        "TensorBoard files",
        "Writes the run's numbers for TensorBoard too: tensorboard --logdir FOLDER OF RUNS shows them.",
    )
    holdout: float = option(
        0.0,
        "Held-out pictures",
        "Share of the pictures that is never trained and only measured, which shows when a run learns by heart. 0.1 is "
        "usual; from 10 pictures on.",
        low=0,
        high=0.5,
    )
