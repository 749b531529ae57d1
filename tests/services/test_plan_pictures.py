"""The planned variants as pictures: one sweep, each vector once, what a click on one of them takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops

from lib_lora.blocks.plan import BlockPlan
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.formats.lora import write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.infotext import read_infotext
from lib_lora.host.studio import StudioHost
from lib_lora.progress import Progress, Stoppable
from lib_lora.services.plan_pictures import order_of, render, swept
from tests.conftest import random_lora

FIXED = frozenset(BlockWeights.parse("1" + ",1" * 16).layout.names) - {"BASE", "IN04", "OUT05"}


@pytest.fixture
def host(tmp_path: Path, studio) -> StudioHost:
    write_lora(random_lora(studio.model, seed=3), tmp_path / "girl.safetensors")
    return StudioHost(studio.model, (tmp_path,), studio.presets)


def plan(mode: str = "subadd") -> BlockPlan:
    return BlockPlan(BlockWeights.parse("1" + ",1" * 16), FIXED, 0.5, mode)


def request(**more) -> GenerateRequest:
    return GenerateRequest("girl", seed=5, steps=2, **more)


def test_the_loras_tag_carries_the_variants_and_keeps_its_strengths() -> None:
    assert swept("a <lora:girl:0.8:0.5:MIDD:stop=4> <lora:dress:1>", "girl") == (
        "a <lora:girl:0.8:0.5:lbw=XYZ:stop=4> <lora:dress:1>"
    )
    assert swept("a, smile", "girl") == "a, smile <lora:girl:1:XYZ>"
    assert swept("<lora:girl:1:FACE> <lora:girl:0.2>", "girl").count("XYZ") == 2
    assert "XYZ" in swept("<lora:girl:1:nonsense:::>", "girl")


def test_each_vector_is_rendered_once_in_one_sweep_and_equals_its_own_picture(host, tmp_path) -> None:
    order = order_of("girl", plan(), request(), host)
    out = tmp_path / "out"
    out.mkdir()
    seen = []
    made = render(order, host, Progress(), out, show=seen.append)
    assert [one.picture.name for one in made.shown] == [
        "Sub = Add", "SubBASE_0.5", "SubIN04_0.5", "SubOUT05_0.5", "AddBASE_1.5", "AddIN04_1.5", "AddOUT05_1.5"
    ]  # fmt: skip
    assert order.pictures == 7
    assert len(seen[0].shown) < 7, "it can be seen before it is finished"
    assert made.shown[0].changed is None
    assert all(one.changed is not None for one in made.shown[1:])
    third = made.shown[2]
    weights = third.picture.weights.format()
    alone = host.generate(GenerateRequest(f"girl <lora:girl:1:lbw={weights}>", seed=5, steps=2)).images[0]
    with Image.open(third.files[0]) as drawn:
        assert max(high for _, high in ImageChops.difference(drawn.convert("RGB"), alone).getextrema()) <= 2
        assert f"lbw={weights}" in read_infotext(drawn)
    assert made.grids[0].is_file()


def test_several_seeds_give_each_variant_several_pictures(host, tmp_path) -> None:
    made = render(order_of("girl", plan("sub"), request(), host, seeds=2), host, Progress(), tmp_path)
    assert [len(one.files) for one in made.shown] == [2] * 4
    assert [path.name for path in made.grids] == ["grid_5.png", "grid_6.png"]
    assert len({path for one in made.shown for path in one.files}) == 8


def test_a_stop_keeps_what_is_finished(host, tmp_path) -> None:
    progress = Stoppable()
    made = render(order_of("girl", plan(), request(), host), host, progress, tmp_path, show=lambda _: progress.stop())
    assert 0 < len(made.shown) < 7
    assert made.grids


def test_an_order_that_cannot_be_is_refused(host) -> None:
    with pytest.raises(InputError):
        order_of("girl", plan(), request(), host, seeds=0)
    with pytest.raises(InputError):
        order_of("girl", plan(), request(clip_skip=30), host)
