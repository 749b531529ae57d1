"""The network that is trained: its kind, its size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib_lora.options import option

NETWORKS = ("lora", "locon", "loha", "lokr")


@dataclass(frozen=True)
class NetworkOptions:
    """See `TrainOptions`."""

    continue_from: str = option(
        "",
        "Continue from",
        "A LoRA file whose training goes on; it brings network, dim and alpha of each layer.",
        form="FILE",
    )
    base_loras: tuple[str, ...] = option(
        (),
        "LoRAs under the training",
        "One a line, FILE or FILE:STRENGTH; merged into the model while it trains, and not part of the new file.",
        form="FILE:STRENGTH",
    )
    network: str = option(
        "lora",
        "Network",
        "lora: small and usual. locon: learns 3×3 convolutions too, for textures and styles. loha: more change for "
        "its size. lokr: the smallest files.",
        choices=NETWORKS,
    )
    dim: int = option(
        16,
        "Dim (rank)",
        "Size of the LoRA. 8 to 32 for a character; more learns more, and mistakes too.",
        low=1,
        high=1024,
    )
    alpha: float = option(
        1.0, "Alpha", "Strength is alpha / dim; 0 means the same as dim. A low value learns gently.", low=0, high=1024
    )
    conv_dim: int = option(
        8, "Conv dim", "Rank of the 3×3 convolutions (not of a lora); 0 leaves them out.", low=0, high=1024
    )
    conv_alpha: float = option(1.0, "Conv alpha", "Alpha of the 3×3 convolutions (not of a lora).", low=0, high=1024)
    dora: bool = option(
        False,
        "Weight decomposition (DoRA)",
        "Learns lengths and directions of the weights apart, on the axis that the WebUI applies. Slower, and bound "
        "to the model.",
    )
    lokr_factor: int = option(
        -1,
        "LoKr factor",
        "Size of a LoKr's small part; -1 splits most evenly. 4 to 16 learn more.",
        low=-1,
        high=1024,
    )

    rslora: bool = option(
        False,
        "Rank-stabilized (rsLoRA)",
        "Strength is alpha / √dim, so that a large dim learns as fast as a small one; saved so that every program "
        "applies it right.",
    )
    network_dropout: float = option(
        0.0, "Dropout", "Share of the LoRA's inner numbers left out in each step, 0 to 0.9.", low=0, high=0.9
    )
    rank_dropout: float = option(
        0.0, "Rank dropout", "Share of the ranks left out in each step; 0.1 to 0.3 is usual.", low=0, high=0.9
    )
    module_dropout: float = option(
        0.0, "Module dropout", "Share of the layers left out in each step; 0.1 to 0.3 is usual.", low=0, high=0.9
    )
    scale_weight_norms: float = option(
        0.0,
        "Max norm",
        "No layer's change gets longer than this, against overtraining; 1 is the usual start, 0 turns it off.",
        low=0,
        high=1000,
    )
    timestep_rank: bool = option(
        False,
        "Fewer ranks in noisy steps (T-LoRA)",
        "For 1 to 3 pictures: noisy steps learn with fewer ranks, so that pose and background are not learned by "
        "heart. UNet only.",
    )
    timestep_rank_min: int = option(
        0, "Fewest ranks", "Ranks that are left in the noisiest step; 0 is half of them.", low=0, high=1024
    )

    @property
    def trains_conv(self) -> bool:
        """Whether ResNet blocks and the down- and upsamplers are trained, too."""
        return self.network != "lora" and self.conv_dim > 0


def split_strength(text: str) -> tuple[str, float]:
    """Return a file and its strength of ``FILE:STRENGTH``; 1 where none is written, as behind a drive's letter."""
    path, colon, number = text.rpartition(":")
    try:
        return (path, float(number)) if colon else (text, 1.0)
    except ValueError:
        return text, 1.0


def base_with_path(folder: Path, text: str) -> str:
    """Return ``FILE:STRENGTH`` with the file's whole path, a relative one meant from ``folder``."""
    path, strength = split_strength(text)
    return f"{(folder / path).resolve()}:{strength!r}"
