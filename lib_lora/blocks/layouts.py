"""Block layouts as data: which names a vector has, and which module paths each block covers.

A model family's blocks follow from its number of resolution levels: SD1 and SD2 have four, SDXL three. With LDM names
`input_blocks.n` is IN(n) and `output_blocks.n` is OUT(n); with diffusers names level i, module j is IN(1+3i+j) or
OUT(3i+j), a downsampler IN(3+3i), an upsampler OUT(3i+2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lib_lora.blocks.errors import shorten, suggest
from lib_lora.errors import InputError

BASE = "BASE"
OTHER = "other"
TEXT_BLOCKS = frozenset({BASE, "CLIP", "T5"})
"""Blocks that belong to a text encoder: the tag's TE strength applies to them, the UNet strength to all others."""


@dataclass(frozen=True)
class Layout:
    """The block names of one vector length, in the order in which the vector writes them."""

    length: int
    family: str
    names: tuple[str, ...]

    def canonical(self, name: str) -> str:
        """Return this layout's spelling of a block name (any case; MID and M for M00).

        Raises:
            InputError: the layout has no such block; the message names near ones.
        """
        known = _spelling(name, self.names)
        if known is None:
            raise _unknown_block(name, self.names, f"the {self.length}-block layout")
        return known


@dataclass(frozen=True)
class BlockPrefixes:
    """Dotted module paths below the UNet that one block covers, in both spellings."""

    ldm: tuple[str, ...]
    diffusers: tuple[str, ...]


def _numbered(kind: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{kind}{number:02d}" for number in numbers)


_FLUX_NAMES = ("CLIP", "T5", "IN", *_numbered("D", *range(19)), *_numbered("S", *range(38)), "OUT")

LAYOUTS: Mapping[int, Layout] = MappingProxyType(
    {
        layout.length: layout
        for layout in (
            Layout(26, "sd1", (BASE, *_numbered("IN", *range(12)), "M00", *_numbered("OUT", *range(12)))),
            Layout(17, "sd1", (BASE, *_numbered("IN", 1, 2, 4, 5, 7, 8), "M00", *_numbered("OUT", *range(3, 12)))),
            Layout(20, "sdxl", (BASE, *_numbered("IN", *range(9)), "M00", *_numbered("OUT", *range(9)))),
            Layout(12, "sdxl", (BASE, *_numbered("IN", 4, 5, 7, 8), "M00", *_numbered("OUT", *range(6)))),
            Layout(61, "flux", _FLUX_NAMES),
        )
    }
)

# family -> (full layout, layout of the blocks with attention)
_FAMILIES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"sd1": (26, 17), "sd2": (26, 17), "sdxl": (20, 12), "flux": (61, 61)}
)


def full_layout(family: str) -> Layout:
    """Return the layout with every block of a model family ("sd1", "sd2", "sdxl", "flux")."""
    return LAYOUTS[_lengths(family)[0]]


def attention_layout(family: str) -> Layout:
    """Return the layout with only those blocks that hold attention, where a standard LoRA has its modules."""
    return LAYOUTS[_lengths(family)[1]]


def canonical(name: str, family: str) -> str:
    """Return the one spelling of a block name for a family, BASE and `other` included (any case; MID and M for M00).

    Raises:
        InputError: the family has no such block; the message names near ones.
    """
    names = _all_names(full_layout(family))
    known = _spelling(name, names)
    if known is None:
        raise _unknown_block(name, names, f"a model of family {family}")
    return known


def prefixes(block: str, family: str) -> BlockPrefixes:
    """Return the dotted UNet module paths of one block; the text-encoder blocks have none."""
    return _PREFIXES[_lengths(family)[0]][canonical(block, family)]


def block_of_path(path: str, family: str) -> str:
    """Return the block of a UNet module path, dotted or underscored, with LDM or diffusers names; else `other`."""
    flat = path.replace(".", "_")
    for root in ("lora_unet_", "model_diffusion_model_", "diffusion_model_", "unet_", "transformer_"):
        # Flux in diffusers: "transformer_blocks_3" is a block's own name, not the root "transformer."
        if flat.startswith(root) and not flat.startswith("transformer_blocks_"):
            flat = flat[len(root) :]
    for prefix, block in _LOOKUP[_lengths(family)[0]]:
        if flat == prefix or flat.startswith(prefix + "_"):
            return block
    return OTHER


