"""The WebUI as a host, on a fake one: lists, orders in batches, stops, and what of the WebUI stays untouched."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest
from lib_lora.host.in_groups import Wish
from lib_lora.host.webui import host as host_module
from lib_lora.host.webui.host import WebuiHost
from lib_lora.host.webui.prompt import hooks
from lib_lora.host.webui.prompt.overrides import overrides_of
from lib_lora.host.webui.render.pictures import batch_size, batches
from lib_lora.progress import Progress, Stoppable
from tests.webui.test_fakes import QUERY, small_lora

LAYOUT = full_layout("sd1")
ONES = BlockWeights.uniform(LAYOUT, 1.0)
REQUEST = GenerateRequest("cat", seed=5, steps=4, cfg_scale=2, width=64, height=64)


def without(block: str) -> BlockWeights:
    return ONES.replaced({block: 0.0})


class Recorder:
    """Stands in for the host's sampling: notes each `p` that it is given, and makes pictures of one color."""

    def __init__(self, a1111, monkeypatch) -> None:
        self.host, self.orders, self.during = a1111, [], lambda p: None
        monkeypatch.setattr(a1111.modules.processing, "process_images", self)

    def __call__(self, p):
        seeds = p.seed if isinstance(p.seed, list) else [p.seed + n for n in range(p.batch_size)]
        self.orders.append(
            SimpleNamespace(
                p=p,
                seeds=seeds,
                sweep=overrides_of(p).sweep,
                job=self.host.state.job,
                options=dict(self.host.opts.data),
            )
        )
        assert p.batch_size == len(seeds)
        self.during(p)
        images = [Image.new("RGB", (8, 8)) for _ in seeds]
        swept = overrides_of(p).sweep
        texts = [f"text {seed}" for seed in seeds] if swept is None else [weights.format() for weights in swept]
        return SimpleNamespace(images=images, infotexts=texts, index_of_first_image=0, comments="a note\n")


@pytest.fixture
def model():
    layers = {QUERY: nn.Linear(8, 8)}
    return SimpleNamespace(
        name="tiny", family="sd1", layers=layers, device=torch.device("cpu"), dtype=torch.float32,
        pixels_per_latent=8, native_side=512, text_layers=12, prediction_type="epsilon",
    )  # fmt: skip


@pytest.fixture
def host(a1111, model, monkeypatch):
    monkeypatch.setattr(host_module, "loaded_model", lambda: model)
    monkeypatch.setattr(host_module, "current_model", lambda: model)
    a1111.add_lora("one", small_lora())
    ours = WebuiHost()
    assert hooks.install(lambda: ours)
    yield ours
    hooks.uninstall()


@pytest.fixture
def recorder(host, a1111, monkeypatch):
    return Recorder(a1111, monkeypatch)


# -- files ---------------------------------------------------------------------------------------------------------


def test_list_names_each_file_as_its_tag_does_and_a_new_file_at_once(host, a1111):
    assert set(host.list_loras()) == {"one"}
    (a1111.loras / "two.safetensors").write_bytes((a1111.loras / "one.safetensors").read_bytes())
    assert set(host.list_loras()) == {"one", "two"}
    assert "two" in a1111.networks.available_networks
    assert host.find_lora("two") == a1111.loras / "two.safetensors"


def test_file_that_was_deleted_is_neither_listed_nor_found(host, a1111):
    assert host.find_lora("one").name == "one.safetensors"
    (a1111.loras / "one.safetensors").unlink()
    assert host.list_loras() == {}
    with pytest.raises(InputError, match="no LoRA called “one”"):
        host.find_lora("one")


def test_unknown_name_is_refused_with_the_nearest_ones(host):
    with pytest.raises(InputError, match="Did you mean one"):
        host.find_lora("onee")


def test_alias_of_several_files_means_none_of_them(host, a1111):
    networks = a1111.networks
    entry = networks.available_networks["one"]
    networks.available_network_aliases["nick"] = entry
    assert host.find_lora("nick") == host.find_lora("one")
    networks.forbidden_network_aliases["nick"] = 1
    with pytest.raises(InputError, match="nick"):
        host.find_lora("nick")


