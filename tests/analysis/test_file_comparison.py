"""Two files compared from their factors are what the dense changes say, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_lora.analysis.file_comparison import compare_files
from lib_lora.demo.trial import LORA
from lib_lora.errors import InputError
from lib_lora.formats.files import write_tensors
from lib_lora.formats.lora import read_lora
from lib_lora.services.conversion import ConvertOptions, write
from tests.formats.lora_samples import CONV, LINEAR, TEXT, sample
from tests.merge.test_convert import flux, kohya

OTHER = LINEAR.replace("down_blocks_0", "down_blocks_1")


def file(path: Path, modules: dict[str, tuple[str, int]], metadata: dict[str, str] | None = None) -> Path:
    tensors = {
        f"{key}.{name}": tensor
        for key, (kind, seed) in modules.items()
        for name, tensor in sample(kind, seed=seed).items()
    }
    return write_tensors(path, tensors, metadata or {})


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("linear", "linear"),
        ("linear", "loha"),
        ("loha", "lokr_both_low"),
        ("lokr_whole", "linear"),
        ("linear", "conv1x1"),
    ],
)
def test_cosine_and_norms_are_those_of_the_dense_changes(tmp_path: Path, kind: str, other: str) -> None:
    one = file(tmp_path / "a.safetensors", {LINEAR: (kind, 1), OTHER: (kind, 2), TEXT: ("linear", 5)}, {"a": "1"})
    two = file(tmp_path / "b.safetensors", {LINEAR: (other, 3), OTHER: (other, 4), CONV: ("conv3x3", 6)}, {"a": "2"})
    found = compare_files(one, two)
    left, right = read_lora(one).adapters, read_lora(two).adapters
    assert [block.block for block in found.blocks] == ["BASE", "IN01", "IN04", "M00"]
    for key, block in zip((LINEAR, OTHER), found.blocks[1:3], strict=True):
        a, b = (table[key].delta().double().flatten() for table in (left, right))
        row = block.row()
        assert row["cosine"] == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-6)
        assert row["norm_first"] == pytest.approx(float(a.norm()), rel=1e-6)
        assert row["norm_second"] == pytest.approx(float(b.norm()), rel=1e-6)
        assert row["relative_difference"] == pytest.approx(float((a - b).norm() / a.norm()), rel=1e-6)
    assert (found.first_only, found.second_only) == ((TEXT,), (CONV,))
    assert (found.blocks[0].first_only, found.blocks[3].second_only, found.whole.both) == (1, 1, 2)
    assert found.blocks[0].row()["cosine"] is None
    assert [(one.key, one.before, one.after) for one in found.metadata] == [("a", "1", "2")]


@pytest.mark.parametrize("to", ["comfyui", "diffusers", "kohya-diffusers"])
def test_another_form_is_no_difference(tmp_path: Path, to: str) -> None:
    source = kohya(tmp_path / "x.safetensors", "sdxl")
    found = compare_files(source, write(source, ConvertOptions(to), tmp_path / "y.safetensors")[1])
    assert (found.first_only, found.second_only) == ((), ())
    assert (found.whole.sums.cosine, found.whole.sums.relative) == (pytest.approx(1.0), 0.0)


def test_flux_is_compared_layer_by_layer_whatever_program_wrote_it(tmp_path: Path) -> None:
    source = flux(tmp_path / "x.safetensors", split=False)
    found = compare_files(source, write(source, ConvertOptions("diffusers"), tmp_path / "y.safetensors")[1])
    assert (found.whole.both, found.first_only, found.second_only) == (5, (), ())
    assert found.whole.sums.relative == pytest.approx(0.0, abs=1e-6)


def test_a_small_difference_is_told_without_cancellation(tmp_path: Path) -> None:
    parts = sample("linear", seed=1)
    one = write_tensors(tmp_path / "a.safetensors", {f"{LINEAR}.{name}": one for name, one in parts.items()}, {})
    parts["lora_up.weight"] = parts["lora_up.weight"].clone()
    parts["lora_up.weight"][0, 0] += 1e-4
    two = write_tensors(tmp_path / "b.safetensors", {f"{LINEAR}.{name}": one for name, one in parts.items()}, {})
    (a,), (b,) = read_lora(one).adapters.values(), read_lora(two).adapters.values()
    wanted = float((a.delta().double() - b.delta().double()).norm() / a.delta().double().norm())
    assert compare_files(one, two).whole.sums.relative == pytest.approx(wanted, rel=1e-2)
    assert compare_files(one, one).whole.sums.relative == 0.0


def test_a_file_does_not_differ_from_itself_in_any_digit() -> None:
    assert compare_files(LORA, LORA).whole.sums.difference == 0  # norms of fp32 and products of fp64 differ by 1e-6


def test_what_depends_on_the_model_is_named_and_not_guessed(tmp_path: Path) -> None:
    parts = {**sample("linear"), "dora_scale": torch.ones(6, 1)}
    one = write_tensors(tmp_path / "a.safetensors", {f"{LINEAR}.{name}": one for name, one in parts.items()}, {})
    found = compare_files(one, one)
    assert (found.whole.unknown, found.whole.sums.cosine) == (1, None)
    assert "depends on the model's weights" in "\n".join(map(str, found.notes))


def test_files_for_different_models_are_not_compared(tmp_path: Path) -> None:
    one, two = kohya(tmp_path / "a.safetensors", "sd1"), kohya(tmp_path / "b.safetensors", "sdxl")
    with pytest.raises(InputError, match="different models"):
        compare_files(one, two)
