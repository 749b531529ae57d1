"""What a LoRA file holds, whatever its kinds: enough to describe it, from its header alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.blocks.layouts import title_of
from lib_lora.errors import FileError
from lib_lora.formats.adapters import NormAdapter
from lib_lora.formats.adapters.registry import UNKNOWN_KIND, kind_and_rank, read_adapter
from lib_lora.formats.families import family_of
from lib_lora.formats.files import is_pickle, read_some, read_with_notes, torch_types
from lib_lora.formats.header import Header, read_header
from lib_lora.formats.keys import block_of_key, find_module, has_module_table
from lib_lora.formats.lora import alpha_notes, in_order_of_blocks, natural, refuse_strangers
from lib_lora.formats.naming import named, same
from lib_lora.formats.one_by_one import open_tensors
from lib_lora.sentences import Sentence, say


@dataclass(frozen=True)
class Module:
    """One module: its kohya name, its block, the kind of its change, and the rank where the kind has one."""

    key: str
    block: str
    kind: str
    rank: int | None

    @property
    def applies(self) -> bool:
        """Whether this program knows the kind: then it applies, bakes and adds its changes."""
        return self.kind != UNKNOWN_KIND


@dataclass(frozen=True)
class Fault:
    """Why `read_lora` refuses some modules, in the words of the first of them, and which modules these are."""

    what: Sentence
    cure: Sentence
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """A LoRA file described: nothing of it needs to be applicable.

    Attributes:
        path: the file.
        family: the name of its `Architecture`, or "unknown".
        modules: in the file's natural order.
        metadata: the header's texts.
        extras: names of tensors that are none of a LoRA's (bundled embeddings and the like).
        unknown: names of a LoRA's tensors that are not understood.
        notes: what was assumed on reading, in sentences.
        size: bytes of all tensors.
        faults: by its template, why and which modules `read_lora` refuses though their kind is applied.
        header: the file's, checked; None where it is a pickle.
    """

    path: Path
    family: str
    modules: tuple[Module, ...]
    metadata: dict[str, str]
    extras: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    size: int
    faults: Mapping[str, Fault] = field(default_factory=dict)
    header: Header | None = field(default=None, repr=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of changes in the file, by the names that people use."""
        return tuple(sorted({module.kind for module in self.modules}))

    @property
    def not_applied(self) -> tuple[str, ...]:
        """ "unknown" where something in the file is of no known kind; empty where `read_lora` takes all kinds in it."""
        return () if all(module.applies for module in self.modules) and not self.unknown else (UNKNOWN_KIND,)

    @property
    def strangers(self) -> tuple[str, ...]:
        """The modules that no layer of the family's models has; of a family without a table none."""
        if not has_module_table(self.family):
            return ()
        named = (module.key for module in self.modules if module.kind != NormAdapter.title)
        return tuple(key for key in named if find_module(key, self.family) is None)

    def remarks(self) -> tuple[str, ...]:
        """Return what does not act, and what was assumed: sentences for people."""
        name, lost, notes = self.path.stem, self.strangers, list(self.notes)
        for fault in self.faults.values():
            notes.append(
                say(
                    "{n} {n:module|modules} cannot be applied, so the file is only described (e.g. {module}): "
                    "{what}. {cure}",
                    n=len(fault.modules),
                    module=fault.modules[0],
                    what=fault.what,
                    cure=fault.cure,
                )
            )
        if lost:
            notes.append(
                say(
                    "{n} of {all} modules of {name} fit no layer of {family} models (e.g. {example}).",
                    n=len(lost),
                    all=len(self.modules),
                    name=name,
                    family=title_of(self.family),
                    example=lost[0],
                )
            )
        if self.unknown:
            notes.append(
                say(
                    "{n} {n:tensor is|tensors are} of a kind or spelling that is not known (e.g. {example}).",
                    n=len(self.unknown),
                    example=self.unknown[0],
                )
            )
        if self.extras:
            notes.append(
                say(
                    "{n} {n:tensor is|tensors are} none of a LoRA's (e.g. {example}).",
                    n=len(self.extras),
                    example=self.extras[0],
                )
            )
        return tuple(notes)

    def blocks(self) -> dict[str, tuple[Module, ...]]:
        """Return the modules of every block that has some, in the order of the family's layout, ``other`` last."""
        found: dict[str, tuple[Module, ...]] = {}
        for module in self.modules:
            found[module.block] = (*found.get(module.block, ()), module)
        return in_order_of_blocks(found, self.family)


def contents_of(path: str | Path) -> Contents:
    """Describe a LoRA file of any kind and family; of a safetensors file only header and alphas are read.

    Raises:
        FileError: the file is broken or holds no LoRA.
    """
    path = Path(path)
    header = None if is_pickle(path) else read_header(path)
    tensors, metadata, size, notes = _outline(path, header)
    found = named(tensors, metadata, path)
    if found.twice and header is not None:  # whether they are the same, only their numbers tell
        with open_tensors(path, header) as file:
            for pair in found.twice:
                where = say("{file}, {part}", file=str(path), part=pair)
                same(*(file.tensor(name).flatten() for name in pair), where=where)
    refuse_strangers(found, where=str(path), known=False)
    shapes = {f"{key}.{part}": tuple(t.shape) for key, parts in found.modules.items() for part, t in parts.items()}
    family = family_of(shapes)
    modules = tuple(
        Module(key, block_of_key(key, family), *kind_and_rank(found.modules[key]))
        for key in sorted(found.modules, key=natural)
    )
    notes = (*notes, *found.notes, *alpha_notes(found))
    faults = _faults(modules, found.modules)
    extras = tuple(sorted(found.extras))
    return Contents(path, family, modules, found.metadata, extras, found.unknown, notes, size, faults, header)


def _faults(modules: Iterable[Module], parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Fault]:
    """Return the modules that cannot be read as an adapter by why; of tensors without numbers the form is looked at."""
    faults: dict[str, Fault] = {}
    sound: set[tuple[object, ...]] = set()  # a file has few forms of modules, and many of each
    for module in modules:
        form = tuple((part, one.shape, one.dtype, _number(one)) for part, one in parts[module.key].items())
        if form in sound:
            continue
        try:
            read_adapter(module.key, parts[module.key])
        except FileError as error:
            known = faults.get(error.what.template, Fault(error.what, error.cure, ()))  # of any shapes: one fault
            faults[error.what.template] = replace(known, modules=(*known.modules, module.key))
        else:
            sound.add(form)
    return faults


def _number(tensor: Tensor) -> object:
    """Return what is known of a tensor's numbers, as far as two that are the same can be told alike."""
    if tensor.is_meta:
        return None
    return float(tensor) if tensor.numel() == 1 else id(tensor)


def _outline(path: Path, header: Header | None) -> tuple[dict[str, Tensor], dict[str, str], int, tuple[str, ...]]:
    """Return tensors without numbers (but for alphas), the metadata, the bytes of all tensors, and remarks."""
    if header is None:
        tensors, metadata, notes = read_with_notes(path)
        return tensors, metadata, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()), notes
    types = torch_types(header, header.tensors, where=str(path))
    forms = {(info.dtype, info.shape) for info in header.tensors.values()}  # many tensors, and few forms of them
    blank = {(dtype, shape): torch.empty(shape, dtype=types[dtype], device="meta") for dtype, shape in forms}
    outline = {name: blank[info.dtype, info.shape] for name, info in header.tensors.items()}
    small = [name for name, info in header.tensors.items() if name.endswith(".alpha") and info.end - info.start <= 64]
    outline |= read_some(path, header, small)
    return outline, header.metadata, header.size - header.data_start, header.notes