def test_files_are_found_where_the_hosts_lora_extension_is_switched_off(host, monkeypatch):
    monkeypatch.delitem(sys.modules, "networks")
    assert set(host.list_loras()) == {"one"}
    assert host.find_lora("one").is_file()
    host.loras_changed()  # nobody to tell


# -- orders --------------------------------------------------------------------------------------------------------


def test_batch_counts_its_seeds_up_and_sweep_keeps_one(host, recorder):
    assert len(host.generate(replace(REQUEST, batch=3)).images) == 3
    host.generate(replace(REQUEST, prompt="<lora:one:1:XYZ>", sweep=(ONES, without("IN04"))))
    assert [order.seeds for order in recorder.orders] == [[5, 6, 7], [5, 5]]
    assert recorder.orders[0].sweep is None
    assert recorder.orders[1].sweep == (ONES, without("IN04"))


def test_sweep_is_refused_where_our_tags_do_not_act(host, recorder, a1111):
    sweep = replace(REQUEST, prompt="cat <lora:one:1:XYZ>", sweep=(ONES, without("IN04")))
    hooks.uninstall()
    with pytest.raises(InputError, match="Lora extension is off"):
        host.generate(sweep)
    a1111.scripts_data.append(SimpleNamespace(path="/extensions/other-weights/scripts/lora_block_weight.py"))
    with pytest.raises(InputError, match="other-weights"):
        host.generate(sweep)
    assert recorder.orders == []


def test_sweep_is_answered_in_its_order_though_each_batch_shares_one_base(host, recorder):
    base = without("BASE")
    sweep = (ONES, base, without("IN04"), without("M00"), without("OUT03"))
    made = host.generate(replace(REQUEST, prompt="<lora:one:1:XYZ>", sweep=sweep, sweep_chunk=2))
    assert made.infotexts == tuple(weights.format() for weights in sweep)
    assert all(len({weights["BASE"] for weights in order.sweep}) == 1 for order in recorder.orders)
    assert [len(order.sweep) for order in recorder.orders] == [1, 2, 2]


def test_many_prompts_come_in_groups_and_neighbors_of_one_prompt_together(host, recorder):
    wishes = [Wish(prompt, 7 + number) for number, prompt in enumerate(["cat", "cat", "dog", "cat", "cat"])]
    groups = list(host.generate_each(REQUEST, wishes, Progress()))
    assert [group.infotexts for group in groups] == [("text 7", "text 8", "text 9", "text 10"), ("text 11",)]
    assert [(order.p.prompt, order.seeds) for order in recorder.orders] == [
        ("cat", [7, 8]), ("dog", [9]), ("cat", [10]), ("cat", [11]),
    ]  # fmt: skip
    stop = Stoppable()
    recorder.during = lambda p: stop.stop()
    assert len(list(host.generate_each(REQUEST, wishes, stop))) <= 1


def test_and_prompt_of_a_sweep_is_rendered_one_picture_at_a_time(host, recorder):
    request = replace(REQUEST, prompt="cat AND dog <lora:one:1:XYZ>", sweep=(ONES, without("IN04")))
    host.generate(request)
    assert [len(order.sweep) for order in recorder.orders] == [1, 1]


def test_batches_put_the_small_group_first_and_lose_nothing():
    sweep = (ONES, without("BASE"), *(without(f"IN{n:02d}") for n in range(5)))
    found = batches(replace(REQUEST, sweep=sweep), size=3)
    assert found == [(1,), (0, 2, 3), (4, 5, 6)]
    assert batches(replace(REQUEST, batch=5), size=2) == [(0, 1), (2, 3), (4,)]


def test_more_small_pictures_than_large_ones_go_together(model):
    small, large = (replace(REQUEST, width=side, height=side) for side in (128, 1024))
    assert batch_size(small, model, "Euler") > batch_size(large, model, "Euler") >= 1
    assert batch_size(small, model, "DPM adaptive") == 1
    swept = replace(small, sweep=(ONES, ONES))
    assert batch_size(swept, model, "DPM++ SDE", noise_by_batch=True) == 1
    assert batch_size(replace(swept, init=Image.new("RGB", (8, 8))), model, "Euler") == 1


