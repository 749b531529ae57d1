"""The hashes by which LoRA files are known: AutoV3 of the tensors, the old AddNet hash, and the whole file's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lib_lora.errors import FileError
from lib_lora.formats.header import TensorInfo, encode_header, header_of, open_regular, plan_layout
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

_WINDOW = (0x100000, 0x110000)
"""The bytes of the re-serialised file that AddNet's first hash looked at."""

_CHUNK = 2**20
HASHING = say("hashing")


def file_hash(path: str | Path, progress: Progress = QUIET) -> str:
    """Return SHA-256 of the whole file, 64 hex digits (Civitai's AutoV2 shows the first 10); see `tensor_hash`."""
    with open_regular(path) as file:
        return sha256(told(chunks(file, where=str(path)), Path(path).stat().st_size, progress))


def tensor_hash(path: str | Path, progress: Progress = QUIET) -> str:
    """Return SHA-256 of the tensor bytes, 64 hex digits: sshs_model_hash; its first 12 are AutoV3 and A1111's hash.

    ``progress`` is told the megabytes read and all of them, and may stop it.

    Raises:
        FileError: it is no safetensors file, or cannot be read; StoppedError: somebody asked to stop.
    """
    with open_regular(path) as file:
        file.seek(header_of(file, where=str(path)).data_start)
        return sha256(told(chunks(file, where=str(path)), Path(path).stat().st_size, progress))


def legacy_hash(path: str | Path) -> str:
    """Return AddNet's old hash, 8 hex digits: a 64 KiB window of the file as it would be with ``ss_`` metadata only."""
    with open_regular(path) as file:
        header = header_of(file, where=str(path))

        def read(name: str, start: int, end: int) -> bytes:
            file.seek(header.data_start + header.tensors[name].start + start)
            return file.read(end - start)

        return legacy_digest(header.tensors, header.metadata, read)


def legacy_digest(
    tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], read: Callable[[str, int, int], bytes]
) -> str:
    """Return the old hash of tensors that ``read(name, start, end)`` gives bytes of, wherever they lie now."""
    plan = plan_layout((name, info.dtype, info.shape) for name, info in tensors.items())
    head = encode_header(plan, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    first, last = _WINDOW
    digest = hashlib.sha256(head[first:last])
    for name, info in plan.items():
        begin = len(head) + info.start
        low, high = max(first, begin), min(last, len(head) + info.end)
        if low < high:
            digest.update(read(name, low - begin, high - begin))
    return digest.hexdigest()[:8]


def chunks(file: BinaryIO, *, where: str) -> Iterator[bytes]:
    """Yield the rest of an open file, a megabyte at a time."""
    try:
        while block := file.read(_CHUNK):
            yield block
    except OSError as error:
        raise FileError(
            "The file cannot be read: {reason}", reason=error, where=where, cure="Check the disk."
        ) from error


def told(blocks: Iterator[bytes], size: int, progress: Progress, *, text: str = HASHING) -> Iterator[bytes]:
    """Yield the blocks of `chunks`, telling how many of all ``size`` bytes were there so far."""
    for number, block in enumerate(blocks, start=1):
        yield block
        progress.passed(min(number, -(-size // _CHUNK)), -(-size // _CHUNK), text)


def sha256(blocks: Iterable[bytes | memoryview]) -> str:
    """Return SHA-256 of blocks of bytes, 64 hex digits."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
