"""What is minimized."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import AUTO, AutoFloat, option


@dataclass(frozen=True)
class LossOptions:
    """See `TrainOptions`."""

    min_snr_gamma: AutoFloat = option(
        AUTO,
        "Min-SNR gamma",
        "Weighs easy and hard steps alike. auto: 5, but off for a model that predicts velocity, where it would "
        "leave out the noisiest steps. 0 turns it off.",
        low=0,
        high=1000,
    )
    zero_terminal_snr: str = option(
        AUTO,
        "Zero terminal SNR",
        "For v-prediction models whose schedule ends in pure noise (NoobAI v-pred and its merges). auto: as the "
        "checkpoint or the WebUI says.",
        choices=(AUTO, "on", "off"),
    )
    noise_offset: float = option(
        0.0, "Noise offset", "0.05 to 0.1 helps with very dark and very bright pictures.", low=0, high=1
    )
