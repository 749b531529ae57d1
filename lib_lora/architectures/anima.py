"""Anima: one transformer of 28 blocks behind Qwen3-0.6B and an LLM adapter; 40 and 52 blocks in the expanded models.

First hand, from the sources of sd-scripts and the key lists of other programs' tests, are kohya's names
(``lora_unet_blocks_N_…``, ``lora_unet_llm_adapter_…``, ``lora_te_layers_N_…``), ComfyUI's
(``diffusion_model.blocks.N.…``), diffusers' (``transformer.transformer_blocks.N.attn1.to_q``, ``text_conditioner.…``,
from its loader), the widths and what ``modelspec`` says. Second hand: vectors of one value a block
(28 and 40, named B00 and so on), or one more in front for BASE, are what block weight extensions have; the depths 40
and 52 are what programs that convert between them say; ``ss_base_model_version`` is what files are reported to have.

The blocks of the three depths are other layers under the same names, so each depth is a family of its own; a file whose
last blocks are missing counts as the smaller depth. Cosmos-Predict2 2B, which Anima was made from, has the same
modules, so a LoRA of it is taken for Anima's. Names such as diffusers' are other transformers' as well: there a file is
known by its modulation, by a cross-attention that reads 1024 numbers, or by the text conditioner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from lib_lora.architectures.base import (
    BASE,
    OTHER,
    UNKNOWN,
    Architecture,
    BlockPrefixes,
    Labels,
    Layout,
    Shapes,
    TextEncoder,
    frozen,
    numbered,
)
from lib_lora.architectures.transformer import Layer, Transformer, flat

_DEPTHS = {"anima": (28, "Anima"), "anima-2.9b": (40, "Anima 2.9B"), "anima-3.8b": (52, "Anima 3.8B")}
_WIDTH, _TEXT_WIDTH = 2048, 1024
_TEXT_ROOTS = ("text_encoder.qwen3", "text_encoders.qwen3_06b.transformer.model")
"""ComfyUI's as sd-scripts' converter writes it, and the one below which ComfyUI keeps the model."""
_BLOCK = re.compile(
    r"lora_unet_blocks_(\d+)_"
    r"(?:(?:self|cross)_attn_(?:[qkv]|output)_proj|mlp_layer[12]|adaln_modulation_(?:self_attn|cross_attn|mlp)_[12])\."
)
_ADAPTER = re.compile(r"lora_(?:unet_|te_)?llm_adapter_")
_OWN_LEAVES: Mapping[str, str] = MappingProxyType(
    {
        **{f"attn1.to_{one}": f"self_attn.{one}_proj" for one in "qkv"},
        **{f"attn2.to_{one}": f"cross_attn.{one}_proj" for one in "qkv"},
        "attn1.to_out.0": "self_attn.output_proj",
        "attn2.to_out.0": "cross_attn.output_proj",
        "ff.net.0.proj": "mlp.layer1",
        "ff.net.2": "mlp.layer2",
        **{
            f"norm{number}.linear_{half}": f"adaln_modulation_{part}.{half}"
            for number, part in enumerate(("self_attn", "cross_attn", "mlp"), start=1)
            for half in (1, 2)
        },
    }
)
"""Modules of a block in diffusers' names, with the own ones."""
_OWN_ENDS: Mapping[str, str] = MappingProxyType(
    {
        "norm_out.linear_1": "final_layer.adaln_modulation.1",
        "norm_out.linear_2": "final_layer.adaln_modulation.2",
        "proj_out": "final_layer.linear",
        "time_embed.t_embedder": "t_embedder.1",
        "time_embed.norm": "t_embedding_norm",
        "patch_embed.proj": "x_embedder.proj.1",
    }
)
"""What stands in front of the blocks and behind them; ``t_embedder``'s layers keep their names."""
_LEAVES = {flat(other): flat(own) for other, own in _OWN_LEAVES.items()}
_ENDS = {flat(other): flat(own) for other, own in _OWN_ENDS.items()}
_IN_ADAPTER = (
    *(f"{attn}.{one}_proj" for attn in ("self_attn", "cross_attn") for one in "qkvo"),
    "mlp.0",
    "mlp.2",
)
_ADAPTER_BLOCKS = 6
_DIFFUSERS = re.compile(r"lora_(?:transformer|unet)_(?:transformer_blocks_(\d+)_(\w+)|(text_conditioner)_(\w+)|(\w+))")
_TEXT = re.compile(r"lora_te_(?:model_)?layers_\d+_(?:self_attn_[qkv]_proj|mlp_(?:gate|up)_proj)\.lora_down\.weight$")
_READS_TEXT = re.compile(r"_cross_attn_[kv]_proj\.lora_down\.weight$")
_READS_STATE = re.compile(r"(?:self_attn_[qkv]_proj|cross_attn_q_proj|mlp_layer1)\.lora_down\.weight$")


