"""Tensors in files: safetensors read and written safely, pickles only where nothing in them can run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import signature
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lib_lora.errors import FileError, InputError
from lib_lora.formats.hashes import chunks, legacy_digest, sha256
from lib_lora.formats.header import (
    TYPES,
    Header,
    TensorInfo,
    encode_header,
    header_of,
    holds_safetensors,
    open_regular,
    plan_layout,
    read_header,
)
from lib_lora.formats.mistaken import PICKLED, START, ZIP, mistaken
from lib_lora.formats.names import ENDING
from lib_lora.formats.saving import check_target, save_atomically
from lib_lora.sentences import say

READ_LIMIT = 8 * 2**30
"""Bytes that are read into memory at most; the largest LoRA files have about 2 GB."""

_READING = {"backend": "pread"} if "backend" in signature(safetensors.torch.load_file).parameters else {}
"""From safetensors 0.8 on a file can be read instead of mapped: a disk that fails is an error then, not a signal."""

PICKLES = frozenset({".pt", ".pth", ".ckpt", ".bin"})


def read_tensors(path: str | Path, *, limit: int = READ_LIMIT) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors (on the CPU, in the file's types) and the metadata.

    Raises:
        FileError: the file is broken, too large, or a pickle that is more than tensors.
    """
    tensors, metadata, _ = read_with_notes(path, limit=limit)
    return tensors, metadata


def read_with_notes(
    path: str | Path, *, limit: int = READ_LIMIT
) -> tuple[dict[str, Tensor], dict[str, str], tuple[str, ...]]:
    """Read as `read_tensors` does, and what in the header is not as it should be, in sentences for people.

    Raises:
        FileError: as `read_tensors`.
    """
    if is_pickle(path):
        return _read_pickle(path, limit=limit), {}, ()
    header = read_header(path)
    if header.size > limit:
        raise FileError(
            "The file is too large for a LoRA ({size} bytes)",
            size=header.size,
            where=str(path),
            cure="Choose a LoRA file, not a checkpoint.",
        )
    names = sorted(header.tensors, key=lambda name: header.tensors[name].start)
    return read_some(path, header, names), header.metadata, header.notes


def is_pickle(path: str | Path) -> bool:
    """Whether a file is named as PyTorch's are and is no safetensors file under that name."""
    return Path(path).suffix.lower() in PICKLES and not holds_safetensors(path)


