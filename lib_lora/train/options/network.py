"""The network that is trained: its kind, its size."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option

NETWORKS = ("lora", "locon")


@dataclass(frozen=True)
class NetworkOptions:
    """See `TrainOptions`."""

    network: str = option(
        "lora",
        "Network",
        "lora: small and usual. locon: learns 3×3 convolutions too, for textures and styles.",
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
    conv_dim: int = option(8, "Conv dim", "Rank of the 3×3 convolutions (locon only).", low=1, high=1024)
    conv_alpha: float = option(1.0, "Conv alpha", "Alpha of the 3×3 convolutions (locon only).", low=0, high=1024)