def _lengths(family: str) -> tuple[int, int]:
    if family not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise InputError(
            f"There is no block layout for the model family {shorten(family)}", cure=f"Known families: {known}."
        )
    return _FAMILIES[family]


def _all_names(layout: Layout) -> tuple[str, ...]:
    return (*layout.names, *(name for name in (BASE, OTHER) if name not in layout.names))


def _spelling(name: str, names: tuple[str, ...]) -> str | None:
    fold = name.strip().casefold()
    wanted = "m00" if fold in ("m", "mid") else fold
    return next((known for known in names if known.casefold() == wanted), None)


def _unknown_block(name: str, names: tuple[str, ...], owner: str) -> InputError:
    cure = suggest(name, names) or f"Its blocks: {', '.join(names)}."
    return InputError(f"There is no block “{shorten(name.strip())}” in {owner}", cure=cure)


def _unet_prefixes(levels: int, attention: Layout) -> Iterator[tuple[str, BlockPrefixes]]:
    """Yield (block, prefixes) of a Stable Diffusion UNet with that many resolution levels."""
    paths: dict[str, list[str]] = {"IN00": ["conv_in"]}
    places = [("IN", "down", i, j, 1 + 3 * i + j) for i in range(levels) for j in range(2)]
    places += [("OUT", "up", i, j, 3 * i + j) for i in range(levels) for j in range(3)]
    for kind, side, i, j, number in places:
        block = f"{kind}{number:02d}"
        parts = ("resnets", "attentions") if block in attention.names else ("resnets",)
        paths[block] = [f"{side}_blocks.{i}.{part}.{j}" for part in parts]
    for i in range(levels - 1):  # the last level neither shrinks nor grows
        paths[f"IN{3 + 3 * i:02d}"] = [f"down_blocks.{i}.downsamplers.0"]
        paths[f"OUT{3 * i + 2:02d}"].append(f"up_blocks.{i}.upsamplers.0")
    for block, diffusers in paths.items():
        side = "input" if block.startswith("IN") else "output"
        yield block, BlockPrefixes((f"{side}_blocks.{int(block[-2:])}",), tuple(diffusers))
    yield "M00", BlockPrefixes(("middle_block",), ("mid_block",))
    yield BASE, BlockPrefixes((), ())
    outside = ("time_embedding", "add_embedding", "conv_norm_out", "conv_out")
    yield OTHER, BlockPrefixes(("time_embed", "label_emb", "out"), outside)


def _flux_prefixes() -> Iterator[tuple[str, BlockPrefixes]]:
    """Yield (block, prefixes) of Flux; its own names stand in the place of the LDM ones."""
    entry = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in")
    yield "IN", BlockPrefixes(entry, ("x_embedder", "context_embedder", "time_text_embed"))
    for i in range(19):
        yield f"D{i:02d}", BlockPrefixes((f"double_blocks.{i}",), (f"transformer_blocks.{i}",))
    for i in range(38):
        yield f"S{i:02d}", BlockPrefixes((f"single_blocks.{i}",), (f"single_transformer_blocks.{i}",))
    yield "OUT", BlockPrefixes(("final_layer",), ("norm_out", "proj_out"))
    for block in ("CLIP", "T5", BASE, OTHER):
        yield block, BlockPrefixes((), ())


_PREFIXES: Mapping[int, Mapping[str, BlockPrefixes]] = MappingProxyType(
    {
        26: MappingProxyType(dict(_unet_prefixes(4, LAYOUTS[17]))),
        20: MappingProxyType(dict(_unet_prefixes(3, LAYOUTS[12]))),
        61: MappingProxyType(dict(_flux_prefixes())),
    }
)

_LOOKUP: Mapping[int, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        length: tuple(
            (prefix.replace(".", "_"), block)
            for block, both in table.items()
            for prefix in (*both.ldm, *both.diffusers)
        )
        for length, table in _PREFIXES.items()
    }
)
