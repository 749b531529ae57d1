"""The tensors of a LoRA file under kohya's names, whatever program wrote it, with every module's alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.adapters.registry import find_kind, rank_in
from lib_lora.formats.dialects import MAGNITUDE, is_of_a_lora, is_of_a_model, kohya_spelling
from lib_lora.formats.keys import is_module_key
from lib_lora.formats.peft import HEADER_KEY, PeftOptions, options_beside, options_in_header
from lib_lora.sentences import say


@dataclass(frozen=True)
class Named:
    """A file's tensors by kohya's names.

    Attributes:
        modules: part name to tensor, by module.
        extras: tensors that are none of a LoRA's (bundled embeddings and the like), under their own names.
        unknown: names of a LoRA's tensors in a spelling or of a kind that is not understood.
        metadata: without PEFT's options, which the alphas now say.
        notes: what was assumed, for people.
        twice: names of two tensors that mean the same; of tensors without numbers, only their shapes were compared.
        names: the file's own name of each part, by module and part.
        keys: the module of every tensor of one, by the file's own name of it.
    """

    modules: dict[str, dict[str, Tensor]]
    extras: dict[str, Tensor]
    unknown: tuple[str, ...]
    metadata: dict[str, str]
    notes: tuple[str, ...]
    twice: tuple[tuple[str, str], ...] = ()
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)


def named(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Named:
    """Return a file's tensors by kohya's names; PEFT's alphas come from the header or the file beside.

    Raises:
        FileError: two names mean the same tensor with other numbers, or PEFT's options are broken.
    """
    where = str(path)
    options = options_in_header(metadata, where=where)
    beside = options is None and any(name.startswith("base_model.") for name in tensors)
    options = options_beside(path) if beside else options
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    target = "te2" if options is not None and options.second_encoder else "te"
    names, paths = kohya_spelling(shapes, target=target)
    modules: dict[str, dict[str, Tensor]] = {}
    extras: dict[str, Tensor] = {}
    sources: dict[str, dict[str, str]] = {}
    twice: list[tuple[str, str]] = []
    keys: dict[str, str] = {}
    for name, tensor in tensors.items():
        key, _, part = names.get(name, name).partition(".")
        tensor = tensor.reshape(-1, 1) if MAGNITUDE in name and part == "dora_scale" else tensor  # PEFT: one an output
        if not (part and is_module_key(f"{key}.")):
            extras[name] = tensor
        elif part in modules.setdefault(key, {}):
            first, before = sources[key][part], modules[key][part]
            modules[key][part] = same(before, tensor, where=say("{file}, {part}", file=where, part=[first, name]))
            sources[key][part] = first if modules[key][part] is before else name
            twice.append((first, name))
        else:
            modules[key][part] = tensor
            sources.setdefault(key, {})[part] = name
        if name not in extras:
            keys[name] = key
    unknown = tuple(name for name in extras if is_of_a_lora(name) or (modules and is_of_a_model(name)))
    notes: list[str] = []
    if twice:
        notes.append(
            say(
                "{n} {n:tensor is|tensors are} there twice, with the same numbers; one counts (e.g. {name}).",
                n=len(twice),
                name=twice[0][1],
            )
        )
    _add_alphas(modules, paths, options, notes, beside=beside)
    _add_settings(modules, paths, options)
    kept = {name: value for name, value in metadata.items() if name != HEADER_KEY or not paths}
    extras = {name: tensor for name, tensor in extras.items() if name not in unknown}
    return Named(modules, extras, unknown, kept, tuple(notes), twice=tuple(twice), names=sources, keys=keys)


def same(one: Tensor, other: Tensor, *, where: str) -> Tensor:
    """Return the more exact of two tensors that mean the same; one may be the other rounded.

    Tensors without numbers (on ``meta``) are only compared by shape.

    Raises:
        FileError: they differ.
    """
    exact, rounded = (one, other) if one.element_size() >= other.element_size() else (other, one)
    alike = exact.shape == rounded.shape
    if alike and not (exact.is_meta or rounded.is_meta):
        alike = bool(torch.eq(exact.to(rounded.dtype).float(), rounded.float()).all())
    if not alike:
        cure = say("Get the file again, or delete one of the two.")
        raise FileError("Two tensors mean the same and differ", where=where, cure=cure)
    return exact


def _add_alphas(
    modules: dict[str, dict[str, Tensor]],
    paths: Mapping[str, str],
    options: PeftOptions | None,
    notes: list[str],
    *,
    beside: bool,
) -> None:
    """Give every module of a dotted name that has no alpha the one that PEFT's options say; note what is assumed.

    Kohya's own names have no options: there alpha is in the file, or the assumption is told as well.
    """
    silent = {key: path for key, path in paths.items() if "alpha" not in modules[key] and _is_ranked(modules[key])}
    if silent and options is not None and beside and not _same_ranks(modules, silent, options):
        notes.append(
            say(
                "adapter_config.json beside it tells other ranks, so it is of another file; alpha is taken as the rank."
            )
        )
        return
    told = {key for key, path in silent.items() if _add_alpha(modules[key], path, options)}
    # Of an alpha that cannot be used `odd` tells what it is: the file does say one.
    told |= {key for key, path in silent.items() if options is not None and options.alpha(path) is not None}
    notes += [] if options is None or not silent else options.odd()

    def is_ranked(key: str) -> bool:
        return bool(_rank(modules[key])) or (key in silent and _is_whole(modules[key]))

    assumed = [key for key in modules if "alpha" not in modules[key] and key not in told and is_ranked(key)]
    if not assumed:
        return
    ranked = [key for key in modules if is_ranked(key)]
    if options is None and beside:
        notes.append(say("There is no adapter_config.json beside it, so alpha is taken as the rank (scale 1)."))
    elif len(assumed) == len(ranked):
        notes.append(say("The file does not say its alpha; it is taken as the rank (scale 1)."))
    else:
        notes.append(
            say(
                "{n} of {all} modules do not say their alpha; there it is taken as the rank (e.g. {module}).",
                n=len(assumed),
                all=len(ranked),
                module=assumed[0],
            )
        )


def _add_settings(
    modules: Mapping[str, dict[str, Tensor]], paths: Mapping[str, str], options: PeftOptions | None
) -> None:
    """Let every kind that PEFT's options say more of than alpha put it into its parts."""
    if options is None:
        return
    for key, path in paths.items():
        kind = find_kind(modules[key])
        if kind is not None:
            kind.from_peft(modules[key], options, path)


