"""What a family of models is to this program: one frozen object, asked by every room above, in place of its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from lib_lora.architectures.modules import ModuleName, by_key, text_modules, unet_modules
from lib_lora.architectures.transformer import Transformer
from lib_lora.architectures.unet import Unet

BASE = "BASE"
OTHER = "other"
UNKNOWN = "unknown"
"""What stands in the place of a family's name where nothing tells it."""

Shapes = Mapping[str, Sequence[int]]
"""Shape of every tensor of a LoRA file by its kohya name."""

_OF_TEXT = re.compile(r"_layers_\d+_(self_attn_(q|k|v|out)_proj|mlp_fc[12])$")
_PATHS = 2**15
"""Module paths of which a family remembers the block."""
_ROOTS = ("lora_unet_", "model_diffusion_model_", "diffusion_model_", "unet_", "transformer_", "net_")


@dataclass(frozen=True)
class Layout:
    """The block names of one vector length of one family, in the order in which the vector writes them."""

    length: int
    family: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class BlockPrefixes:
    """Dotted module paths below the UNet (or transformer) that one block covers, in both spellings."""

    ldm: tuple[str, ...]
    diffusers: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family.

    Attributes:
        part: kohya's short name: "te", "te1", "te2".
        short: ComfyUI's name of it: "clip_l", "clip_g", "t5xxl".
        width: numbers of a token's hidden state.
        layers: layers that a LoRA may name.
        block: the block that its modules belong to.
        root: what its tensors' names begin with in a checkpoint in LDM names; "" where no such checkpoint holds it.
        roots: what dotted names of its modules in LoRA files begin with, besides ``short`` and what all families share.
        open_clip: whether it is OpenCLIP's, with q, k and v in one weight and zeros behind the end token.
    """

    part: str
    short: str
    width: int
    layers: int
    block: str = BASE
    root: str = ""
    roots: tuple[str, ...] = ()
    open_clip: bool = False

    @property
    def prefix(self) -> str:
        """What kohya's names of its modules begin with."""
        return f"lora_{self.part}_"


@dataclass(frozen=True)
class Labels:
    """What a LoRA file's metadata says of the family: ``ss_base_model_version`` and the fields of ``modelspec``.

    ``card`` is what AUTOMATIC1111's card of a LoRA calls it; "" where it has no word for it.
    """

    base_model: str
    architecture: str
    resolution: str
    implementation: str
    v2: bool = False
    card: str = ""


Detector = Callable[[Shapes, Sequence["Architecture"]], "str | None"]
"""From a LoRA's names and shapes and the families that share the detector to one's name; None: it is none of them."""


