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
from lib_lora.architectures.transformer import Layer, Transformer

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


_ENTRY = (
    ("img_in", "x_embedder"),
    ("txt_in", "context_embedder"),
    *(
        (f"{own}.{end}_layer", f"time_text_embed.{other}_embedder.linear_{number}")
        for own, other in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance"))
        for number, end in ((1, "in"), (2, "out"))
    ),
    ("final_layer.linear", "proj_out"),
)
_IN_DOUBLE = (
    ("img_attn.proj", "attn.to_out.0"),
    ("txt_attn.proj", "attn.to_add_out"),
    ("img_mlp.0", "ff.net.0.proj"),
    ("img_mlp.2", "ff.net.2"),
    ("txt_mlp.0", "ff_context.net.0.proj"),
    ("txt_mlp.2", "ff_context.net.2"),
    ("img_mod.lin", "norm1.linear"),
    ("txt_mod.lin", "norm1_context.linear"),
)


def _layers() -> Iterator[Layer]:
    """Yield all layers; the last modulation has shift and scale in one order here and in the other in diffusers."""
    yield from (Layer(own, (other,)) for own, other in _ENTRY)
    yield Layer("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True)
    for i in range(_DOUBLE):
        own, other = f"double_blocks.{i}", f"transformer_blocks.{i}"
        yield from (Layer(f"{own}.{one}", (f"{other}.{two}",)) for one, two in _IN_DOUBLE)
        image = tuple(f"{other}.attn.to_{one}" for one in "qkv")
        text = tuple(f"{other}.attn.add_{one}_proj" for one in "qkv")
        yield Layer(f"{own}.img_attn.qkv", image, (1, 1, 1))
        yield Layer(f"{own}.txt_attn.qkv", text, (1, 1, 1))
    for i in range(_SINGLE):
        own, other = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        both = (*(f"{other}.attn.to_{one}" for one in "qkv"), f"{other}.proj_mlp")
        yield Layer(f"{own}.linear1", both, (1, 1, 1, 4))
        yield Layer(f"{own}.linear2", (f"{other}.proj_out",))
        yield Layer(f"{own}.modulation.lin", (f"{other}.norm.linear",))


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
    transformer=Transformer(tuple(_layers())),
    latent_channels=16,
    latent_scale=0.3611,
    labels=Labels("flux1", "flux-1", "1024x1024", "https://github.com/black-forest-labs/flux"),
    checkpoint_signs=("double_blocks.0.", "model.diffusion_model.double_blocks.0."),
)
ARCHITECTURES = (FLUX,)
