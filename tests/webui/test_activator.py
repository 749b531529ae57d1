"""Block weights in every generation, on fake hosts: each gets what it understands, and the rest leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.weights import BlockWeights
from lib_lora.host.webui import host as webui_host
from lib_lora.host.webui import lora_list
from lib_lora.host.webui.model.layers import unet_layers
from lib_lora.host.webui.prompt import activator, attached_loras, hooks
from lib_lora.host.webui.prompt.overrides import ATTRIBUTE, GenerationOverrides
from lib_lora.host.webui.prompt.record import add_hashes
from tests.webui.fakes.tiny_model import WIDTH
from tests.webui.tagging import ONES, PRESETS, ZEROS, furthest, loha, lora, picture, put_in, trace


@pytest.fixture
def host(a1111: Any) -> Iterator[Any]:
    with put_in(a1111) as ours:
        a1111.ours = ours
        yield a1111


def test_all_zeros_equal_no_lora_exactly(host: Any) -> None:
    plain = picture(host, "cat")
    assert picture(host, "cat <lora:one:1>") != plain
    assert picture(host, f"cat <lora:one:1:lbw={ZEROS}>") == plain


def test_all_ones_equal_the_plain_lora_within_rounding(host: Any) -> None:
    plain, ones = picture(host, "cat <lora:one:0.8>"), picture(host, f"cat <lora:one:0.8:lbw={ONES}>")
    assert furthest(plain, ones) <= 1
    assert furthest(plain, picture(host, "cat")) > 8


@pytest.mark.parametrize(
    "tag",
    [
        "<lora:one:0.8:0.8:FACE>",
        "<lora:one:0.8:FACE>",
        "<lora:one:0.8:lbw=FACE>",
        "<lora:one:0.8:lbw=face>",
        "<lora:one:0.8:LBW=FACE>",
        "<LORA:one:0.8:lbw=FACE>",
        "<lyco:one:0.8:lbw=FACE>",
        "<Lyco:one:0.8:FACE>",
        "<lora:one:te=0.8:unet=0.8:w=FACE>",
        "<lora:one:lbw=FACE:te=0.8:unet=0.8>",
        "<lora:one : 0.8 : lbw= FACE>",
        "<lora:one:0.8:lbw=1,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,1,0,0,0,0,0,0>",
        "<lora:one:0.8:1,0,0,0,0,0,0,1,0,0,1,0,0,0,0,0,0>",
    ],
)
def test_every_spelling_gives_the_same_picture(host: Any, tag: str) -> None:
    wanted = picture(host, "cat <lora:one:0.8:lbw=FACE>")
    assert picture(host, f"cat {tag}") == wanted
    assert wanted != picture(host, "cat <lora:one:0.8>")


def test_nothing_stays_after_a_picture(host: Any) -> None:
    host.add_lora("loha", loha())
    before, plain = trace(host), picture(host, "cat")
    first = picture(host, "cat <lora:one:1:FACE> <lora:loha:1:UNET>")
    assert trace(host) == before
    assert picture(host, "cat") == plain
    assert picture(host, "cat <lora:one:1:FACE> <lora:loha:1:UNET>") == first != plain


def test_a_folded_lora_stands_beside_the_hosts_own_on_one_layer(host: Any) -> None:
    together = picture(host, f"cat <lora:one:1> <lora:two:1:{ONES}>")
    assert furthest(together, picture(host, "cat <lora:one:1> <lora:two:1>")) <= 1
    assert furthest(together, picture(host, "cat <lora:one:1>")) > 8


def test_the_hosts_functional_way_of_merging_is_met_with_hooks(host: Any) -> None:
    host.add_lora("loha", loha())
    wanted = picture(host, f"cat <lora:one:1> <lora:loha:1:{ONES}>")
    host.opts.lora_functional = True
    assert furthest(wanted, picture(host, f"cat <lora:one:1> <lora:loha:1:{ONES}>")) <= 1


def test_the_same_lora_twice_is_the_sum_of_both(host: Any) -> None:
    both = picture(host, "cat <lora:one:0.5:FACE> <lora:one:0.25:FACE>")
    assert furthest(both, picture(host, "cat <lora:one:0.75:FACE>")) <= 1
    mixed = picture(host, f"cat <lora:one:0.5> <lora:one:0.25:{ONES}>")
    assert furthest(mixed, picture(host, "cat <lora:one:0.75>")) <= 1


def test_strength_of_the_text_encoder_is_te_times_base(host: Any) -> None:
    half = ",".join(["0.5", *["0"] * 25])
    assert picture(host, f"cat <lora:one:0.6:1:{half}>") == picture(host, "cat <lora:one:te=0.3:unet=0>")


def test_text_is_encoded_anew_only_where_a_value_reaches_the_encoder(host: Any) -> None:
    encoder = host.sd_model.cond_stage_model

    def calls(prompt: str) -> int:
        before = encoder.calls
        picture(host, prompt)
        return encoder.calls - before

    picture(host, "cat ")
    assert calls("cat <lora:one:1:UNET>") == 0  # BASE 0: the encoder never hears of it
    assert calls("cat <lora:one:0.5:UNET:stop=2>") == 0
    changed = calls("cat <lora:one:1:FACE>")
    assert changed > 0
    assert calls(f"cat <lora:one:1:0.3:lbw={ONES}>") == 0  # the same text strength under other UNet weights
    assert calls("cat <lora:one:0.5:FACE>") == changed
    host.ours.presets = PresetFile.parse(PRESETS.replace("FACE:1", "FACE:0.5"))
    assert calls("cat <lora:one:0.5:FACE>") == changed  # edited behind its name
    assert calls("cat ") == changed


@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_start_and_stop_count_whole_steps_of_a_pass(host: Any, sampler: str) -> None:
    seen: list[tuple[int, bool]] = []
    layer = host.sd_model.model.diffusion_model.input_blocks[1][1].proj_out
    plain: list[torch.Tensor] = []

    def watch(params: Any) -> None:
        x = torch.ones(1, WIDTH, 2, 2)
        plain[:] = plain or [nn.functional.conv2d(x, layer.weight, layer.bias).clone()]
        seen.append((params.denoiser.step, not torch.allclose(layer(x), plain[0], atol=1e-6)))

    host.modules.script_callbacks.on_cfg_denoiser(watch)
    picture(host, "cat <lora:one:1:UNET:start=1:stop=3>", sampler_name=sampler, steps=4)
    per_step = 2 if sampler == "Heun" else 1
    assert seen == [(call, 1 <= call // per_step < 3) for call in range(4 * per_step - (per_step - 1))]


def test_a_stop_that_was_not_reached_does_not_leak(host: Any) -> None:
    wanted = picture(host, "cat <lora:one:1:UNET>")
    picture(host, "cat <lora:one:1:UNET:stop=100>")
    assert picture(host, "cat <lora:one:1:UNET>") == wanted


def test_hires_resolves_its_own_tags(host: Any) -> None:
    same = host.txt2img("cat <lora:one:1:FACE>", enable_hr=True)
    assert "Hires LoRA block weights" not in same.infotexts[0]
    other = host.txt2img("cat <lora:one:1:FACE>", enable_hr=True, hr_prompt=f"cat <lora:one:1:{ZEROS}>")
    none = host.txt2img("cat <lora:one:1:FACE>", enable_hr=True, hr_prompt="cat")
    assert other.images[0].tobytes() == none.images[0].tobytes() != same.images[0].tobytes()
    assert f"<lora:one:1:lbw={ZEROS}>" in other.extra_generation_params["Hires LoRA block weights"]


def test_hires_has_the_strength_that_its_tag_says(host: Any) -> None:
    apart = host.txt2img("cat <lora:one:1:FACE>", enable_hr=True, hr_prompt="cat <lora:one:0.25:FACE>")
    within = host.txt2img("cat <lora:one:1:FACE:hr=0.25>", enable_hr=True)
    same = host.txt2img("cat <lora:one:1:FACE>", enable_hr=True)
    assert within.images[0].tobytes() == apart.images[0].tobytes() != same.images[0].tobytes()
    assert ":hrte=0.25:hrunet=0.25>" in within.infotexts[0]
    plain = host.txt2img("cat <lora:one:1>", enable_hr=True, hr_prompt="cat <lora:one:0.25>")
    assert host.txt2img("cat <lora:one:1:hr=0.25>", enable_hr=True).images[0].tobytes() == plain.images[0].tobytes()


def test_a_strength_over_the_steps_is_that_of_each_step(host: Any) -> None:
    layer = host.sd_model.model.diffusion_model.input_blocks[1][1].proj_out
    x, seen = torch.ones(1, WIDTH, 2, 2), []
    host.modules.script_callbacks.on_cfg_denoiser(lambda _: seen.append(layer(x).clone()))
    picture(host, "cat <lora:one:0:0@0,1@0.5:UNET>", steps=4)
    plain, half, full, still = seen
    assert torch.allclose(half - plain, (full - plain) / 2, atol=1e-5)
    assert torch.equal(full, still)
    assert not torch.allclose(full, plain, atol=1e-4)
    seen.clear()
    picture(host, "cat <lora:one:[0@0,1@0.5]:te=0:UNET>", steps=4)
    for one, two in zip(seen, (plain, half, full, still), strict=True):
        torch.testing.assert_close(one, two)


def test_neos_own_schedule_lets_go_of_what_we_follow(host: Any) -> None:
    class LoRAControl:
        """As Neo's extension keeps it."""

        mapping: dict[str, list[tuple[float, float]]] = {}

    p = host.order("cat <lora:one:[0@0,1@1]> <lora:two:1>")
    files = {name: host.networks.available_networks[name].filename for name in ("one", "two")}
    LoRAControl.mapping = {files["one"]: [(0, 0), (1, 1)], files["two"]: [(0, 0), (1, 1)]}
    p.scripts = MagicMock(alwayson_scripts=[LoRAControl()])
    host.run(p)
    assert list(LoRAControl.mapping) == [files["two"]]