def detect(shapes: Shapes, group: Sequence[Architecture]) -> str | None:
    """Return which depth a LoRA was made for: the smallest that has its last block; None where it is not Anima's."""
    shapes = _with_own_names(shapes)
    blocks = {name: int(found[1]) for name in shapes if (found := _BLOCK.match(name))}
    if not blocks:
        texts = [shapes[name] for name in shapes if _TEXT.match(name)]
        ours = any(_ADAPTER.match(name) for name in shapes) or any(list(shape[1:2]) == [_TEXT_WIDTH] for shape in texts)
        return group[0].name if ours else None
    widths = {shapes[name][1] for name in blocks if _READS_STATE.search(name) and len(shapes[name]) > 1}
    if widths and widths != {_WIDTH}:
        return UNKNOWN
    deep = [one.name for one in group if max(blocks.values()) < _DEPTHS[one.name][0]]
    return deep[0] if deep else UNKNOWN


def _with_own_names(shapes: Shapes) -> Shapes:
    """Return shapes by kohya's names; as they are where diffusers' names may be those of another transformer."""
    parted = ((name.partition("."), shape) for name, shape in shapes.items())
    own = {respell(key) + dot + part: shape for (key, dot, part), shape in parted}
    sure = any(_ADAPTER.match(name) or "_adaln_modulation_" in name for name in own) or any(
        list(shape[1:2]) == [_TEXT_WIDTH] for name, shape in own.items() if _READS_TEXT.search(name)
    )
    return own if sure else shapes


@lru_cache(maxsize=2**16)
def respell(key: str) -> str:
    """Return kohya's name of a module that diffusers names; any other stays."""
    found = _DIFFUSERS.fullmatch(key)
    if found is None:
        return key
    block, leaf, adapter, inner, whole = found.groups()
    if adapter:
        return f"lora_unet_llm_adapter_{inner}"
    if block and leaf in _LEAVES:
        return f"lora_unet_blocks_{block}_{_LEAVES[leaf]}"
    start = next((one for one in _ENDS if whole and (whole == one or whole.startswith(f"{one}_"))), None)
    return key if start is None else f"lora_unet_{_ENDS[start]}{whole[len(start) :]}"


def _prefixes(depth: int) -> Iterator[tuple[str, BlockPrefixes]]:
    # The adapter turns the text encoder's states into the ones that the blocks read: hosts load it with the text.
    yield BASE, BlockPrefixes(("llm_adapter", "text_conditioner"))
    for i in range(depth):
        yield f"B{i:02d}", BlockPrefixes((f"blocks.{i}",))
    own = ("x_embedder", "t_embedder", "t_embedding_norm", "final_layer")
    yield OTHER, BlockPrefixes(own, ("patch_embed", "time_embed", "norm_out", "proj_out"))


def _layers(depth: int) -> Iterator[Layer]:
    for i in range(depth):
        for other, own in _OWN_LEAVES.items():
            yield Layer(f"blocks.{i}.{own}", (f"transformer_blocks.{i}.{other}",))
    for other, own in _OWN_ENDS.items():
        for end in (".linear_1", ".linear_2") if own == "t_embedder.1" else ("",):
            yield Layer(own + end, (other + end,))
    for i in range(_ADAPTER_BLOCKS):
        yield from (_in_adapter(f"blocks.{i}.{leaf}") for leaf in _IN_ADAPTER)
    yield from (_in_adapter(leaf) for leaf in ("in_proj", "out_proj"))


def _in_adapter(path: str) -> Layer:
    return Layer(f"llm_adapter.{path}", (f"text_conditioner.{path}",))


def _anima(name: str, depth: int, title: str) -> Architecture:
    some = numbered("B", *range(depth))
    return Architecture(
        name=name,
        title=title,
        detect=detect,
        layouts=(Layout(depth + 1, name, (BASE, *some)), Layout(depth, name, some)),
        blocks=frozen(dict(_prefixes(depth))),
        text_encoders=(TextEncoder("te", "qwen3_06b", width=_TEXT_WIDTH, layers=28, roots=_TEXT_ROOTS),),
        transformer=Transformer(tuple(_layers(depth)), beside=("text_conditioner",), wrapped="net."),
        latent_channels=16,
        labels=Labels("anima", "anima-preview", "1024x1024", "https://huggingface.co/circlestone-labs/Anima"),
        respell=respell,
        checkpoint_signs=("net.blocks.0.adaln_modulation", "model.diffusion_model.blocks.0.adaln_modulation"),
    )


ARCHITECTURES = tuple(_anima(name, depth, title) for name, (depth, title) in _DEPTHS.items())
