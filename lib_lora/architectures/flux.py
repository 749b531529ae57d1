"""Flux.1: 19 double and 38 single transformer blocks behind CLIP-L and T5; read, labeled, baked and merged.

Vectors are those of the block weight extensions: 61 values with text encoders and both ends, 57 with the transformer's
blocks alone. dev and schnell have the same modules, so a file does not say which it is of.
"""

from __future__ import annotations

from collections.abc import Iterator

from lib_lora.architectures.base import (
    BASE,
    OTHER,
    Architecture,
    BlockPrefixes,
    Labels,
    Layout,
    TextEncoder,
    frozen,
    numbered,
    signature,
)

_DOUBLE, _SINGLE = 19, 38
_MIDDLE = (*numbered("D", *range(_DOUBLE)), *numbered("S", *range(_SINGLE)))
_EVERY = ("CLIP", "T5", "IN", *_MIDDLE, "OUT")


def _prefixes() -> Iterator[tuple[str, BlockPrefixes]]:
    """Yield (block, prefixes); Flux's own names stand in the place of the LDM ones."""
    entry = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in")
    yield "IN", BlockPrefixes(entry, ("x_embedder", "context_embedder", "time_text_embed"))
    for i in range(_DOUBLE):
        yield f"D{i:02d}", BlockPrefixes((f"double_blocks.{i}",), (f"transformer_blocks.{i}",))
    for i in range(_SINGLE):
        yield f"S{i:02d}", BlockPrefixes((f"single_blocks.{i}",), (f"single_transformer_blocks.{i}",))
    yield "OUT", BlockPrefixes(("final_layer",), ("norm_out", "proj_out"))
    for block in ("CLIP", "T5", BASE, OTHER):
        yield block, BlockPrefixes(())


FLUX = Architecture(
    name="flux",
    title="Flux",
    detect=signature("flux", r"(double|single)_blocks_|single_transformer_blocks"),
    layouts=(Layout(len(_EVERY), "flux", _EVERY), Layout(len(_MIDDLE), "flux", _MIDDLE)),
    blocks=frozen(dict(_prefixes())),
    text_encoders=(
        TextEncoder("te1", "clip_l", width=768, layers=12, block="CLIP"),
        TextEncoder("te3", "t5xxl", width=4096, layers=24, block="T5"),
    ),
    latent_channels=16,
    latent_scale=0.3611,
    labels=Labels("flux1", "flux-1", "1024x1024", "https://github.com/black-forest-labs/flux"),
    checkpoint_signs=("double_blocks.0.", "model.diffusion_model.double_blocks.0."),
)
ARCHITECTURES = (FLUX,)