def test_a_sweep_gives_every_picture_of_a_batch_its_own_weights(host: Any) -> None:
    ones = BlockWeights.uniform(full_layout("sd1"), 1.0)
    sweep = (ones, ones.replaced({"IN01": 0.0}), ones.replaced({"M00": 0.0}))
    p = host.order("cat <lora:one:1:XYZ> <lora:two:1:ZYX>", batch_size=3, seed=[4, 4, 4])
    setattr(p, ATTRIBUTE, GenerationOverrides(sweep=sweep))
    done = host.run(p)
    for row, weights in enumerate(sweep):
        tags = f"<lora:one:1:lbw={weights.format()}> <lora:two:1:lbw={weights.complement().format()}>"
        assert furthest(done.images[row].tobytes(), picture(host, f"cat {tags}", seed=4)) <= 1
        assert weights.format() in done.infotexts[row]
    assert "stands for the analyzer" not in done.comments


def test_an_axis_of_a_plot_changes_the_tag_and_the_prompt_of_its_cell(host: Any) -> None:
    p = host.order("cat <lora:one:1:FACE>")
    setattr(p, ATTRIBUTE, GenerationOverrides(changes={"": (lambda tag: replace(tag, te=0.5, unet=0.5),)}))
    done = host.run(p)
    assert done.images[0].tobytes() == picture(host, "cat <lora:one:0.5:FACE>")
    assert "<lora:one:0.5:lbw=FACE>" in done.infotexts[0]


