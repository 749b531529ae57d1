"""Our orders for pictures inside a real WebUI: the same pictures as its own, and nothing left behind."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.webui.live import as_base64, from_base64
from tests.webui.pictures import difference, order, run

SWEEP = "sweep = (ONES, *(ONES.replaced({name: 0.0}) for name in ('BASE', 'IN04', 'M00', 'OUT03', 'OUT08')))\n"


def state(webui):
    return webui.get("/sdapi/v1/progress")["state"]


def test_list_is_the_hosts_own_and_has_a_new_file_at_once(webui):
    try:
        shutil.copy(webui.loras / "plain.safetensors", webui.loras / "newly.safetensors")
        found = run(webui, "result = {name: str(path) for name, path in host.list_loras().items()}")
        assert found["newly"] == str(webui.loras / "newly.safetensors")
        assert "newly" in [each["name"] for each in webui.get("/sdapi/v1/loras")]
        assert {"plain", "other", "locon"} <= set(found)
    finally:
        (webui.loras / "newly.safetensors").unlink()
        webui.refresh_loras()


def test_samplers_and_schedulers_are_the_hosts(webui):
    samplers, schedulers = run(webui, "result = [host.samplers, host.schedulers]")
    assert set(samplers) <= {each["name"] for each in webui.get("/sdapi/v1/samplers")}
    assert {"Euler", "Euler a", "DPM++ 2M"} <= set(samplers)
    assert {each["label"] for each in webui.get("/sdapi/v1/schedulers")} == set(schedulers)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"prompt": "red apple"}, {"prompt": "red apple"}),
        (
            {
                "prompt": "red apple <lora:plain:0.8:OUTALL>",
                "negative": "blue",
                "seed": 7,
                "sampler": "dpm++ 2m karras",
            },
            {
                "prompt": "red apple <lora:plain:0.8:OUTALL>",
                "negative_prompt": "blue",
                "seed": 7,
                "sampler_name": "DPM++ 2M",
                "scheduler": "Karras",
            },
        ),
        (
            {"prompt": "red apple", "sampler": "euler a", "clip_skip": 2, "width": 192, "cfg_scale": 5.5},
            {
                "prompt": "red apple",
                "sampler_name": "Euler a",
                "width": 192,
                "cfg_scale": 5.5,
                "override_settings": {"CLIP_stop_at_last_layers": 2},
            },
        ),
    ],
)
def test_order_gives_the_hosts_own_picture(webui, ours, theirs):
    webui.set_options(CLIP_stop_at_last_layers=1)  # the host forgets to restore what its settings file does not hold
    (mine,) = order(webui, **ours)
    assert difference(mine, webui.txt2img(**theirs).image) == 0


def test_batch_is_the_hosts_own_batch(webui):
    mine = order(webui, prompt="red apple", batch=3)
    theirs = webui.txt2img(prompt="red apple", batch_size=3).images
    assert [difference(one, two) for one, two in zip(mine, theirs, strict=True)] == [0, 0, 0]


@pytest.mark.parametrize("lora", ["plain", "locon"])
@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ SDE"])
def test_sweep_in_one_batch_is_its_single_pictures(webui, lora, sampler):
    told = run(
        webui,
        SWEEP
        + """
request = replace(USUAL, prompt=f"red apple <lora:{lora}:1:XYZ>", sampler=sampler)
made = told(host.generate(replace(request, sweep=sweep)))
alone = [f"red apple <lora:{lora}:1:lbw={weights.format()}>" for weights in sweep]
single = [host.generate(replace(request, prompt=prompt)) for prompt in alone]
result = [made, [told(one)["images"][0] for one in single]]
""",
        lora=lora,
        sampler=sampler,
    )
    batch, single = [from_base64(each) for each in told[0]["images"]], [from_base64(each) for each in told[1]]
    differences = [difference(one, two) for one, two in zip(batch, single, strict=True)]
    assert max(differences) <= 1
    assert difference(single[0], single[1]) > 5  # the text encoder's part matters, or nothing is shown here
    zeros = [text.partition("lbw=")[2].split(">")[0].split(",").count("0") for text in told[0]["infotexts"]]
    assert zeros == [0, 1, 1, 1, 1, 1]


def test_sweep_of_an_and_prompt_is_its_single_pictures(webui):
    images = run(
        webui,
        SWEEP
        + """
