"""The network that is trained: its kind, its size."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option

NETWORKS = ("lora", "locon", "loha", "lokr")


@dataclass(frozen=True)
class NetworkOptions:
    """See `TrainOptions`."""

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

    @property
    def trains_conv(self) -> bool:
        """Whether ResNet blocks and the down- and upsamplers are trained, too."""
        return self.network != "lora" and self.conv_dim > 0
