"""What a LoRA file holds, whatever its kinds: enough to describe it, from its header alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.formats.adapters import APPLIED, kind_of
from lib_lora.formats.files import PICKLES, read_header, read_tensors, torch_type
from lib_lora.formats.keys import FAMILIES, block_of_key, family_of, find_module
from lib_lora.formats.lora import in_order_of_blocks, natural, refuse_strangers
from lib_lora.formats.naming import named

_RANKS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "LoRA": (("lora_down.weight", 0),),
    "LoHa": (("hada_w1_b", 0),),
    "LoKr": (("lokr_w2_b", 0), ("lokr_w1_b", 0)),
    "DoRA": (("lora_down.weight", 0), ("hada_w1_b", 0), ("lokr_w2_b", 0), ("lokr_w1_b", 0)),
    "GLoRA": (("b1.weight", 0),),
}
"""By kind, the parts and the side that tell a module's rank; of other kinds there is none to tell."""


@dataclass(frozen=True)
class Module:
    """One module: its kohya name, its block, the kind of its change, and the rank where the kind has one."""

    key: str
    block: str
    kind: str
    rank: int | None

    @property
    def applies(self) -> bool:
        """Whether this program applies, bakes and adds changes of this kind."""
        return self.kind in APPLIED


@dataclass(frozen=True)
class Contents:
    """A LoRA file described: nothing of it needs to be applicable.

    Attributes:
        path: the file.
        family: "sd1", "sd2", "sdxl", "flux", "sd3" or "unknown".
        modules: in the file's natural order.
        metadata: the header's texts.
        extras: names of tensors that are none of a LoRA's (bundled embeddings and the like).
        unknown: names of a LoRA's tensors that are not understood.
        notes: what was assumed on reading, in sentences.
        size: bytes of all tensors.
    """

    path: Path
    family: str
    modules: tuple[Module, ...]
    metadata: dict[str, str]
    extras: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    size: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of changes in the file, by the names that people use."""
        return tuple(sorted({module.kind for module in self.modules}))

    @property
    def not_applied(self) -> tuple[str, ...]:
        """The kinds that this program describes but does not apply; empty where `read_lora` takes the whole file."""
        kinds = {module.kind for module in self.modules if not module.applies}
        return tuple(sorted(kinds | ({"unknown"} if self.unknown else set())))

    @property
    def strangers(self) -> tuple[str, ...]:
        """The modules that no layer of the family's models has; of a family without a table none."""
        if self.family not in FAMILIES:
            return ()
        named = (module.key for module in self.modules if module.kind != "norm")
        return tuple(key for key in named if find_module(key, self.family) is None)

    def remarks(self) -> tuple[str, ...]:
        """Return what does not act, and what was assumed: sentences for people."""
        name, lost, notes = self.path.stem, self.strangers, list(self.notes)
        if self.not_applied:
            kinds = ", ".join(self.not_applied)
            notes.append(f"Changes of these kinds are described, but not applied or merged here: {kinds}.")
        if lost:
            of = f"{len(lost)} of {len(self.modules)} modules of {name}"
            notes.append(f"{of} fit no layer of {self.family.upper()} models (e.g. {lost[0]}).")
        if self.unknown:
            notes.append(
                f"{len(self.unknown)} tensors are of a kind or spelling that is not known (e.g. {self.unknown[0]})."
            )
        if self.extras:
            notes.append(f"{len(self.extras)} tensors are none of a LoRA's (e.g. {self.extras[0]}).")
        return tuple(notes)

    def blocks(self) -> dict[str, tuple[Module, ...]]:
        """Return the modules of every block that has some, in the order of the family's layout, ``other`` last."""
        found: dict[str, tuple[Module, ...]] = {}
        for module in self.modules:
            found[module.block] = (*found.get(module.block, ()), module)
        return in_order_of_blocks(found, self.family)


def contents_of(path: str | Path) -> Contents:
    """Describe a LoRA file of any kind and family; only the header of a safetensors file is read.

    Raises:
        FileError: the file is broken or holds no LoRA.
    """
    path = Path(path)
    tensors, metadata, size = _outline(path)
    found = named(tensors, metadata, path)
    refuse_strangers(found, where=str(path), known=False)
    shapes = {f"{key}.{part}": tuple(t.shape) for key, parts in found.modules.items() for part, t in parts.items()}
    family = family_of(shapes)
    modules = tuple(
        Module(key, block_of_key(key, family), kind_of(found.modules[key]), _rank(found.modules[key]))
        for key in sorted(found.modules, key=natural)
    )
    return Contents(
        path, family, modules, found.metadata, tuple(sorted(found.extras)), found.unknown, found.notes, size
    )


def _outline(path: Path) -> tuple[dict[str, Tensor], dict[str, str], int]:
    """Return tensors without numbers, the metadata, and the bytes of all tensors."""
    if path.suffix.lower() in PICKLES:
        tensors, metadata = read_tensors(path)
        return tensors, metadata, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    header = read_header(path)
    outline = {
        name: torch.empty(info.shape, dtype=torch_type(info.dtype, where=f"{path}, tensor {name!r}"), device="meta")
        for name, info in header.tensors.items()
    }
    return outline, header.metadata, header.size - header.data_start


def _rank(parts: Mapping[str, Tensor]) -> int | None:
    for part, side in _RANKS.get(kind_of(parts), ()):
        if part in parts and parts[part].ndim > side:
            return parts[part].shape[side]
    return None