request, sweep = replace(USUAL, prompt="red apple AND blue sky <lora:plain:1:XYZ>"), sweep[:1] + sweep[5:]
made = host.generate(replace(request, sweep=sweep))
alone = [host.generate(replace(request, prompt=request.prompt.replace("XYZ", w.format()))) for w in sweep]
result = [told(made)["images"], [told(one)["images"][0] for one in alone]]
""",
    )
    pairs = [[from_base64(text) for text in texts] for texts in images]
    assert len(pairs[0]) == 2
    assert [difference(one, two) for one, two in zip(*pairs, strict=True)] == [0, 0]


def test_img2img_is_repeatable_and_keeps_more_at_a_smaller_strength(webui):
    start = webui.txt2img(prompt="red apple", seed=3).image
    told = run(
        webui,
        """
        import io, base64
        from PIL import Image
        start = Image.open(io.BytesIO(base64.b64decode(text)))
        request = replace(USUAL, prompt="blue sky", init=start, steps=12)
        weak, strong, again = (host.generate(replace(request, denoise=denoise)) for denoise in (0.1, 0.9, 0.9))
        result = [told(one)["images"][0] for one in (weak, strong, again)] + [strong.infotexts[0]]
        """,
        text=as_base64(start),
    )
    weak, strong, again = (from_base64(text) for text in told[:3])
    assert difference(strong, again) == 0
    assert 0 < mean(weak, start) < mean(strong, start)
    assert "Denoising strength: 0.9" in told[3]
    assert difference(strong, webui.img2img(start, prompt="blue sky", denoising_strength=0.9, steps=12).image) <= 4


def test_stop_in_the_middle_keeps_finished_pictures_and_leaves_the_host_idle(webui):
    before = webui.txt2img(prompt="red apple <lora:plain:1:FACE>").image
    told = run(
        webui,
        """
        class Early(Stoppable):
            def update(self, done, total, text=""):
                if done >= 45:
                    self.stop()

        sweep = tuple(ONES.replaced({f"IN{n:02d}": 0.0}) for n in range(6))
        request = replace(USUAL, prompt="red apple <lora:plain:1:XYZ>", steps=20, sweep=sweep, sweep_chunk=2)
        result = told(host.generate(request, Early()))
        """,
    )
    assert len(told["images"]) == len(told["infotexts"]) == 2
    assert (state(webui)["interrupted"], state(webui)["job_count"]) == (False, 0)
    assert difference(before, webui.txt2img(prompt="red apple <lora:plain:1:FACE>").image) == 0


def test_hosts_interrupt_button_stops_our_work(webui):
    made, stopped = run(
        webui,
        """
        import threading
        from modules import shared
        class Pressed(Stoppable):
            def update(self, done, total, text=""):
                if done >= 4 and not shared.state.interrupted:
                    shared.state.interrupt()

        progress = Pressed()
        result = [len(host.generate(replace(USUAL, prompt="red apple", steps=20), progress).images), progress.stopped]
        """,
    )
    assert (made, stopped) == (0, True)
    assert not state(webui)["interrupted"]


def test_settings_and_the_last_prompt_stay_the_users(webui):
    webui.txt2img(prompt="a prompt of my own")
    settings, prompt = webui.get("/sdapi/v1/options"), (webui.data / "params.txt").read_text(encoding="utf-8")
    order(webui, prompt="red apple", clip_skip=3, sampler="Euler a")
    assert webui.get("/sdapi/v1/options") == settings
    assert (webui.data / "params.txt").read_text(encoding="utf-8") == prompt
    assert "a prompt of my own" in prompt


def test_setting_that_was_never_saved_is_the_default_again(webui):
    before = webui.run("from modules import shared; result = shared.opts.data.pop('CLIP_stop_at_last_layers', None)")
    try:
        order(webui, clip_skip=3, steps=1)
        assert webui.get("/sdapi/v1/options")["CLIP_stop_at_last_layers"] == 1
    finally:
        webui.set_options(CLIP_stop_at_last_layers=before or 1)


def test_sample_is_made_inside_a_training_and_shows_its_lora(webui):
    told = run(
        webui,
        """
        from lib_lora.live.attach import attach
        from lib_lora.live.targets import uniform_multipliers
        from lib_lora.ui.webui import singletons

        request = replace(USUAL, prompt="red apple")
        with host.training("probe", trains_text=False):
            plain = host.generate(request)
            with attach(host.model, host.read_lora("plain"), uniform_multipliers("sd1"), strategy="factors"):
                with_lora = host.generate(request)
            after = host.generate(request)
        last = host.generate(request)
        result = [told(each)["images"][0] for each in (plain, with_lora, after, last)]
        """,
    )
    plain, with_lora, after, last = (from_base64(text) for text in told)
    assert difference(plain, with_lora) > 20
    assert difference(plain, after) == 0
    assert difference(last, webui.txt2img(prompt="red apple").image) == 0
    assert difference(with_lora, webui.txt2img(prompt="red apple <lora:plain:1>").image) <= 2


def test_two_orders_after_each_other_leave_nothing_behind(webui):
    before = webui.txt2img(prompt="red apple").image
    first = order(webui, prompt="red apple <lora:plain:1:OUTALL>")
    order(webui, prompt="red apple <lora:locon:1:lbw=ALL:stop=2><lora:other:1>")
    assert difference(first[0], order(webui, prompt="red apple <lora:plain:1:OUTALL>")[0]) == 0
    assert difference(before, webui.txt2img(prompt="red apple").image) == 0


def mean(one, two):
    """Return the mean difference of the levels of two pictures."""
    levels = [np.asarray(each.convert("RGB"), dtype=float) for each in (one, two)]
    return float(np.abs(levels[0] - levels[1]).mean())
