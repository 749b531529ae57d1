"""Which names a vector has, found by family and length, and which block a module path lies in."""

from __future__ import annotations

from lib_lora.architectures.base import BASE, OTHER, Architecture, BlockPrefixes, Layout
from lib_lora.architectures.registry import architectures, find_architecture, layouts, layouts_of_length
from lib_lora.blocks.errors import shorten, suggest
from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

__all__ = [
    "BASE",
    "OTHER",
    "BlockPrefixes",
    "Layout",
    "allowed_counts",
    "attention_layout",
    "block_in",
    "block_of_path",
    "blocked_families",
    "canonical",
    "first_text_block",
    "full_layout",
    "layout_of",
    "layout_title",
    "lengths_of",
    "prefixes",
    "text_blocks",
    "title_of",
    "unet_families",
]


def blocked_families() -> tuple[str, ...]:
    """Return the families whose blocks are known."""
    return tuple(one.name for one in architectures() if one.layouts)


def unet_families() -> tuple[str, ...]:
    """Return the families that are loaded and trained."""
    return tuple(one.name for one in architectures() if one.unet is not None)


def full_layout(family: str) -> Layout:
    """Return the layout with every block of a model family."""
    return _blocked(family).layouts[0]


def attention_layout(family: str) -> Layout:
    """Return the layout with only those blocks that hold attention, where a standard LoRA has its modules."""
    return _blocked(family).layouts[-1]


def layout_of(length: int, family: str | None = None) -> Layout:
    """Return the layout of a vector's length: the family's own, else the only family's that has one of this length.

    Raises:
        InputError: no layout has this length, or several families' have and ``family`` is none of them.
    """
    known = find_architecture(family) if family is not None else None
    own = next((layout for layout in known.layouts if layout.length == length), None) if known is not None else None
    if own is not None:
        return own
    found = layouts_of_length(length)
    if not found:
        what = say("Wrong number of block weights: got {n}, allowed {counts}", n=length, counts=allowed_counts())
        raise InputError(what, cure="Give one value for every block, separated by commas.")
    if len(found) > 1:
        families = [title_of(layout.family) for layout in found]
        what = say("{n} block weights may be meant for several families: {families}", n=length, families=families)
        raise InputError(what, cure="Load a model or choose a LoRA of the family that is meant.")
    return found[0]


def lengths_of(family: str) -> tuple[int, ...]:
    """Return the lengths of a family's vectors, the shortest first."""
    return tuple(sorted(layout.length for layout in _blocked(family).layouts))


def allowed_counts() -> str:
    """Return every vector length that some family has, as a message lists them."""
    return "/".join(map(str, sorted({layout.length for layout in layouts()})))


def title_of(family: str) -> str:
    """Return what people call a family."""
    known = find_architecture(family)
    return family if known is None else known.title


def layout_title(layout: Layout) -> str:
    """Return what people call the families that share a layout: SD1 / SD2."""
    return " / ".join(one.title for one in architectures() if layout in one.layouts)


def text_blocks() -> frozenset[str]:
    """Return the blocks that belong to a text encoder: the tag's TE strength applies to them, UNet's to all others."""
    return frozenset(encoder.block for one in architectures() for encoder in one.text_encoders)


def first_text_block(family: str) -> str:
    """Return the block of a family's first text encoder: what BASE means where a layout has no block of that name."""
    return _blocked(family).block_of_text("")


def block_in(layout: Layout, name: str) -> str:
    """Return a layout's spelling of a block name (any case; MID and M for M00).

    Raises:
        InputError: the layout has no such block; the message names near ones.
    """
    known = _spelling(name, layout.names)
    if known is None:
        what = say("There is no block “{name}” in the {n}-block layout", name=shorten(name.strip()), n=layout.length)
        raise InputError(what, cure=_near_blocks(name, layout.names))
    return known


def canonical(name: str, family: str) -> str:
    """Return the one spelling of a block name for a family, BASE and `other` included (any case; MID and M for M00).

    Raises:
        InputError: the family has no such block; the message names near ones.
    """
    layout = full_layout(family)
    names = (*layout.names, *(name for name in (BASE, OTHER) if name not in layout.names))
    known = _spelling(name, names)
    if known is None:
        what = say(
            "There is no block “{name}” in a model of family {family}", name=shorten(name.strip()), family=family
        )
        raise InputError(what, cure=_near_blocks(name, names))
    return known


def prefixes(block: str, family: str) -> BlockPrefixes:
    """Return the dotted UNet module paths of one block; the text-encoder blocks have none of their own."""
    return _blocked(family).blocks[canonical(block, family)]


def block_of_path(path: str, family: str) -> str:
    """Return the block of a UNet module path, dotted or underscored, with LDM or diffusers names; else `other`."""
    return _blocked(family).block_of_path(path)


def _blocked(family: str) -> Architecture:
    known = find_architecture(family)
    if known is None or not known.layouts:
        raise InputError(
            "There is no block layout for the model family {family}",
            family=shorten(family),
            cure="Known families: {names}.",
            names=blocked_families(),
        )
    return known


def _spelling(name: str, names: tuple[str, ...]) -> str | None:
    fold = name.strip().casefold()
    wanted = "m00" if fold in ("m", "mid") else fold
    return next((known for known in names if known.casefold() == wanted), None)


def _near_blocks(name: str, names: tuple[str, ...]) -> Sentence:
    return suggest(name, names) or say("Its blocks: {names}.", names=names)
