"""What the tests share: the studio on the pocket model, opened once, headless Chromium, a small LoRA of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lib_lora.process import same_bits, unset

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.update(unset())  # before torch is loaded: what is promised to the bit is compared to the bit

import pytest
import torch
from torch import Tensor

from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.host.studio import StudioHost
from lib_lora.train.network import target_keys

if TYPE_CHECKING:
    from tests.ui.browser import Visitor

NO_PLAYWRIGHT = "NOBODY CLICKED: Playwright is missing (python run.py setup)"
NO_CHROMIUM = (
    "NOBODY CLICKED: Chromium is missing (Debian: apt install chromium-headless-shell fonts-noto-cjk; or CHROMIUM=its "
    "path)"
)

torch.set_num_threads(min(2, torch.get_num_threads()))


LONGEST = ("tests/ui/test_walk.py", "tests/ui/test_unhappy.py")
"""The files that take minutes each. They begin: the last file runs alone, while the other processes have no work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def studio() -> StudioHost:
    return StudioHost.open(device="cpu")


@pytest.fixture(scope="session")
def model(studio):
    return studio.model


@pytest.fixture(scope="module")
def visitor() -> Iterator[Visitor]:
    """Headless Chromium, one for all tests of a file; each `visit` is a new person."""
    browser = pytest.importorskip("tests.ui.browser", reason=NO_PLAYWRIGHT)
    if not browser.chromium():
        pytest.skip(NO_CHROMIUM)
    with browser.open_browser() as visitor:
        yield visitor


def same(one: Tensor, two: Tensor) -> bool:
    """Whether two ways to one result agree: to the bit where the process promises it, else within rounding."""
    return torch.equal(one, two) if same_bits() else torch.allclose(one, two, rtol=1e-4, atol=1e-6)


def random_lora(model, *, rank: int = 4, seed: int = 0, conv: bool = False, size: float = 0.2) -> LoraFile:
    """A plain LoRA on all usual layers, strong enough to change every picture."""
    generator = torch.Generator().manual_seed(seed)
    adapters = {}
    for key in target_keys(model, conv=conv):
        fresh = LoraAdapter.new(key, model.layers[key], rank=rank, alpha=rank, generator=generator)
        up = torch.randn(fresh.up.shape, generator=generator) * size / rank
        adapters[key] = fresh.with_parameters([up, fresh.down.detach()])
    return LoraFile(adapters)


@pytest.fixture(scope="session")
def lora(model) -> LoraFile:
    return random_lora(model)
