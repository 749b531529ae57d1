"""Orders without end are refused in a sentence, before anything is rendered."""

from __future__ import annotations

import pytest

from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest
from lib_lora.host.limits import LETTERS, PIXELS, check_order
from lib_lora.host.request import LARGEST_SEED, SIDE, STEPS


def test_ordinary_orders_pass() -> None:
    check_order(GenerateRequest(prompt="a", steps=50, width=1024, height=1536), 28 * 10, native_side=512)
    check_order(GenerateRequest(prompt="a", steps=STEPS), 28 * 100, native_side=512)


@pytest.mark.parametrize(
    "asked",
    [{"width": SIDE + 8}, {"height": 10**9}, {"steps": STEPS + 1}, {"steps": 10**12}, {"width": 10**6, "height": 8}],
)
def test_one_picture_has_limits(asked: dict[str, int]) -> None:
    with pytest.raises(InputError, match="out of range") as told:
        GenerateRequest(**{"prompt": "a", "steps": 20, **asked})
    assert told.value.where in asked
    assert told.value.cure.endswith((f"to {SIDE}.", f"to {STEPS}."))


@pytest.mark.parametrize("where", ["prompt", "negative"])
def test_a_prompt_has_a_limit(where: str) -> None:
    check_order(GenerateRequest(**{"prompt": "a", where: "a" * LETTERS}), 1, native_side=512)
    with pytest.raises(InputError, match="too long"):
        check_order(GenerateRequest(**{"prompt": "a", where: "a" * (LETTERS + 1)}), 1, native_side=512)


def test_the_cure_names_the_number_that_passes() -> None:
    request = GenerateRequest(prompt="a", steps=20, width=1000, height=1000)
    with pytest.raises(InputError) as told:
        check_order(request, 10**6, native_side=512)
    most = int(told.value.cure.split()[2])
    assert most == PIXELS // 10**6
    check_order(request, most, native_side=512)
    with pytest.raises(InputError):
        check_order(request, most + 1, native_side=512)


def test_the_studio_refuses_before_it_renders(studio) -> None:
    with pytest.raises(InputError, match="too large an order"):
        studio.generate(GenerateRequest("a", steps=2, batch=2000, width=SIDE, height=SIDE))


def test_a_seed_of_minus_one_is_drawn_when_the_order_is_made() -> None:
    drawn = {GenerateRequest("a").seed for _ in range(4)}
    assert len(drawn) > 1
    assert all(0 <= seed <= LARGEST_SEED for seed in drawn)
    assert GenerateRequest("a", seed=LARGEST_SEED, batch=3).later(1) == GenerateRequest("a", seed=0)
