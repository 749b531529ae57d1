"""Large LoRA files: adapters are read one at a time, new ones wait on the disk, and all comes out byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import FileError
from lib_lora.formats import stored_lora
from lib_lora.formats.adapters import on_disk
from lib_lora.formats.files import write_tensors
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.formats.stored_lora import open_lora, open_whole
from lib_lora.merge.difference import as_differences
from lib_lora.merge.method import METHODS, MethodOptions
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.services import conversion, merge, portions
from tests.live.test_kinds import KINDS
from tests.live.test_kinds import lora_of as kind_of
from tests.merge.test_size import lora_of

PRESETS = PresetFile.parse("")


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as large, and no new adapter stays in memory."""
    monkeypatch.setattr(stored_lora, "_SOON_READ", 0)
    monkeypatch.setattr(on_disk.TensorScratch.__init__, "__kwdefaults__", {"kept": 0})
    monkeypatch.setattr(on_disk.Scratch.__init__, "__kwdefaults__", {"kept": 0})


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [lora_of(seed, strange=True, dtype=dtype) for seed, dtype in ((1, torch.float16), (2, torch.float32))]
    return [write_lora(lora, tmp_path / f"{number}.safetensors") for number, lora in enumerate(made)]


def orders(files: list[Path]) -> dict[str, MergeSpec]:
    one, two = (Ingredient(path, 0.7) for path in files)
    small = RankRule("rank", 3)
    return {
        "bake": MergeSpec((one,)),
        "bake fp16": MergeSpec((two,), precision="fp16"),
        "compress": MergeSpec((Ingredient(files[0]),), small),
        "size": MergeSpec((one,), RankRule("size", 0.02), "bf16"),
        **{method: MergeSpec((one, two), method=MethodOptions(method)) for method in METHODS},
        **{f"{method} small": MergeSpec((one, two), small, "fp16", MethodOptions(method)) for method in METHODS},
    }


def written(files: list[Path], folder: Path) -> dict[str, bytes]:
    """All that can be made of two files, by work."""
    folder.mkdir()
    for name, order in orders(files).items():
        merge.write(order, folder / f"{name}.safetensors", PRESETS)
    for to, kind in (("comfyui", None), ("kohya-ldm", "fp32"), ("same", "bf16")):
        options = conversion.ConvertOptions(to, kind)
        conversion.write(files[0], options, folder / f"{to}.safetensors")
    options = portions.PruneOptions(modules=("attn2",), zero=True)
    portions.prune(files[0], options, folder / "pruned.safetensors")
    portions.split(files[0], portions.SplitOptions(by="blocks"), folder, stem="part")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_work_writes_the_same_bytes_however_large_its_files_are(
    tmp_path: Path, files: list[Path], request: pytest.FixtureRequest
) -> None:
    before = {path: path.read_bytes() for path in files}
    whole = written(files, tmp_path / "whole")
    request.getfixturevalue("streamed")
    opened = open_lora(files[0])
    assert all(tensor.is_meta for one in opened.outline.values() for tensor in one.parameters() if tensor.numel() > 32)
    assert written(files, tmp_path / "streamed") == whole
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_alike(model, kind: str, tmp_path: Path, streamed: None) -> None:
    path = write_lora(kind_of(model, kind), tmp_path / "x.safetensors")
    one, two = read_lora(path), open_lora(path)
    assert (one.family, one.size, one.blocks(), one.notes) == (two.family, two.size, two.blocks(), two.notes)
    assert list(one.adapters) == list(two.adapters)
    for key, adapter in one.adapters.items():
        tensors, outline = two.adapters[key].tensors(), two.outline[key]
        assert (outline.title, outline.rank, outline.alpha, outline.shape, outline.needs_weight) == (
            adapter.title,
            adapter.rank,
            adapter.alpha,
            adapter.shape,
            adapter.needs_weight,
        )
        for name, tensor in adapter.tensors().items():
            assert torch.equal(tensors[name], tensor)
            assert (tensors[name].dtype, outline.tensors()[name].shape) == (tensor.dtype, tensor.shape)


@pytest.mark.parametrize("kind", ["dora in", "ia3", "oft v2"])
def test_differences_of_a_model_wait_on_the_disk(model, kind: str, tmp_path: Path, streamed: None) -> None:
    path = write_lora(kind_of(model, kind), tmp_path / "x.safetensors")
    wanted, made = as_differences(read_lora(path), model), as_differences(open_lora(path), model)
    assert list(made.adapters) == list(wanted.adapters)
    for key, one in wanted.adapters.items():
        assert all(tensor.is_meta for tensor in made.outline[key].parameters())
        for tensor, other in zip(one.parameters(), made.adapters[key].parameters(), strict=True):
            assert torch.equal(tensor, other)