@dataclass(frozen=True, eq=False)
class Architecture:
    """A family of models; each is one object, and equal to itself only.

    Attributes:
        name: how code, files and REST call it.
        title: how people call it.
        detect: tells a LoRA of it from others; families that differ in shapes only share one.
        layouts: its vectors, the one with every block first, the shortest last; empty where no block is known.
        blocks: which module paths each block covers.
        text_encoders: in the order of their numbers.
        unet: its UNet's module names in every spelling; None of a transformer, which is read, labeled, baked and
            merged, but not loaded or trained.
        transformer: its layers in both spellings; None where it has a UNet, or nobody has agreed on names.
        latent_channels, latent_scale: of its autoencoder.
        native_side: side in px that it was made for; ``velocity_side`` where the model predicts the velocity.
        betas: first and last β of the noise schedule; None of a flow model.
        sd_scripts: the program of sd-scripts that trains a LoRA of it.
        labels: what its files' metadata says; None where no program's words for it are known.
        checkpoint_signs: what some name of a checkpoint's tensors begins with, where it is of this family.
        respell: from kohya's form of another program's name of a transformer's module to kohya's own name of it.
    """

    name: str
    title: str
    detect: Detector
    layouts: tuple[Layout, ...] = ()
    blocks: Mapping[str, BlockPrefixes] = field(default_factory=dict)
    text_encoders: tuple[TextEncoder, ...] = ()
    unet: Unet | None = None
    transformer: Transformer | None = None
    latent_channels: int = 4
    latent_scale: float = 1.0
    native_side: int = 1024
    velocity_side: int = 0
    betas: tuple[float, float] | None = None
    sd_scripts: str = "train_network.py"
    labels: Labels | None = None
    checkpoint_signs: tuple[str, ...] = ()
    respell: Callable[[str], str] | None = None

    def side(self, *, velocity: bool) -> int:
        """Return the side in px that a full-size model was made for."""
        return self.velocity_side if velocity and self.velocity_side else self.native_side

    def is_trained(self, key: str, *, conv: bool) -> bool:
        """Whether a standard file trains a module: attention of the UNet, attention and MLP of a text encoder.

        Args:
            key: the module as kohya's files name it.
            conv: whether ResNet blocks and the down- and upsamplers are trained, too.
        """
        if key.startswith("lora_te"):
            return bool(_OF_TEXT.search(key))
        return self.unet is not None and self.unet.is_trained(key, conv=conv)

    @property
    def required_unet(self) -> Unet:
        """The module names of its UNet, for what is only asked of families that have one.

        Raises:
            LookupError: it is a transformer.
        """
        if self.unet is None:
            raise LookupError(f"{self.name} has no UNet")
        return self.unet

    @property
    def pooled(self) -> bool:
        """Whether the UNet also reads a pooled vector and sizes, as SDXL's with its two encoders does."""
        return self.unet is not None and len(self.text_encoders) > 1

    def text_encoder(self, number: str) -> TextEncoder | None:
        """Return the encoder that a number behind ``te`` means; "" is the first, and one too high the last."""
        encoders = self.text_encoders
        return encoders[min(int(number or 1), len(encoders)) - 1] if encoders else None

    def text_number(self, number: str) -> str:
        """Return a text encoder's number as this family's files have it; that of no encoder of its stays."""
        first = self.text_encoders[0].part.removeprefix("te") if self.text_encoders else number
        return first if number in ("", "1") else number

    def block_of_path(self, path: str) -> str:
        """Return the block of a module path, dotted or underscored, in any spelling; else ``other``."""
        found = self._blocks_known.get(path)  # a folder's files name the same modules over and over
        if found is None:
            found = self._block_of(path)
            if len(self._blocks_known) < _PATHS:
                self._blocks_known[path] = found
        return found

    def _block_of(self, path: str) -> str:
        flat = path.replace(".", "_")
        for root in _ROOTS:
            # Flux in diffusers: "transformer_blocks_3" is a block's own name, not the root "transformer."
            if flat.startswith(root) and not flat.startswith("transformer_blocks_"):
                flat = flat[len(root) :]
        for prefix, block in self._lookup:
            if flat == prefix or flat.startswith(prefix + "_"):
                return block
        return OTHER

    def block_of_text(self, number: str) -> str:
        """Return the block of a text encoder's modules by the number behind ``te``."""
        encoder = self.text_encoder(number)
        return BASE if encoder is None else encoder.block

    def modules(self, *, conv: bool = False) -> list[ModuleName]:
        """Return the modules of a complete LoRA file: attention and feed-forward, with ``conv`` ResNets too.

        A UNet's keys are in the spelling of its trainers; `find` knows both. A transformer has no table: none.
        """
        return [] if self.unet is None else [*unet_modules(self, conv=conv), *text_modules(self)]

    def find(self, key: str) -> ModuleName | None:
        """Return all names of the module that a kohya key in either spelling means, or None."""
        return self._by_key.get(key)

    def settled(self, key: str) -> str:
        """Return a module's name as hosts know it: SDXL's in either spelling, other UNets' in diffusers'."""
        if self.respell is not None:
            return self.respell(key)
        module = None if self.unet is None or self.unet.ldm_keys else self.find(key)
        return key if module is None else module.key

    @cached_property
    def _blocks_known(self) -> dict[str, str]:
        return {}

    @cached_property
    def _by_key(self) -> Mapping[str, ModuleName]:
        return {} if self.unet is None else by_key(self)

    @cached_property
    def _lookup(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            (prefix.replace(".", "_"), block)
            for block, both in self.blocks.items()
            for prefix in (*both.ldm, *both.diffusers)
        )


def numbered(kind: str, *numbers: int) -> tuple[str, ...]:
    """Return block names such as IN04, two digits each."""
    return tuple(f"{kind}{number:02d}" for number in numbers)


def frozen(blocks: Mapping[str, BlockPrefixes]) -> Mapping[str, BlockPrefixes]:
    """Return a table of blocks that nobody can change."""
    return MappingProxyType(dict(blocks))


def signature(name: str, pattern: str) -> Detector:
    """Return the detector of a family that a word in its modules' names tells."""
    found = re.compile(pattern)

    def detect(shapes: Shapes, _: Sequence[Architecture]) -> str | None:
        return name if any(found.search(each) for each in shapes) else None

    return detect
