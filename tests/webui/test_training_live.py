"""Training on the running host's own model: it learns, it stops, it survives, and the host is what it was."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

STATE = """
import hashlib
from modules import sd_models
model = sd_models.model_data.sd_model
digest = hashlib.sha256()
roots = [model] if hasattr(model, "named_parameters") else [
    model.forge_objects_original.unet.model, model.forge_objects_original.clip.cond_stage_model,
    model.forge_objects_original.vae.first_stage_model,
]
for root in roots:
    for name, tensor in [*root.named_parameters(), *root.named_buffers()]:
        digest.update(repr((name, tensor.dtype, tensor.device.type, tensor.shape, tensor.stride())).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for name, part in root.named_modules():
        hooks = (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
        digest.update(repr((name, part.training, hooks, "forward" in vars(part))).encode())
result = digest.hexdigest()
"""
FORWARDS = """
import sys
names = [("ldm.modules.attention", "CrossAttention"), ("ldm.modules.diffusionmodules.model", "AttnBlock")]
result = [repr(getattr(sys.modules[m], c).forward) for m, c in names if m in sys.modules]
if "backend.nn.unet" in sys.modules:
    result.append(repr(sys.modules["backend.nn.unet"].attention_function))
"""
"""The bytes, flags and hooks of the model, and the attention of its classes: what a training must put back."""


@pytest.fixture
def train(webui, circles):
    """Start a run over REST; ``wait`` for its end."""

    def start(name, *, steps=20, **more):
        usual = {"images": str(circles), "name": name, "trigger": "zzcircle", "steps": steps, "dim": 4}
        usual |= {"resolution": 64, "batch_size": 1, "optimizer": "AdamW", "learning_rate": 1e-3}
        usual |= {"save_every_epochs": 0, "text_encoder_ratio": 0, "sample_prompts": []}
        return webui.post("/lora-atelier/v1/train", {**usual, **more})

    return start


def row(webui, name):
    return webui.get(f"/lora-atelier/v1/train/{name}")


def ended(webui, name):
    return row(webui, name)["state"] in ("done", "failed", "stopped")


def picture(webui, prompt="1girl"):
    return webui.txt2img(prompt=prompt).image.tobytes()


def clean(webui):
    """Make the plain picture, which clears the weights of the last prompt's LoRA, and return picture and model."""
    return picture(webui), webui.run(STATE), webui.run(FORWARDS)


def test_twenty_steps_leave_a_listed_file_and_the_host_as_it_was(webui, train):
    before = clean(webui)
    with_lora = picture(webui, "1girl <lora:plain:1>")  # its residue is in the weights when the training begins
    # A sample has the model's own size: minutes for a full-size model on a CPU (test_host_live.py makes a small one).
    train("live_plain", sample_prompts=["zzcircle"] if webui.kind == "a1111" else [])
    webui.wait(lambda: ended(webui, "live_plain"), timeout=900, what="the training")
    assert row(webui, "live_plain")["state"] == "done", row(webui, "live_plain")
    assert "live_plain" in [each["name"] for each in webui.get("/sdapi/v1/loras")]
    assert clean(webui) == before
    assert picture(webui, "1girl <lora:plain:1>") == with_lora
    assert picture(webui, "1girl <lora:live_plain:1>") != before[0]


@pytest.fixture
def masks(circles, tmp_path):
    for path in circles.glob("*.png"):
        mask = Image.new("L", (64, 64), 0)
        ImageDraw.Draw(mask).rectangle((8, 8, 56, 56), fill=255)
        mask.save(tmp_path / path.name)
    return tmp_path


def test_a_lora_is_continued_with_block_rates_and_masks_and_kept_as_the_host_was(webui, train, masks):
    before = clean(webui)
    rates = ",".join(["0"] * 6 + ["1"] * 6)
    more = {"down_lr_weight": rates, "up_lr_weight": "sine+0.25", "masks": str(masks), "mask_floor": 0.1}
    train("live_more", steps=6, continue_from="plain.safetensors", **more)
    webui.wait(lambda: ended(webui, "live_more"), timeout=900, what="the training")
    assert row(webui, "live_more")["state"] == "done", row(webui, "live_more")
    assert clean(webui) == before
    assert picture(webui, "1girl <lora:live_more:1>") not in (before[0], picture(webui, "1girl <lora:plain:1>"))


@pytest.mark.parametrize("wanted", [{"network": "loha"}, {"network": "lokr"}, {"dora": True}], ids=str)
def test_other_networks_are_trained_and_the_host_applies_them(webui, train, wanted):
    name = "live_" + "_".join(map(str, wanted.values())).lower()
    before = clean(webui)
    train(name, steps=6, learning_rate=1e-2, alpha=0, save_precision="fp32", **wanted)
    webui.wait(lambda: ended(webui, name), timeout=900, what="the training")
    assert row(webui, name)["state"] == "done", row(webui, name)
    assert clean(webui) == before
    # fp32: with PyTorch 2.1 a host on the CPU cannot multiply a LoHa's matrices in half precision, and leaves them out.
    result = webui.txt2img(prompt=f"1girl <lora:{name}:1>")
    assert result.image.tobytes() != before[0]
    assert "LoRA problems" not in result.infotexts[0]


def test_the_text_encoder_is_trained_and_comes_back(webui, train):
    before = clean(webui)
    train("live_text", steps=4, text_encoder_ratio=0.5)
    webui.wait(lambda: ended(webui, "live_text"), timeout=900, what="the training")
    assert row(webui, "live_text")["state"] == "done", row(webui, "live_text")
    assert clean(webui) == before


def test_the_hosts_interrupt_stops_and_saves_and_the_host_is_as_it_was(webui, train):
    before = clean(webui)
    train("live_stop", steps=5000)
    webui.wait(lambda: row(webui, "live_stop")["step"] >= 2, timeout=300, what="two steps")
    progress = webui.get("/sdapi/v1/progress?skip_current_image=true")
    assert progress["state"]["job"] == "LoRA Atelier: live_stop"
    assert progress["state"]["sampling_steps"] == 5000
    webui.post("/sdapi/v1/interrupt")
    webui.wait(lambda: ended(webui, "live_stop"), timeout=300, what="the end")
    assert row(webui, "live_stop")["state"] == "stopped"
    assert clean(webui) == before


def test_a_picture_is_made_in_the_middle_of_a_training_without_its_lora(webui, train):
    before = picture(webui)
    train("live_between", steps=5000)
    webui.wait(lambda: row(webui, "live_between")["step"] >= 2, timeout=300, what="two steps")
    assert picture(webui) == before
    step = row(webui, "live_between")["step"]
    webui.wait(lambda: row(webui, "live_between")["step"] > step, timeout=300, what="the training to go on")
    webui.post("/lora-atelier/v1/train/live_between/stop")
    webui.wait(lambda: ended(webui, "live_between"), timeout=300, what="the end")


def test_an_error_in_the_middle_leaves_the_host_as_it_was(webui, train):
    before = clean(webui)
    break_it = """
    from lib_lora.host.webui.model.live_model import current_model
    parts = current_model().host
    def broken(*given):
        raise RuntimeError("broken for a test")
    parts.run_unet = broken
    """
    webui.run(break_it)
    train("live_error", steps=10)
    webui.wait(lambda: ended(webui, "live_error"), timeout=300, what="the end")
    webui.run("from lib_lora.host.webui.model.live_model import current_model\ndel current_model().host.run_unet")
    assert row(webui, "live_error")["state"] == "failed"
    assert clean(webui) == before


def test_a_killed_server_resumes_the_run_where_its_last_state_is(webui, train):
    train("live_killed", steps=60, save_every_epochs=1, epochs=15)
    webui.wait(lambda: row(webui, "live_killed")["step"] >= 9, timeout=600, what="some steps")
    webui.kill()
    webui.start()
    webui.txt2img(prompt="", steps=1)
    left = row(webui, "live_killed")
    assert left["state"] == "interrupted"
    assert 0 < left["step"] < 60
    webui.post("/lora-atelier/v1/train/live_killed/resume")
    webui.wait(lambda: row(webui, "live_killed")["step"] > left["step"], timeout=600, what="it to go on")
    webui.post("/lora-atelier/v1/train/live_killed/stop")
    webui.wait(lambda: ended(webui, "live_killed"), timeout=300, what="the end")
    assert row(webui, "live_killed")["state"] == "stopped"
