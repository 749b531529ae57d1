"""What each block of the model gets: whether it is trained, how fast, of which rank."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option


@dataclass(frozen=True)
class BlockOptions:
    """See `TrainOptions`."""

    train_blocks: str = option(
        "",
        "Train only these blocks",
        "Names and ranges, such as IN04-IN08, M00, OUT03-OUT05; BASE is the text encoder. Empty: all.",
        form="BLOCKS",
    )
    block_lr_weight: str = option(
        "",
        "Learning rate by block",
        "A factor for each block: 26, 17, 20 or 12 numbers as in block weights, or a preset's name such as C186, your "
        "own ones too. A block with 0 is not trained.",
        form="A,B",
    )
    down_lr_weight: str = option(
        "",
        "Rates of the way down",
        "As in sd-scripts: 12 numbers (SDXL 9) from IN00 on, or sine, cosine, linear, reverse_linear or zeros, with "
        "+0.25 added to each.",
        form="A,B",
    )
    mid_lr_weight: str = option("", "Rate of the middle", "As in sd-scripts: one number (SDXL also 3).", form="A,B")
    up_lr_weight: str = option(
        "",
        "Rates of the way up",
        "As in sd-scripts: 12 numbers (SDXL 9) from OUT00 on, or a word as above.",
        form="A,B",
    )
    block_lr_zero_threshold: float = option(
        0.0, "Smallest block rate", "A block whose factor is not above this is not trained.", low=0, high=100
    )
    block_dims: str = option(
        "",
        "Dim by block",
        "A rank for each block in place of dim: 25 numbers as in sd-scripts (SDXL 23), or as many as block weights "
        "have, or the name of a preset that holds ranks. 0 leaves a block out.",
        form="A,B",
    )
    block_alphas: str = option("", "Alpha by block", "An alpha for each block in place of alpha.", form="A,B")
    conv_block_dims: str = option(
        "", "Conv dim by block", "A rank of the 3×3 convolutions for each block in place of conv dim.", form="A,B"
    )
    conv_block_alphas: str = option(
        "", "Conv alpha by block", "An alpha of the 3×3 convolutions for each block.", form="A,B"
    )
