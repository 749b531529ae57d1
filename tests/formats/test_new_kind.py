"""A kind of adapter that nobody knows becomes one that everything can use, by its class alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from lib_lora.analysis.facts import summary_of
from lib_lora.errors import FileError
from lib_lora.formats.adapters import Adapter, register
from lib_lora.formats.adapters.parts import take_parts
from lib_lora.formats.adapters.registry import KINDS
from lib_lora.formats.files import write_tensors
from lib_lora.formats.inspection import inspection
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.live.attach import attach
from lib_lora.merge.bake import bake
from tests.live.test_attach import graded, predict

PATHS = ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.attentions.0.proj_in")


@dataclass(frozen=True, eq=False)
class ShiftAdapter(Adapter):
    """Every number of a row grows by the row's own number."""

    kind: ClassVar[str] = "shift"
    title: ClassVar[str] = "Shift"
    signs: ClassVar[str] = "row_shift"
    names: ClassVar[str] = signs
    needs_weight: ClassVar[bool] = True
    key: str
    rows: Tensor
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> ShiftAdapter:
        return cls(key, take_parts(key, parts, required=("row_shift",))["row_shift"])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows.shape)

    def fits(self, shape: tuple[int, ...]) -> bool:
        return shape[0] == len(self.rows)

    def delta(self, weight: Tensor | None = None) -> Tensor:
        return torch.ones_like(self.base(weight)) * self.rows.float().reshape(-1, *[1] * (weight.ndim - 1))

    def tensors(self) -> dict[str, Tensor]:
        return {"row_shift": self.rows}

    def scaled(self, q: float) -> ShiftAdapter:
        return replace(self, rows=self._times(self.rows, q))


@pytest.fixture
def shift() -> Iterator[None]:
    register(ShiftAdapter)
    yield
    KINDS.remove(ShiftAdapter)


def put(model, path: Path) -> Path:
    rows = {name: model.layers["lora_unet_" + name.replace(".", "_")].weight.shape[0] for name in PATHS}
    return write_tensors(path, {f"unet.{name}.row_shift": 0.02 * torch.ones(n) for name, n in rows.items()}, {})


@pytest.mark.usefixtures("shift")
def test_a_new_kind_is_read_attached_baked_and_described(model, tmp_path: Path) -> None:
    path = put(model, tmp_path / "x.safetensors")
    lora, weights = read_lora(path), graded(model, start=0.5)
    told = inspection(path)
    assert (told["kinds"], told["not_applied"], list(told["blocks"])) == (["shift"], [], ["IN04", "M00"])
    facts = summary_of(lora, model)
    assert (facts.kinds, facts.rank) == (("Shift",), "–")
    norm = sum(float(model.layers[key].weight.numel()) for key in lora.blocks()["M00"]) ** 0.5 * 0.02
    assert facts.blocks[1].delta == pytest.approx(norm)
    without = predict(model)
    with attach(model, lora, weights):
        live = predict(model)
    assert not torch.allclose(live, without)
    baked = read_lora(write_lora(bake(lora, weights)[0], tmp_path / "y.safetensors"))
    with attach(model, baked):
        torch.testing.assert_close(predict(model), live, atol=1e-5, rtol=1e-5)


def test_without_its_class_the_kind_is_strange(model, tmp_path: Path) -> None:
    with pytest.raises(FileError):
        read_lora(put(model, tmp_path / "x.safetensors"))
