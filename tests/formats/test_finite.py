"""Whether numbers are finite is known for every type, on a PyTorch that cannot order some of them, too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_lora.formats.lora import all_finite

TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("orders_half", [True, False])
def test_every_type_tells_a_number_that_is_none(monkeypatch: pytest.MonkeyPatch, kind, orders_half: bool) -> None:
    real = torch.aminmax

    def as_pytorch_2_1(values: Tensor):
        if values.dtype == torch.float16:
            raise RuntimeError("\"aminmax_cpu\" not implemented for 'Half'")
        return real(values)

    if not orders_half:
        monkeypatch.setattr(torch, "aminmax", as_pytorch_2_1)
    assert all_finite(torch.tensor([0.5, -2.0], requires_grad=kind.itemsize > 1).to(kind))
    assert all_finite(torch.zeros(0, 3).to(kind))
    assert not all_finite(torch.tensor([0.5, float("nan")]).to(kind))
    if kind != torch.float8_e4m3fn:  # which has no infinity
        assert not all_finite(torch.tensor([0.5, -float("inf")]).to(kind))