def _add_alpha(parts: dict[str, Tensor], path: str, options: PeftOptions | None) -> bool:
    """Add a module's alpha where the options say it; return whether they do."""
    rank = _rank(parts) or (options.rank(path) if options is not None else None)
    scale = None if options is None or not rank else options.scale(path, rank)
    if scale is None or not rank:
        return False
    if _is_whole(parts):  # PEFT scales whole factors too, LyCORIS does not
        parts["lokr_w1"] = parts["lokr_w1"].float() * scale
    else:
        parts["alpha"] = torch.tensor(scale * rank, dtype=torch.float32)
    return True


def _same_ranks(modules: Mapping[str, Mapping[str, Tensor]], paths: Mapping[str, str], options: PeftOptions) -> bool:
    """Whether the modules have the ranks that the options tell."""
    pairs = ((_rank(modules[key]), options.rank(path)) for key, path in paths.items())
    return all(not found or told is None or found == told for found, told in pairs)


def _is_ranked(parts: Mapping[str, Tensor]) -> bool:
    return _is_whole(parts) or _rank(parts) > 0


def _is_whole(parts: Mapping[str, Tensor]) -> bool:
    """Whether a module is a LoKr of two whole factors, in which no rank is left to read."""
    return "lokr_w1" in parts and "lokr_w2" in parts


def _rank(parts: Mapping[str, Tensor]) -> int:
    """Return the rank of a module's tensors; 0 where it has none to divide by."""
    return rank_in(parts) or 0
