"""Pictures that two checkpoints make: hires with a checkpoint of its own, and a refiner (A1111; Forge needs 4 GB)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.webui.live import LiveHost
from tests.webui.material import checkpoint, config_of
from tests.webui.pictures import difference

ONES, ZEROS, UNET = ",".join("1" * 26), ",".join("0" * 26), "0" + ",1" * 25
ROUNDING = 4
PROMPT = "1girl, red hair"
SECOND = "second"


@pytest.fixture(scope="module")
def second(webui: LiveHost) -> Iterator[dict[str, object]]:
    """Return the orders of a picture in which a second checkpoint takes over, whose last layer is a little stronger."""
    if webui.kind != "a1111":
        pytest.skip("two full-size checkpoints in memory")
    folder, own = webui.models / "Stable-diffusion", checkpoint()
    tensors = load_file(own)
    tensors["model.diffusion_model.out.2.weight"] *= 1.1
    save_file(tensors, folder / f"{SECOND}.safetensors")
    (folder / f"{SECOND}.yaml").write_text(config_of(own), encoding="utf-8")
    webui.post("/sdapi/v1/refresh-checkpoints")
    name = f"{SECOND}.safetensors"
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}
    yield {
        "hires": {**hires, "hr_checkpoint_name": name},
        "refiner": {"steps": 6, "refiner_checkpoint": name, "refiner_switch_at": 0.5},
    }
    webui.set_options(sd_model_checkpoint=own.name)
    for each in folder.glob(f"{SECOND}.*"):
        each.unlink()
    webui.post("/sdapi/v1/refresh-checkpoints")


def made(webui: LiveHost, way: dict[str, object], tags: str) -> Image.Image:
    return webui.txt2img(prompt=f"{PROMPT} {tags}", **way).image


@pytest.mark.parametrize("way", ["hires", "refiner"])
def test_zeros_are_no_lora_and_a_preset_is_itself_on_two_checkpoints(webui, second, way: str) -> None:
    none = made(webui, second[way], "")
    alone = {name: value for name, value in second[way].items() if "checkpoint" not in name}
    assert difference(made(webui, alone, ""), none) > 0  # the second checkpoint had its part
    assert difference(made(webui, second[way], f"<lora:plain:1:{ZEROS}>"), none) == 0
    face = made(webui, second[way], "<lora:plain:1:FACE>")
    assert difference(face, none) > ROUNDING
    assert difference(made(webui, second[way], "<lora:plain:1:FACE>"), face) == 0
    assert difference(made(webui, second[way], ""), none) == 0


def test_ones_are_the_plain_lora_where_hires_has_its_own_checkpoint(webui, second) -> None:
    plain, ones = (made(webui, second["hires"], tag) for tag in ("<lora:plain:1>", f"<lora:plain:1:{ONES}>"))
    assert difference(plain, ones) <= ROUNDING < difference(plain, made(webui, second["hires"], ""))


def test_weights_act_before_and_after_a_refiner_takes_over(webui, second) -> None:
    """Not compared with a plain tag: when the host loads a checkpoint anew, its own LoRAs are off for the rest."""
    whole, first, rest = (
        made(webui, second["refiner"], f"<lora:plain:1:{UNET}{window}>") for window in ("", ":stop=3", ":start=3")
    )
    assert min(difference(whole, first), difference(whole, rest), difference(first, rest)) > ROUNDING


def test_the_first_checkpoint_is_as_before(webui: LiveHost, second: dict[str, dict[str, object]]) -> None:
    before = webui.txt2img(prompt=PROMPT).image
    for way in second.values():
        webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE>", **way)
    assert difference(webui.txt2img(prompt=PROMPT).image, before) == 0