def test_the_panel_switched_off_leaves_a_plain_lora_and_says_so(host: Any) -> None:
    p = host.order(f"cat <lora:one:0.8:{ZEROS}:stop=1>")
    hooks.before_process(p, off=True)
    done = host.run(p)
    assert done.images[0].tobytes() == picture(host, "cat <lora:one:0.8>")
    assert "off" in done.comments
    assert picture(host, done.infotexts[0].splitlines()[0]) == done.images[0].tobytes()


def test_an_inner_generation_without_networks_is_free_of_ours(host: Any) -> None:
    plain = picture(host, "dog")
    inner: list[bytes] = []

    def once(params: Any) -> None:
        if not inner and params.denoiser.step == 2:
            inner.append(b"")
            p = host.order("dog", disable_extra_networks=True)
            inner[0] = host.process_images(p).images[0].tobytes()

    host.modules.script_callbacks.on_cfg_after_cfg(once)
    wanted = picture(host, "cat <lora:one:1:UNET>")
    assert inner == [plain]
    assert picture(host, "cat <lora:one:1:UNET>") == wanted


def test_an_error_in_mid_sampling_leaves_nothing_for_the_next_picture(host: Any) -> None:
    plain, wanted = picture(host, "cat"), picture(host, "cat <lora:one:1:FACE>")

    def fail(params: Any) -> None:
        if params.denoiser.step == 2:
            host.state.interrupted = True

    host.modules.script_callbacks.on_cfg_denoiser(fail)
    assert picture(host, "cat <lora:one:1:FACE>") != wanted
    host.modules.script_callbacks.remove_callbacks_for_function(fail)
    assert picture(host, "cat") == plain
    assert picture(host, "cat <lora:one:1:FACE>") == wanted


