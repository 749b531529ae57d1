from __future__ import annotations

import pytest
import torch

from lib_lora.host.gpu_memory import gpu_memory


@pytest.mark.parametrize(("name", "index"), [("cuda", 3), ("cuda:1", 1)])
def test_gpu_without_a_number_is_the_present_one(monkeypatch, name, index):
    # torch 2.1 raises ValueError where it is asked about a device without a number.
    def asked(given: object) -> int:
        assert given == index
        return index

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda given: (1000 * asked(given), 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda given: 500 * asked(given))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda given: 200 * asked(given))
    assert gpu_memory(torch.device(name)) == (1300 * index, 9000)