def test_a_tensor_that_is_there_twice_is_read_once_and_compared(tmp_path: Path, streamed: None) -> None:
    dotted = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    up, down = torch.randn(60, 2), torch.randn(2, 80)
    for name, (first, second) in {"x": (up, up.half()), "y": (up.half(), up)}.items():
        tensors = {f"{key}.lora_up.weight": first, f"{key}.lora_down.weight": down, f"{dotted}.lora_B.weight": second}
        path = write_tensors(tmp_path / f"{name}.safetensors", {**tensors, f"{dotted}.lora_A.weight": down}, {})
        opened = open_lora(path)
        assert all(tensor.is_meta for tensor in opened.outline[key].parameters())
        assert torch.equal(opened.adapters[key].up, up)  # the more exact one
        assert opened.notes == read_lora(path).notes
    path = write_tensors(tmp_path / "z.safetensors", {**tensors, f"{dotted}.lora_A.weight": down * 2}, {})
    with pytest.raises(FileError, match="differ") as caught:
        open_lora(path)
    assert dotted in caught.value.where
    assert key in caught.value.where


@pytest.mark.parametrize("shape", [(60,), (1, 60, 1, 1)])
def test_the_lengths_of_pefts_doras_are_read_when_they_are_asked_for(
    tmp_path: Path, shape: tuple[int, ...], streamed: None
) -> None:
    conv = len(shape) == 4
    path = "unet.mid_block.resnets.0.conv1" if conv else "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {
        f"{path}.lora_A.weight": torch.randn(2, 60, *([3, 3] if conv else [])),
        f"{path}.lora_B.weight": torch.randn(60, 2, *([1, 1] if conv else [])),
        f"{path}.lora_magnitude_vector": torch.rand(shape),
    }
    file = write_tensors(tmp_path / "x.safetensors", tensors, {})
    whole, opened = read_lora(file), open_whole(file)
    (key,) = opened.lora.adapters
    assert all(tensor.is_meta for tensor in opened.lora.outline[key].parameters())
    wanted = whole.adapters[key].tensors()
    assert opened.lora.adapters[key].tensors().keys() == wanted.keys()
    for part, tensor in opened.lora.adapters[key].tensors().items():
        assert torch.equal(tensor, wanted[part])
        assert part == "alpha" or torch.equal(opened.module(key)[part].reshape(tensor.shape), tensor)


def test_broken_numbers_are_named_all_of_them(tmp_path: Path, streamed: None) -> None:
    lora = lora_of(3)
    broken = list(lora.adapters)[2:4]
    for key in broken:
        lora.adapters[key].up[0, 0] = float("nan")
    path = tmp_path / "x.safetensors"
    tensors = {f"{key}.{part}": t for key, one in lora.adapters.items() for part, t in one.tensors().items()}
    write_tensors(path, tensors, {})
    with pytest.raises(FileError, match="2 modules hold NaN") as refused:
        merge.write(MergeSpec((Ingredient(path),), RankRule("rank", 2)), tmp_path / "new.safetensors", PRESETS)
    assert all(key in str(refused.value) for key in broken)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_that_changes_meanwhile_is_refused(files: list[Path], streamed: None) -> None:
    opened = open_whole(files[0])
    next(iter(opened.lora.adapters.values()))
    write_lora(lora_of(9, rank=4), files[0], overwrite=True)
    with pytest.raises(FileError, match="changed while it was read"):
        list(opened.lora.adapters.values())
    files[1].unlink()
    with pytest.raises(FileError, match="no such file"):
        open_lora(files[1])


def test_a_full_disk_of_temporary_files_is_a_sentence(
    files: list[Path], tmp_path: Path, streamed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> SimpleNamespace:
        def write(_: object) -> int:
            raise OSError(28, "No space left on device")

        return SimpleNamespace(seek=lambda _: None, write=write)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(FileError, match=r"cannot be written: .*Make room on the disk"):
        merge.write(MergeSpec((Ingredient(files[0], 0.5),)), tmp_path / "new.safetensors", PRESETS)
    assert not (tmp_path / "new.safetensors").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from lib_lora.blocks.presets import PresetFile
from lib_lora.formats import stored_lora
from lib_lora.formats.adapters import on_disk
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.progress import Progress
from lib_lora.services import merge
stored_lora._SOON_READ = 0
for kind in (on_disk.TensorScratch, on_disk.Scratch):
    kind.__init__.__kwdefaults__ = {"kept": 0}
class Killer(Progress):
    def passed(self, done, of, text=""):
        if str(text) == "baking" and done > 5:
            os.kill(os.getpid(), signal.SIGKILL)
one, target = map(Path, sys.argv[1:])
merge.write(MergeSpec((Ingredient(one, 0.5),)), target, PresetFile.parse(""), progress=Killer())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_in_the_middle_leaves_nothing(files: list[Path], tmp_path: Path) -> None:
    scratch, before = tmp_path / "scratch", sorted(tmp_path.iterdir())
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(files[0]), str(tmp_path / "new.safetensors")],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(tmp_path.iterdir()) == sorted([*before, scratch])
    assert not list(scratch.iterdir())


def test_new_adapters_are_replaced_and_deleted_like_others() -> None:
    scratch, lora = on_disk.Scratch(kept=0), lora_of(4)
    first, second, *_ = lora.adapters
    scratch.update({first: lora.adapters[first], second: lora.adapters[second]})
    scratch[first] = lora.adapters[second]
    assert torch.equal(scratch[first].parameters()[0], lora.adapters[second].parameters()[0])
    del scratch[second]
    assert (list(scratch), second in scratch, len(LoraFile(scratch).adapters)) == ([first], False, 1)
    with pytest.raises(KeyError):
        scratch[second]