def test_plain_tags_reach_the_host_as_the_objects_that_it_made(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    inner = hooks.installed().inner
    monkeypatch.setattr(inner, "activate", lambda p, given: got.append(list(given)))
    p = SimpleNamespace(prompts=["cat"], seeds=[1], comments={}, extra_generation_params={}, batch_size=1, iteration=0)
    _, data = host.extra_networks.parse_prompt("cat <lora:one:0.5> <lora:two:1:0.5>")
    p.extra_network_data = data
    hooks.installed().activate(p, list(data["lora"]))
    assert [id(one) for one in got[0]] == [id(one) for one in data["lora"]]
    assert p.extra_network_data is data


def test_classic_hears_of_a_new_file_and_keeps_the_hashes_that_it_wrote(classic: Any) -> None:
    classic.add_lora("one", lora())
    assert set(lora_list.listed()) == {"one"}
    (classic.loras / "two.safetensors").write_bytes((classic.loras / "one.safetensors").read_bytes())
    assert lora_list.find("two").name == "two.safetensors"
    p = SimpleNamespace(extra_generation_params={"Lora hashes": "one: 0123456789ab"})
    add_hashes(p, ["two"])
    assert p.extra_generation_params["Lora hashes"].startswith("one: 0123456789ab, two: ")
    p.extra_generation_params.clear()  # the next cell of a plot begins anew
    add_hashes(p, ["one"])
    assert "two" not in p.extra_generation_params["Lora hashes"]


@pytest.mark.parametrize("kind", ["forge", "neo", "reforge", "classic"])
def test_the_forge_family_keeps_the_same_promises(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = request.getfixturevalue(kind)
    picture(host, "cat")  # loads the model
    unet = host.modules.sd_models.model_data.sd_model.forge_objects_original.unet.model.diffusion_model
    model = SimpleNamespace(family="sd1", layers=unet_layers(unet, "sd1"), device=torch.device("cpu"))
    for user in (activator, attached_loras, webui_host):
        monkeypatch.setattr(user, "current_model", lambda: model)
    with put_in(host):
        plain = picture(host, "cat")
        assert picture(host, f"cat <lora:one:1:lbw={ZEROS}>") == plain
        ones = picture(host, f"cat <lora:one:1:lbw={ONES}>")
        assert furthest(ones, picture(host, "cat <lora:one:1>")) <= 2
        face = picture(host, "cat <lora:one:1:FACE>")
        assert face not in (plain, ones)
        assert picture(host, "cat") == plain
        assert picture(host, "cat <lora:one:1:FACE>") == face
        missing = host.txt2img("cat <lora:one:1:FACE> <lora:nowhere:1>")
        assert missing.images[0].tobytes() == face  # the host alone would load none of them
        assert "nowhere" in missing.comments
