"""Block weights in the pictures of a real WebUI, over REST, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.lora import LoraFile, write_lora
from tests.webui.live import LiveHost
from tests.webui.material import Layers

ONES, ZEROS = ",".join("1" * 26), ",".join("0" * 26)
FACE = "0,1,1,1,1,1,0,0,0,1,0,0,0,0,1,0,1,1,1,0,1,1,1,0,0,1"
HALF = "0.5" + ",0" * 25
UNET = "0" + ",1" * 25
PROMPT = "1girl, red hair"
ROUNDING = 2
"""Furthest that a color value may be off where the host merges into its weights and we add to a layer's output."""

SIDE = {True: 128, False: 64}
"""Of a picture, by whether the host takes the pocket model."""

SET_PRESETS = """
from lib_lora.blocks.presets import PresetFile
from lib_lora.ui.webui import singletons
host = singletons.atelier().host
result = host.presets.text
host.presets = PresetFile.parse(text)
"""
TRACE = """
from modules import shared
unet = getattr(getattr(shared.sd_model, "model", None), "diffusion_model", None)
unet = unet or shared.sd_model.forge_objects.unet.model.diffusion_model
layers = list(unet.modules())
hooks = sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in layers)
result = [hooks, sum(name.startswith("_lora_atelier_") for one in layers for name in vars(one))]
"""