def read_some(path: str | Path, header: Header, names: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors of these names without reading the others; ``header`` is the file's, checked by us.

    Raises:
        FileError: the disk, this PyTorch or the safetensors library refuses.
    """
    where = str(path)
    names = list(names)
    kinds = torch_types(header, names, where=where)
    types = {name: kinds[header.tensors[name].dtype] for name in names}
    try:
        if header.notes:  # metadata that the library refuses: it gets the tensors without them
            full = {name: info for name, info in header.tensors.items() if info.end > info.start}
            found = safetensors.torch.load(encode_header(full, {}) + Path(path).read_bytes()[header.data_start :])
            empty = {name: torch.empty(header.tensors[name].shape, dtype=types[name]) for name in types.keys() - full}
            return {name: empty[name] if name in empty else _sound(found[name]) for name in types}
        with safe_open(path, "pt", **_READING) as file:
            # Copied where the file is mapped: who else writes into it would change them, or end this process.
            return {name: _sound(file.get_tensor(name).clone()) for name in types}
    except OSError as error:
        raise FileError(
            "The file cannot be read: {reason}", where=where, cure="Check the disk.", reason=error
        ) from error
    except (SafetensorError, KeyError) as error:  # changed meanwhile, or of a kind that this library does not know yet
        what = say("The safetensors library cannot read the file: {reason}", reason=error)
        cure = say("Try again; if it stays so, use an fp16 file of this LoRA.")
        raise FileError(what, where=where, cure=cure) from error


def _sound(tensor: Tensor) -> Tensor:
    """Return a tensor whose truth values, if it has such, are 0 or 1, whatever bytes the file has."""
    return tensor.view(torch.uint8) != 0 if tensor.dtype is torch.bool else tensor


def torch_types(header: Header, names: Iterable[str], *, where: str) -> dict[str, torch.dtype]:
    """Return PyTorch's types of the tensors of these names, by safetensors' names of them.

    Raises:
        FileError: this PyTorch does not have one.
    """
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(header.tensors[name].dtype, name)
    return {
        kind: torch_type(kind, where=say("{file}, tensor {name!r}", file=where, name=name))
        for kind, name in first.items()
    }


def torch_type(name: str, *, where: str) -> torch.dtype:
    """Return PyTorch's type of a safetensors type name.

    Raises:
        FileError: this PyTorch does not have it.
    """
    dtype = getattr(torch, TYPES[name][1], None)
    if dtype is None:
        raise FileError(
            "This PyTorch has no {kind} numbers", kind=name, where=where, cure="Use an fp16 file of this LoRA."
        )
    return dtype


def _read_pickle(path: str | Path, *, limit: int) -> dict[str, Tensor]:
    """Read a PyTorch file with the restricted unpickler: tensors and containers only, no code."""
    where, cure = str(path), say("Use a .safetensors file of this LoRA.")
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit or not _is_plain_archive(file, size=size):
            file.seek(0)
            start = file.read(START)
            known = None if start.startswith((ZIP, *PICKLED)) else mistaken(start, where=where)
            if known is not None:
                raise known
            raise FileError("The file is not a PyTorch archive that can be opened safely", where=where, cure=cure)
        file.seek(0)
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a hostile pickle can make the unpickler raise anything at all
            what = say("The pickle is refused: it is broken or holds more than tensors")
            raise FileError(what, where=where, cure=cure) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not content:
        raise FileError("The pickle holds no tensors by name", where=where, cure=cure)
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
            raise FileError(
                "The pickle holds more than tensors by name",
                where=say("{file}, {part!r:.100}", file=where, part=name),
                cure=cure,
            )
        if tensor.is_meta or tensor.numel() * tensor.element_size() > size:  # a small storage repeated by its strides
            raise FileError(
                "The pickle lies about a tensor's size",
                where=say("{file}, {part!r:.100}", file=where, part=name),
                cure=cure,
            )
    return {name: tensor.detach().contiguous() for name, tensor in content.items()}


def _is_plain_archive(file: object, *, size: int) -> bool:
    """Whether a zip unpacks to no more than its own size: PyTorch stores without packing, a zip bomb does not."""
    try:
        with zipfile.ZipFile(file) as archive:  # type: ignore[call-overload]
            return sum(entry.file_size for entry in archive.infolist()) <= size
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    overwrite: bool = False,
    ending: str = ENDING,
) -> Path:
    """Write a safetensors file atomically and return its path.

    Where ``metadata`` has the keys ``sshs_model_hash``, ``sshs_legacy_hash`` or ``modelspec.hash_sha256``, whatever
    their values, the hash of exactly what is written takes their place.

    Raises:
        FileError: the target exists and ``overwrite`` is false, or the disk refuses.
        InputError: nothing to write, or metadata that cannot be written.
    """
    target = Path(path)
    check_target(target, overwrite=overwrite, ending=ending)
    if not tensors:
        raise InputError("There is nothing to write", where=str(target), cure="Keep at least one module.")
    plan = _planned(tensors)

    def part(name: str, start: int, end: int) -> bytes:
        return raw_bytes(tensors[name])[start:end].tobytes()

    def blocks() -> Iterator[memoryview]:
        return (raw_bytes(tensors[name]) for name in plan)

    metadata = _hashed(metadata, plan, part, blocks())
    head = encode_header(plan, metadata)
    size = len(head) + sum(info.end - info.start for info in plan.values())
    return save_atomically(target, _joined(head, blocks()), size=size, overwrite=overwrite, ending=ending)


def file_size(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """Return the bytes of the file that `write_tensors` would write; hashes are counted as they will be."""
    plan = _planned(tensors)
    lengths = {"sshs_model_hash": 64, "sshs_legacy_hash": 8, "modelspec.hash_sha256": 66}
    true = {key: "0" * lengths[key] if key in lengths else value for key, value in metadata.items()}
    return len(encode_header(plan, true)) + sum(info.end - info.start for info in plan.values())


def _planned(tensors: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    """Return where each tensor will lie; of those on the disk only the outline is looked at."""
    like = getattr(tensors, "outline", tensors)
    return plan_layout((name, _type_name(name, t), tuple(t.shape)) for name, t in like.items())


def _type_name(name: str, tensor: Tensor) -> str:
    known = str(tensor.dtype).removeprefix("torch.")
    found = next((kind for kind, (_, its_name) in TYPES.items() if its_name == known), None)
    if found is None:
        raise InputError(
            "{kind} cannot be saved", kind=tensor.dtype, where=name, cure="Convert the tensor to fp16 or fp32."
        )
    return found


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return a tensor's bytes without copying where it already lies in one piece on the CPU."""
    whole = tensor.detach().cpu().contiguous()
    flat = whole.as_strided((whole.numel(),), (1,))  # a single number counts as contiguous with any stride
    return memoryview(flat.view(torch.uint8).numpy())


def _hashed(
    metadata: Mapping[str, str],
    tensors: Mapping[str, TensorInfo],
    part: Callable[[str, int, int], bytes],
    blocks: Iterable[bytes | memoryview],
) -> dict[str, str]:
    """Return metadata in which the hashes that are asked for are true."""
    true = dict(metadata)
    if "sshs_model_hash" in true or "modelspec.hash_sha256" in true:
        digest = sha256(blocks)
        true.update({"sshs_model_hash": digest} if "sshs_model_hash" in true else {})
        true.update({"modelspec.hash_sha256": f"0x{digest}"} if "modelspec.hash_sha256" in true else {})
    if "sshs_legacy_hash" in true:
        true["sshs_legacy_hash"] = legacy_digest(tensors, true, part)
    return true


def rewrite_metadata(
    source: str | Path,
    target: str | Path,
    metadata: Mapping[str, str],
    *,
    overwrite: bool = False,
    ending: str = ENDING,
) -> Path:
    """Write ``source`` to ``target`` with other metadata; tensor bytes, their order and places stay identical.

    Raises:
        FileError: a broken source, an existing target without ``overwrite``, or a refusing disk.
    """
    target, where = Path(target), str(source)
    check_target(target, overwrite=overwrite, ending=ending)
    with open_regular(source) as file:
        header = header_of(file, where=where)

        def part(name: str, start: int, end: int) -> bytes:
            file.seek(header.data_start + header.tensors[name].start + start)
            return file.read(end - start)

        def blocks() -> Iterator[bytes]:
            file.seek(header.data_start)
            yield from chunks(file, where=where)

        head = encode_header(header.tensors, _hashed(metadata, header.tensors, part, blocks()))
        size = len(head) + header.size - header.data_start
        return save_atomically(target, _joined(head, blocks()), size=size, overwrite=overwrite, ending=ending)


def _joined(head: bytes, blocks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    yield head
    yield from blocks