def test_free_memory_of_a_gpu_says_how_many_go_together(model, monkeypatch):
    model.device = torch.device("cuda")
    for gigabytes, least, most in ((2, 1, 4), (8, 5, 16), (80, 32, 32)):
        monkeypatch.setattr(
            "lib_lora.host.webui.render.pictures.gpu_memory", lambda device, free=gigabytes * 2**30: (free, free)
        )
        size = batch_size(replace(REQUEST, width=512, height=512), model, "Euler")
        assert least <= size <= most


def test_order_carries_every_setting_and_no_script_of_another_extension(host, recorder, a1111):
    request = replace(REQUEST, sampler="dpm++ 2m karras", negative="dog", clip_skip=2)
    made = host.generate(request)
    p = recorder.orders[0].p
    assert (p.sampler_name, p.scheduler, p.negative_prompt, p.steps) == ("DPM++ 2M", "Karras", "dog", 4)
    assert (p.width, p.height, p.cfg_scale) == (64, 64, 2.0)
    assert p.override_settings == {"CLIP_stop_at_last_layers": 2}
    assert (p.do_not_save_samples, p.do_not_save_grid, p.is_api) == (True, True, True)
    assert p.scripts.alwayson_scripts == []
    assert p.cached_c is not type(p).cached_c
    assert (made.notes, made.infotexts) == (("a note",), ("text 5",))
    assert recorder.orders[0].job == "LoRA Atelier: generate"


@pytest.mark.parametrize("kind", ["a1111", "forge", "neo", "reforge", "classic"])
def test_every_kind_of_host_makes_its_own_pictures_of_an_order(kind, request, model, monkeypatch):
    webui = request.getfixturevalue(kind)
    monkeypatch.setattr(host_module, "loaded_model", lambda: model)
    theirs = webui.txt2img("cat", seed=5, batch_size=2, width=64, height=64, cfg_scale=2.0, steps=4)
    made = WebuiHost().generate(replace(REQUEST, batch=2))
    assert [image.tobytes() for image in made.images] == [image.tobytes() for image in theirs.images]
    assert WebuiHost().samplers[0] == "Euler"


def test_setting_that_is_right_already_is_not_touched(host, recorder, a1111):
    a1111.opts.CLIP_stop_at_last_layers = 2
    host.generate(replace(REQUEST, clip_skip=2))
    assert recorder.orders[0].p.override_settings == {}


def test_setting_that_the_host_does_not_restore_is_put_back(host, recorder, a1111):
    del a1111.opts.data["CLIP_stop_at_last_layers"]
    recorder.during = lambda p: a1111.opts.set("CLIP_stop_at_last_layers", 2)  # as the host does, and leaves it
    host.generate(replace(REQUEST, clip_skip=2))
    assert "CLIP_stop_at_last_layers" not in a1111.opts.data


def test_picture_to_begin_with_goes_through_img2img(host, recorder, a1111):
    host.generate(replace(REQUEST, init=Image.new("RGBA", (64, 64)), denoise=0.4))
    p = recorder.orders[0].p
    assert isinstance(p, a1111.modules.processing.StableDiffusionProcessingImg2Img)
    assert (p.denoising_strength, p.init_images[0].mode) == (0.4, "RGB")


