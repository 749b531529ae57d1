"""Saving on a disk that refuses, and after a process that was killed in the middle of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora import atomic
from lib_lora.atomic import new_file, remove_unfinished, replace_file, replacing
from lib_lora.blocks.store import write_text
from lib_lora.data.tags import write_text as write_caption
from lib_lora.errors import FileError
from lib_lora.formats.files import write_tensors
from lib_lora.host.infotext import write_png
from lib_lora.services.jobs import delivery
from lib_lora.services.outputs import save_picture

LIMIT = 2000
"""Bytes that a file may have while the disk is full."""
MUCH = 50_000


def noisy() -> Image.Image:
    return Image.effect_noise((300, 300), 100)


def deliver_copy(folder: Path) -> object:
    source = folder.parent / "source.safetensors"
    source.write_bytes(bytes(MUCH)) if not source.exists() else None
    return delivery.deliver(source, folder)


WRITERS: dict[str, Callable[[Path], object]] = {
    "any file": lambda folder: replace_file(folder / "old.txt", bytes(MUCH)),
    "a preset file": lambda folder: write_text(folder / "old.txt", "x" * MUCH),
    "a caption": lambda folder: write_caption(folder / "old.txt", "x" * MUCH),
    "a LoRA": lambda folder: write_tensors(folder / "a.safetensors", {"a": torch.ones(MUCH)}, {}),
    "a picture": lambda folder: write_png(folder / "a.png", noisy()),
    "a numbered picture": lambda folder: save_picture(folder, noisy(), "", seed=1),
    "a delivered LoRA": deliver_copy,
}


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond `LIMIT` bytes, as a full disk would."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    if kind == "a delivered LoRA":
        monkeypatch.setattr(delivery.os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid link")))
        (tmp_path / "source.safetensors").write_bytes(bytes(MUCH))
    with full_disk(), pytest.raises(FileError) as caught:
        WRITERS[kind](folder)
    assert str(tmp_path) in caught.value.where
    assert caught.value.cure
    if kind != "a delivered LoRA":  # says where the file lies meanwhile
        assert "disk is full" in caught.value.cure
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".bak1")]
    assert files == [folder / "old.txt"]
    assert (folder / "old.txt").read_text() == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
from lib_lora.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_next_save_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    target, mine = tmp_path / "a.txt", tmp_path / "of-the-user.tmp"
    mine.write_text("mine")
    subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=Path(__file__).parents[2], check=False)
    left = set(tmp_path.iterdir()) - {mine}
    assert len(left) == 1
    assert not target.exists()
    replace_file(target, b"new")
    assert set(tmp_path.iterdir()) == {target, mine}


def test_a_save_under_way_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_PAUSE", 0.0)
    with replacing(tmp_path / "slow.txt") as file:
        file.write(b"slow")
        replace_file(tmp_path / "quick.txt", b"quick")
        assert remove_unfinished(tmp_path) == []
    assert (tmp_path / "slow.txt").read_bytes() == b"slow"


def test_a_new_file_never_replaces_and_never_stays_half(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(TypeError), new_file(path) as file:
        file.writelines([b"half", "no bytes"])
    assert not path.exists()
    with new_file(path) as file:
        file.write(b"whole")
    with pytest.raises(FileExistsError), new_file(path):
        pass
    assert path.read_bytes() == b"whole"
