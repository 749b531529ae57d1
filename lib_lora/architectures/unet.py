"""Module names of a Stable Diffusion UNet: diffusers' and LDM's spelling of each part, from a few numbers a family."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType


@dataclass(frozen=True)
class Container:
    """A ResNet, attention block or plain layer of a UNet in both spellings."""

    diffusers: str
    ldm: str
    kind: str
    depth: int = 0
    shortcut: bool = False


OUTSIDE = (
    Container("time_embedding.linear_1", "time_embed.0", "outside"),
    Container("time_embedding.linear_2", "time_embed.2", "outside"),
    Container("add_embedding.linear_1", "label_emb.0.0", "outside"),
    Container("add_embedding.linear_2", "label_emb.0.2", "outside"),
    Container("conv_in", "input_blocks.0.0", "outside"),
    Container("conv_norm_out", "out.0", "outside"),
    Container("conv_out", "out.2", "outside"),
)
RESNET: Mapping[str, str] = MappingProxyType(
    {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
)
_RESNET_BACK: Mapping[str, str] = MappingProxyType({ldm: name for name, ldm in RESNET.items()})
_OF_ATTENTION = re.compile(r"_attentions_\d+_|_1_proj_|_transformer_blocks_|middle_block_1_")
_OF_CONVOLUTIONS = re.compile(
    r"_resnets_\d+_|samplers_\d+_conv|_(in_layers_2|out_layers_3|emb_layers_1|skip_connection)$|_op$|blocks_\d+_\d_conv$"
)
_ATTENTION = tuple(f"{attn}.to_{leaf}" for attn in ("attn1", "attn2") for leaf in ("q", "k", "v", "out.0"))
_TRANSFORMER = (*_ATTENTION, "ff.net.0.proj", "ff.net.2")


@dataclass(frozen=True)
class Unet:
    """What tells the UNets of the families apart, level by level from fine to coarse.

    Attributes:
        depths: transformer blocks of an attention block; 0 where the level has none.
        channels: width of each level as a multiple of the first, which has 320 in every full-size model.
        cross_widths: widths of the text that its cross-attention reads.
        heads: attention heads where a checkpoint does not tell them; None: one for every 64 channels.
        ldm_keys: whether its trainers write LDM names, so that files come in both spellings.
    """

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    cross_widths: tuple[int, ...]
    heads: int | None = None
    ldm_keys: bool = False

    @property
    def levels(self) -> int:
        """How many resolutions it has."""
        return len(self.depths)

    def level(self, block: str) -> int:
        """Return how often the sides were halved in a block; 0 in those outside of it."""
        deepest = self.levels - 1
        if block.startswith("IN"):
            return min(deepest, int(block[2:]) // 3)
        if block.startswith("OUT"):
            return max(0, deepest - int(block[3:]) // 3)
        return deepest if block.startswith("M") else 0

    def out_channels(self, up: int) -> int:
        """Return the channels that a level of the way up gives in a full-size model, ``up`` 0 being the coarsest."""
        return 320 * self.channels[-1 - up] if up < self.levels else 0

    def containers(self) -> Iterator[Container]:
        """Yield its parts from in to out."""
        yield from OUTSIDE
        for i, depth in enumerate(self.depths):
            for j in range(2):
                ldm = f"input_blocks.{1 + 3 * i + j}"
                widens = j == 0 and i > 0 and self.channels[i] != self.channels[i - 1]
                yield Container(f"down_blocks.{i}.resnets.{j}", f"{ldm}.0", "resnet", shortcut=widens)
                if depth:
                    yield Container(f"down_blocks.{i}.attentions.{j}", f"{ldm}.1", "attention", depth=depth)
            if i < self.levels - 1:
                yield Container(f"down_blocks.{i}.downsamplers.0.conv", f"input_blocks.{3 + 3 * i}.0.op", "conv")
        yield Container("mid_block.resnets.0", "middle_block.0", "resnet")
        yield Container("mid_block.attentions.0", "middle_block.1", "attention", depth=max(self.depths[-2:]))
        yield Container("mid_block.resnets.1", "middle_block.2", "resnet")
        yield from self._way_up()

    def _way_up(self) -> Iterator[Container]:
        for i, depth in enumerate(reversed(self.depths)):
            for j in range(3):
                ldm = f"output_blocks.{3 * i + j}"
                yield Container(f"up_blocks.{i}.resnets.{j}", f"{ldm}.0", "resnet", shortcut=True)
                if depth:
                    yield Container(f"up_blocks.{i}.attentions.{j}", f"{ldm}.1", "attention", depth=depth)
            if i < self.levels - 1:
                place = 2 if depth else 1  # behind the attention, where there is one
                yield Container(f"up_blocks.{i}.upsamplers.0.conv", f"output_blocks.{3 * i + 2}.{place}.conv", "conv")

    def leaves(self, container: Container, *, conv: bool) -> tuple[str, ...]:
        """Return the Linear and convolution layers of a container that trainers give modules."""
        if container.kind == "attention":
            inner = [f"transformer_blocks.{k}.{leaf}" for k in range(container.depth) for leaf in _TRANSFORMER]
            return ("proj_in", *inner, "proj_out")
        if container.kind == "resnet" and conv:
            return ("conv1", "conv2", "time_emb_proj", *(("conv_shortcut",) if container.shortcut else ()))
        return ("",) if container.kind == "conv" and conv else ()

    def is_trained(self, key: str, *, conv: bool) -> bool:
        """Whether a standard file trains a module, named as kohya does in either spelling; see `leaves`."""
        return bool(_OF_ATTENTION.search(key)) or (conv and bool(_OF_CONVOLUTIONS.search(key)))

    def norms(self, container: Container) -> tuple[str, ...]:
        """Return the normalizations of a container."""
        if container.kind == "attention":
            return ("norm", *(f"transformer_blocks.{k}.norm{n}" for k in range(container.depth) for n in (1, 2, 3)))
        return ("norm1", "norm2") if container.kind == "resnet" else ()

    def to_ldm(self, path: str) -> str | None:
        """Return the LDM spelling of a dotted diffusers path, a tail such as ``.weight`` kept; None: it has none."""
        found = _split(path, self._by_diffusers)
        return found and _joined(found[0].ldm, found[0], found[1], RESNET)

    def to_diffusers(self, path: str) -> str | None:
        """Return the diffusers spelling of a dotted LDM path: the inverse of ``to_ldm``."""
        found = _split(path, self._by_ldm)
        return found and _joined(found[0].diffusers, found[0], found[1], _RESNET_BACK)

    @cached_property
    def _by_diffusers(self) -> Mapping[str, Container]:
        return {container.diffusers: container for container in self.containers()}

    @cached_property
    def _by_ldm(self) -> Mapping[str, Container]:
        return {container.ldm: container for container in self.containers()}


def _split(path: str, table: Mapping[str, Container]) -> tuple[Container, str] | None:
    """Return the container that a path starts with, and the rest of the path."""
    steps = path.split(".")
    for count in range(min(len(steps), 5), 0, -1):
        container = table.get(".".join(steps[:count]))
        if container is not None:
            return container, ".".join(steps[count:])
    return None


def _joined(root: str, container: Container, tail: str, table: Mapping[str, str]) -> str | None:
    """Return a container's name with its tail, a ResNet's leaf in the other spelling; None where that is unknown."""
    if not tail or container.kind != "resnet":
        return f"{root}.{tail}" if tail else root
    steps = tail.split(".")
    for count in (2, 1):
        leaf = table.get(".".join(steps[:count]))
        if leaf is not None:
            return ".".join([root, leaf, *steps[count:]])
    return None