@pytest.fixture(autouse=True)
def _smaller(webui: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order smaller pictures of the full-size model that Forge needs: it takes a CPU long."""
    own = webui._make
    side = {"width": SIDE[webui.kind == "a1111"], "height": SIDE[webui.kind == "a1111"]}
    monkeypatch.setattr(webui, "_make", lambda path, order: own(path, {**side, **order}))


@pytest.fixture
def presets(webui: LiveHost) -> Iterator[Any]:
    """Sets the presets of the running host: ``presets("FACE:1,0,…")``; those of before come back."""
    before: list[str] = []

    def changed(text: str) -> None:
        before.append(webui.run(SET_PRESETS, text=text))

    changed(f"FACE:{FACE}\nHALF:{HALF}\nUNET:{UNET}\n")
    yield changed
    webui.run(SET_PRESETS, text=before[0])


def furthest(first: Image.Image, second: Image.Image) -> int:
    a, b = (np.asarray(image.convert("RGB")).astype(int) for image in (first, second))
    return int(abs(a - b).max())


def tagged(webui: LiveHost, tags: str, **order: Any) -> Image.Image:
    return webui.txt2img(prompt=f"{PROMPT} {tags}", **order).image


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", ["plain", "locon"])
def test_all_zeros_are_no_lora_and_all_ones_the_plain_lora(webui, presets, name):
    none, plain = tagged(webui, ""), tagged(webui, f"<lora:{name}:0.8>")
    assert furthest(none, plain) > 20
    assert same(tagged(webui, f"<lora:{name}:0.8:lbw={ZEROS}>"), none)
    assert furthest(tagged(webui, f"<lora:{name}:0.8:lbw={ONES}>"), plain) <= ROUNDING


def test_twelve_spellings_give_one_picture(webui, presets):
    wanted = tagged(webui, "<lora:plain:0.8:lbw=FACE>")
    assert furthest(wanted, tagged(webui, "<lora:plain:0.8>")) > 5
    spellings = (
        "<lora:plain:0.8:0.8:FACE>",
        "<lora:plain:0.8:FACE>",
        "<lora:plain:0.8:0.8:lbw=face>",
        "<lora:plain:0.8:LBW=Face>",
        "<LORA:plain:0.8:lbw=FACE>",
        "<lyco:plain:0.8:lbw=FACE>",
        "<Lyco:plain:0.8:FACE>",
        "<lora:plain:te=0.8:unet=0.8:w=FACE>",
        "<lora:plain:lbw=FACE:unet=0.8:te=0.8>",
        "<lora:plain : 0.8 : lbw= FACE >",
        f"<lora:plain:0.8:lbw={FACE}>",
        f"<lora:plain:0.8:{FACE}>",
    )
    assert [tag for tag in spellings if not same(tagged(webui, tag), wanted)] == []


def test_a_b_a_leaves_no_residue(webui, presets):
    first = webui.run(TRACE)
    none, a = tagged(webui, ""), tagged(webui, "<lora:plain:1:FACE>")
    b = tagged(webui, "<lora:locon:1:UNET>")
    assert same(tagged(webui, "<lora:plain:1:FACE>"), a)
    assert same(tagged(webui, "<lora:locon:1:UNET>"), b)
    assert same(tagged(webui, ""), none)
    assert not same(a, b)
    assert webui.run(TRACE) == first


def test_hires_pass_takes_the_tags_of_its_own_prompt(webui, presets):
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}
    if webui.kind == "forge":
        hires["hr_additional_modules"] = ["Use same choices"]  # its REST fails without
    same_tags = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE>", **hires)
    zeros = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE>", hr_prompt=f"{PROMPT} <lora:plain:1:{ZEROS}>", **hires)
    none = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE>", hr_prompt=f"{PROMPT} ", **hires)
    assert same(zeros.image, none.image)
    assert not same(same_tags.image, none.image)
    assert "Hires LoRA block weights" not in same_tags.infotexts[0]
    assert "Hires LoRA block weights" in zeros.infotexts[0]
    plain = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1>", **hires)
    ones = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:{ONES}>", **hires)
    off = furthest(plain.image, ones.image)
    assert off <= 2 * ROUNDING  # the second pass starts from the first one's rounding
    assert furthest(plain.image, none.image) > 3 * off


def test_batch_of_four_has_the_weights_in_every_picture(webui, presets):
    order = {"prompt": f"{PROMPT} <lora:plain:1:FACE>", "batch_size": 4}
    made = webui.txt2img(**order)
    single = [webui.txt2img(**{**order, "batch_size": 1}, seed=1 + n).image for n in range(4)]
    four = made.images[-4:]  # a grid may come first
    assert max(furthest(a, b) for a, b in zip(four, single, strict=True)) <= ROUNDING
    assert all(f"lbw={FACE}" in text for text in made.infotexts[-4:])


def test_two_loras_and_one_lora_twice_are_sums(webui, presets):
    both = tagged(webui, f"<lora:plain:0.6:{ONES}> <lora:other:0.5:{ONES}>")
    assert furthest(both, tagged(webui, "<lora:plain:0.6> <lora:other:0.5>")) <= ROUNDING
    mixed = tagged(webui, f"<lora:plain:0.6> <lora:other:0.5:{ONES}>")
    assert furthest(both, mixed) <= ROUNDING
    twice = tagged(webui, "<lora:plain:0.4:FACE> <lora:plain:0.3:FACE>")
    assert furthest(twice, tagged(webui, "<lora:plain:0.7:FACE>")) <= ROUNDING
    half_and_half = tagged(webui, f"<lora:plain:0.4> <lora:plain:0.3:{ONES}>")
    assert furthest(half_and_half, tagged(webui, "<lora:plain:0.7>")) <= ROUNDING


def test_a_loha_folded_or_functional_is_the_hosts_own(webui, presets, live_layers):
    write_lora(loha(live_layers), webui.loras / "hada.safetensors", overwrite=True)
    webui.refresh_loras()
    own = tagged(webui, "<lora:plain:0.5> <lora:hada:0.8>")
    assert furthest(own, tagged(webui, "<lora:plain:0.5>")) > 5
    assert furthest(own, tagged(webui, f"<lora:plain:0.5> <lora:hada:0.8:{ONES}>")) <= ROUNDING
    if webui.kind != "a1111":
        return
    webui.set_options(lora_functional=True)
    try:
        functional = tagged(webui, "<lora:plain:0.5> <lora:hada:0.8>")
        assert furthest(functional, tagged(webui, f"<lora:plain:0.5> <lora:hada:0.8:{ONES}>")) <= ROUNDING
        assert same(tagged(webui, f"<lora:hada:0.8:{ZEROS}>"), tagged(webui, ""))
    finally:
        webui.set_options(lora_functional=False)


def test_base_is_the_strength_of_the_text_encoder(webui, presets):
    te_only = tagged(webui, "<lora:plain:te=0.4:unet=0>")
    assert furthest(te_only, tagged(webui, "")) > 0
    assert same(tagged(webui, "<lora:plain:0.8:1:HALF>"), te_only)
    assert same(tagged(webui, "<lora:plain:te=0.7:unet=1:UNET>"), tagged(webui, "<lora:plain:1:UNET>"))


@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_start_and_stop_count_steps_of_the_sampler(webui, presets, sampler):
    def made(rest: str) -> Image.Image:
        return tagged(webui, f"<lora:plain:1:UNET{rest}>", sampler_name=sampler, steps=6)

    none, full = tagged(webui, "", sampler_name=sampler, steps=6), made("")
    assert same(made(":stop=0"), none)
    assert same(made(":start=6"), none)
    assert same(made(":start=0:stop=6"), full)
    half = made(":stop=3")
    assert same(made(":stop=0.5"), half)
    assert same(made(":step=-3"), half)
    assert not same(half, full)
    assert not same(half, none)
    assert same(made(""), full)  # a stop does not leak


def test_only_the_steps_of_the_window_are_changed(webui, presets):
    active = """
    from modules import script_callbacks
    from lib_lora.host.webui.prompt import hooks
    seen = []
    unet = hooks.current_model().host.unet
    def look(params):
        live = hooks.installed().attachments._live
        seen.append([params.denoiser.step, all(one.window.holds(one._step) for one in live)])
    script_callbacks.on_cfg_denoiser(look)
    import modules
    modules._atelier_seen = seen, look
    """
    webui.run(active)
    try:
        tagged(webui, "<lora:plain:1:UNET:start=1:stop=3>", sampler_name="Heun", steps=4)
        seen = webui.run("import modules; result = modules._atelier_seen[0]")
    finally:
        webui.run(
            "import modules; from modules import script_callbacks;"
            "script_callbacks.remove_callbacks_for_function(modules._atelier_seen[1]); del modules._atelier_seen"
        )
    assert seen == [[call, 1 <= call // 2 < 3] for call in range(7)]


def test_text_is_encoded_only_where_a_value_reaches_the_encoder(webui, presets):
    count = """
    from modules import prompt_parser
    import modules
    if not hasattr(modules, "_atelier_calls"):
        modules._atelier_calls = [0]
        own = prompt_parser.get_multicond_learned_conditioning
        def counted(*given, **named):
            modules._atelier_calls[0] += 1
            return own(*given, **named)
        modules._atelier_own = own
        prompt_parser.get_multicond_learned_conditioning = counted
    result = modules._atelier_calls[0]
    """

    def calls(tags: str) -> int:
        before = webui.run(count)
        webui.txt2img(prompt=f"{PROMPT} {tags}, smile")  # inside: Forge takes the spaces off a prompt's ends
        return webui.run(count) - before

    webui.run(count)
    try:
        calls("")
        assert calls("<lora:plain:1:UNET>") == 0
        assert calls("<lora:plain:0.5:UNET:stop=2>") == 0
        assert calls("<lora:plain:1:HALF>") == 1
        assert calls("<lora:plain:1:0.3:HALF>") == 0
        presets(f"HALF:0.6{',0' * 25}\nUNET:{UNET}\n")
        assert calls("<lora:plain:1:0.3:HALF>") == 1  # edited behind its name
        assert calls("") == 1
    finally:
        webui.run(
            "import modules; from modules import prompt_parser;"
            "prompt_parser.get_multicond_learned_conditioning = modules._atelier_own; del modules._atelier_calls"
        )


def test_one_broken_tag_is_named_and_the_good_one_works(webui, presets):
    wanted = tagged(webui, "<lora:plain:1:FACE>")
    made = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE> <lora:other:1:FCAE>")
    assert same(made.image, wanted)
    assert "Did you mean FACE?" in made.infotexts[0]
    three = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE> <lora:other:1:lbw=1,2,3>")
    assert same(three.image, wanted)
    assert "got 3" in three.infotexts[0]
    assert "LoRA problems" not in webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE>").infotexts[0]


def test_the_option_stop_renders_nothing(webui, presets):
    webui.set_options(lora_atelier_on_error="Stop before rendering")
    try:
        with_error = webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FCAE>")
        assert with_error.images == []
        assert len(webui.txt2img(prompt=f"{PROMPT} <lora:plain:1:FACE>").images) == 1
    finally:
        webui.set_options(lora_atelier_on_error="Render without that LoRA")


def test_a_broken_tag_is_said_below_the_picture_and_as_a_notice(webui, presets, open_page):
    webui.set_options(lora_atelier_on_error="Stop before rendering")  # quick: nothing is rendered
    try:
        page = open_page()
        page.locator("#txt2img_prompt textarea").fill(f"{PROMPT} <lora:plain:1:FCAE>")
        page.wait_for_timeout(600)
        page.locator("#txt2img_generate").click()
        page.wait_for_selector("#html_log_txt2img .comments:has-text('Did you mean FACE')", timeout=60_000)
        assert "Did you mean FACE" in page.locator(".toast-body").first.inner_text()
    finally:
        webui.set_options(lora_atelier_on_error="Render without that LoRA")


def test_interrupt_in_mid_picture_leaves_nothing(webui, presets):
    wanted, none = tagged(webui, "<lora:plain:1:FACE>", steps=6), tagged(webui, "", steps=6)
    webui.run(
        """
        from modules import script_callbacks, shared
        import modules
        def stop(params):
            if params.denoiser.step == 2:
                shared.state.interrupt()
        script_callbacks.on_cfg_denoiser(stop)
        modules._atelier_stop = stop
        """
    )
    try:
        assert not same(tagged(webui, "<lora:plain:1:FACE>", steps=6), wanted)
    finally:
        webui.run(
            "import modules; from modules import script_callbacks;"
            "script_callbacks.remove_callbacks_for_function(modules._atelier_stop); del modules._atelier_stop"
        )
    assert same(tagged(webui, "", steps=6), none)
    assert same(tagged(webui, "<lora:plain:1:FACE>", steps=6), wanted)


def test_inner_generations_without_scripts_have_the_weights_too(webui, presets):
    inner = """
    import contextlib
    from modules import call_queue, processing
    p = processing.StableDiffusionProcessingTxt2Img(
        prompt=prompt, negative_prompt="", seed=1, steps=4, width=side, height=side, cfg_scale=3, sampler_name="Euler",
        scheduler="Automatic", do_not_save_samples=True, do_not_save_grid=True)
    p.scripts, p.script_args = None, ()
    with call_queue.queue_lock, contextlib.closing(p):
        result = as_base64(processing.process_images(p).images[0])
    """
    from tests.webui.answers import from_base64

    made = from_base64(webui.run(inner, prompt=f"{PROMPT} <lora:plain:1:FACE>", side=SIDE[webui.kind == "a1111"]))
    assert same(made, tagged(webui, "<lora:plain:1:FACE>"))


def test_png_info_round_trip_survives_an_edited_preset(webui, presets):
    made = webui.txt2img(prompt=f"{PROMPT} <lora:plain:0.8:FACE> <lora:other:0.5>")
    assert "Lora hashes" in made.infotexts[0]
    assert "plain: " in made.infotexts[0].split("Lora hashes")[1]
    presets(f"FACE:{ZEROS}\n")
    then = webui.run(
        """
        from modules import infotext_utils, script_callbacks
        params = infotext_utils.parse_generation_parameters(text)
        script_callbacks.infotext_pasted_callback(text, params)
        result = params["Prompt"]
        """,
        text=made.infotexts[0],
    )
    assert f"lbw={FACE}" in then
    assert same(webui.txt2img(prompt=then).image, made.image)
    assert not same(tagged(webui, "<lora:plain:0.8:FACE> <lora:other:0.5>"), made.image)


def test_random_weights_are_the_seeds(webui, presets):
    tag = f"<lora:plain:1:lbw=1{',R' * 25}>"
    first, again = (webui.txt2img(prompt=f"{PROMPT} {tag}", seed=9) for _ in range(2))
    assert same(first.image, again.image)
    written = first.infotexts[0].split('LoRA block weights: "')[1].split('"')[0]
    assert same(webui.txt2img(prompt=f"{PROMPT} {written}", seed=9).image, first.image)
    assert not same(webui.txt2img(prompt=f"{PROMPT} {tag}", seed=10).image, first.image)


def test_img2img_has_the_weights(webui, presets):
    start = tagged(webui, "")
    order = {"denoising_strength": 0.7, "steps": 6}
    plain = webui.img2img(start, prompt=f"{PROMPT} <lora:plain:1>", **order).image
    ones = webui.img2img(start, prompt=f"{PROMPT} <lora:plain:1:{ONES}>", **order).image
    zeros = webui.img2img(start, prompt=f"{PROMPT} <lora:plain:1:{ZEROS}>", **order).image
    none = webui.img2img(start, prompt=f"{PROMPT} ", **order).image
    assert furthest(plain, ones) <= ROUNDING
    assert same(zeros, none)
    assert furthest(plain, none) > 5


def test_reload_ui_wraps_once_and_keeps_the_pictures(webui):
    tag = f"<lora:plain:1:lbw={FACE}>"
    before = tagged(webui, tag)
    webui.reload_ui()
    depth = """
    from modules import extra_networks
    found, result = extra_networks.extra_network_registry["lora"], 0
    while hasattr(found, "attachments"):
        found, result = found.inner, result + 1
    """
    assert webui.run(depth) == 1
    assert same(tagged(webui, tag), before)


def loha(model: Layers) -> LoraFile:
    """Return a LoHa on some attention layers: of a kind that is folded."""
    draw = torch.Generator().manual_seed(11)
    adapters = {}
    for key in [key for key in model.layers if key.startswith("lora_unet") and key.endswith("attn2_to_v")][:6]:
        rows, columns = model.layers[key].weight.shape
        shapes = ((rows, 4), (4, columns), (rows, 4), (4, columns))
        a, b, c, d = (torch.randn(shape, generator=draw) * 0.25 for shape in shapes)
        adapters[key] = LohaAdapter(key, a, b, c, d, None, None, 4.0)
    return LoraFile(adapters)