def test_img2img_takes_no_random_numbers_from_the_process(host, recorder):
    state = torch.random.get_rng_state()
    recorder.during = lambda p: torch.rand(3)
    host.generate(replace(REQUEST, init=Image.new("RGB", (64, 64))))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": "Eulr"}, "no sampler “Eulr”.*Did you mean Euler"),
        ({"scheduler": "karas"}, "no scheduler “karas”.*Did you mean Karras"),
        ({"width": 100}, "A side of 100 px"),
        ({"steps": 0}, "0 is out of range"),
        ({"denoise": 1.5}, "between 0 and 1"),
        ({"strict": True, "prompt": "<lora:onne:1>"}, "no LoRA called “onne”.*Did you mean one"),
        ({"strict": True, "prompt": "<lora:one:1:FACEE>"}, "no preset “FACEE”"),
        ({"clip_skip": 13}, "12 layers"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_rendered(host, recorder, a1111, change, said):
    with pytest.raises(InputError, match=said):
        host.generate(replace(REQUEST, **change))
    assert recorder.orders == []
    assert a1111.queue_lock.acquire(blocking=False)
    a1111.queue_lock.release()


# -- stops and what stays ------------------------------------------------------------------------------------------


def test_stop_interrupts_the_host_and_keeps_what_was_finished(host, recorder, a1111):
    progress, interrupted = Stoppable(), threading.Event()

    def during(p):
        if len(recorder.orders) == 2:
            progress.stop()
            while not a1111.state.interrupted:
                interrupted.wait(0.01)

    recorder.during = during
    sweep = tuple(without(f"IN{n:02d}") for n in range(6))
    made = host.generate(replace(REQUEST, prompt="<lora:one:1:XYZ>", sweep=sweep, sweep_chunk=2), progress)
    assert len(made.images) == len(made.infotexts) == 2
    assert len(recorder.orders) == 2
    assert not a1111.state.interrupted


def test_hosts_own_interrupt_ends_the_work_that_the_order_belongs_to(host, recorder, a1111):
    recorder.during = lambda p: a1111.state.interrupt()
    progress = Stoppable()
    made = host.generate(replace(REQUEST, batch=2), progress)
    assert (made.images, progress.stopped) == ((), True)


def test_stop_after_the_present_picture_keeps_it(host, recorder, a1111):
    recorder.during = lambda p: a1111.state.stop_generating()
    progress = Stoppable()
    sweep = tuple(without(f"IN{n:02d}") for n in range(4))
    made = host.generate(replace(REQUEST, prompt="<lora:one:1:XYZ>", sweep=sweep, sweep_chunk=2), progress)
    assert (len(made.images), len(recorder.orders), progress.stopped) == (2, 1, True)


def test_order_that_does_not_fit_the_memory_is_halved(host, recorder):
    def during(p):
        if p.batch_size > 2:
            raise torch.cuda.OutOfMemoryError("full")

    recorder.during = during
    made = host.generate(replace(REQUEST, batch=5))
    assert [order.seeds for order in recorder.orders] == [[5, 6, 7, 8, 9], [5, 6], [7, 8, 9], [7], [8, 9]]
    assert made.infotexts == tuple(f"text {seed}" for seed in range(5, 10))


def test_progress_counts_the_steps_of_all_pictures(host, recorder, a1111):
    told = []

    class Heard(Stoppable):
        def update(self, done, total, text=""):
            told.append((done, total, text))

    seen = threading.Event()

    def during(p):
        a1111.state.sampling_steps, a1111.state.sampling_step = 4, 2
        while (4, 8, "sampling") not in told:  # half of the steps of both pictures
            seen.wait(0.01)

    recorder.during = during
    host.generate(replace(REQUEST, batch=2), Heard())
    assert told[-1] == (8, 8, "sampling")


def test_samples_of_a_training_need_no_second_turn_and_pin_its_checkpoint(host, recorder, a1111):
    a1111.opts.sd_model_checkpoint = "chosen meanwhile"
    with host.queue.taken("training"):
        a1111.state.sampling_steps, a1111.state.sampling_step, a1111.state.job_no = 100, 40, 0
        recorder.during = lambda p: a1111.state.nextjob()
        host.generate(REQUEST)
        assert (a1111.state.sampling_step, a1111.state.job_no, a1111.state.job) == (40, 0, "training")
    assert recorder.orders[0].p.override_settings == {"sd_model_checkpoint": a1111.sd_model.sd_checkpoint_info.title}


def test_hosts_memory_of_the_last_prompt_is_the_users(host, recorder, a1111):
    seen = []
    recorder.during = lambda p: seen.append(a1111.cmd_opts.no_prompt_history)
    a1111.cmd_opts.no_prompt_history = False
    host.generate(REQUEST)
    assert (seen, a1111.cmd_opts.no_prompt_history) == ([True], False)
