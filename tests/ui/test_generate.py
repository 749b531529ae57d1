"""The tab *Generate* without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_lora.demo import trial
from lib_lora.formats.lora import write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.infotext import png_info, prompt_as_rendered, read_infotext, read_settings
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.options import find
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.jobs.job import Job
from lib_lora.services.outputs import new_folder, save_picture
from lib_lora.services.pictures import KIND, last_seed, render
from lib_lora.services.speed import Speed
from lib_lora.ui import compat, generate
from lib_lora.ui.compat import gr
from lib_lora.ui.generate import from_picture
from lib_lora.ui.generate.lora_list import LoraList, grouped
from lib_lora.ui.generate.panel import _Generate
from lib_lora.ui.generate.try_it import _Cards
from lib_lora.ui.picture_inputs import chosen_seed
from tests.servers import ending

EN = Words("en")
FIELDS = ("", 5, 1, 2, "euler", 4, None, None, 1)
"""Negative, seed, batch, steps, sampler, CFG, width, height, clip skip."""


@pytest.fixture
def atelier(studio, lora, tmp_path):
    folders = Folders.under(tmp_path)
    write_lora(lora, folders.loras / "plain.safetensors")
    before = studio.lora_folders, studio.presets
    studio.lora_folders = (folders.loras,)
    with ending(Atelier(studio, folders)) as made:
        yield made
    studio.lora_folders, studio.presets = before


def text_of(path) -> str:
    with Image.open(path) as picture:
        return read_infotext(picture)


def saved_in(atelier):
    return lambda image, text, seed: save_picture(atelier.folders.outputs, image, text, seed=seed)


def job_of(stop_at: int = 99) -> Job:
    job = Job(KIND, "x", lambda job: None)
    shown = []

    def show(made):
        shown.append(made)
        if len(shown) == stop_at:
            job.stop()

    job.show = show
    return job


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_panel_builds(atelier, language):
    with gr.Blocks() as page:
        panel = generate.build(atelier, Words(language))
    assert panel.prompt.elem_id == "atelier_generate_prompt"
    assert page.fns


def test_pictures_are_saved_one_after_the_other_with_their_settings(atelier):
    request = GenerateRequest("red apple <lora:plain:0.5:FACE>", seed=7, steps=2, batch=2)
    made = render(request, atelier.host, job_of(), saved_in(atelier), speed=Speed(atelier.folders.data / "s"))
    assert [one.seed for one in made.pictures] == [7, 8]
    assert [one.path.name for one in made.pictures] == ["00001-7.png", "00002-8.png"]
    text = text_of(made.pictures[1].path)
    assert "Seed: 8" in text
    assert "LoRA block weights" in text


def test_cancel_keeps_finished_pictures(atelier):
    request = GenerateRequest("red apple", seed=7, steps=2, batch=5)
    job = job_of(stop_at=2)
    made = render(request, atelier.host, job, saved_in(atelier), show=job.show)
    assert len(made.pictures) == 2


def test_a_click_renders_and_says_where_the_picture_is(atelier):
    seen = list(_Generate(atelier, EN).start("red apple", True, *FIELDS))
    status, pictures = seen[-1]
    assert str(atelier.folders.outputs) in status
    assert any(isinstance(shown, list) and len(shown) == 1 for _, shown in seen)
    assert last_seed(atelier.queue) == 5
    again = list(_Generate(atelier, Words("ja")).resume())
    assert "保存しました" in again[-1][0]
    assert pictures is not None


def test_an_unknown_lora_is_said_in_the_page(atelier):
    status, _ = list(_Generate(atelier, EN).start("x <lora:plane:1>", True, *FIELDS))[-1]
    assert "atelier-error" in status
    assert "plain" in status


def test_switched_off_block_weights_do_not_act(atelier):
    logic = _Generate(atelier, EN)
    list(logic.start("red apple <lora:plain:1:NONE>", False, *FIELDS))
    off = atelier.queue.jobs(KIND)[-1].result.pictures[0].path
    assert text_of(off).startswith("red apple <lora:plain:1>")


@pytest.mark.parametrize("text", [-1, "", None, "x", float("inf"), -3])
def test_what_is_no_seed_is_a_random_one(text):
    assert chosen_seed(text) == find(GenerateRequest, "seed").default
    assert chosen_seed("12") == chosen_seed(12.0) == 12


def test_a_dropped_picture_brings_everything_back(atelier, tmp_path):
    request = GenerateRequest(
        'a "quoted", thing,\nsecond line <lora:plain:0.5:0.8:FACE:stop=0.5>',
        negative="bad, worse: 2",
        seed=9,
        steps=2,
        cfg_scale=5.5,
        sampler="dpm++ 2m karras",
        width=128,
        height=64,
        clip_skip=2,
    )
    result = atelier.host.generate(request)
    path = save_picture(tmp_path / "out", result.images[0], result.infotexts[0], seed=9)
    settings = read_settings(text_of(path))
    values = from_picture.values_of(settings, atelier)
    assert values == [request.prompt, request.negative, 9, 1, 2, "dpm++ 2m karras", 5.5, 128, 64, 2]


def test_a_preset_that_changed_comes_back_as_its_numbers(atelier):
    result = atelier.host.generate(GenerateRequest("a <lora:plain:1:FACE> b <lora:plain:0.3>", seed=1, steps=1))
    settings = read_settings(result.infotexts[0])
    presets, family = atelier.host.presets, atelier.host.model.family
    assert prompt_as_rendered(settings, presets=presets, family=family) == settings.prompt
    changed = presets.with_preset("FACE", ",".join(["0.5"] * 26))
    prompt = prompt_as_rendered(settings, presets=changed, family=family)
    assert "FACE" not in prompt
    assert "lbw=0,1,1,1,1,1,0" in prompt
    assert prompt.endswith("b <lora:plain:0.3>")


def test_settings_of_the_webui_are_read():
    text = (
        "1girl, <lora:a:1>\nNegative prompt: low quality,\nblurry\nSteps: 28, Sampler: Euler a, CFG scale: 7, "
        'Seed: 4294967295, Size: 512x768, Model hash: abc, Model: sd, Lora hashes: "a: 1, b: 2", Version: v1.10.1'
    )
    read = read_settings(text)
    assert (read.prompt, read.negative) == ("1girl, <lora:a:1>", "low quality,\nblurry")
    assert (read.steps, read.sampler, read.seed, read.width, read.height) == (28, "Euler a", 4294967295, 512, 768)
    assert read.clip_skip is None


def test_a_picture_without_settings_says_so(atelier, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png", pnginfo=png_info(""))
    with gr.Blocks():
        widgets = [gr.Textbox() for _ in range(10)]
        from_picture.build(atelier, EN, widgets)
    with pytest.raises(Exception, match="no settings"):
        read_settings(text_of(tmp_path / "plain.png"))


def test_new_loras_appear_and_names_are_escaped(atelier, lora):
    listing = LoraList(atelier.host)
    assert 'data-insert="&lt;lora:plain:1&gt;"' in listing(EN)
    write_lora(lora, atelier.folders.loras / "a&b.safetensors")
    listing._when = float("-inf")
    assert "a&amp;b" in listing(EN)
    atelier.host.lora_folders = (atelier.folders.data / "empty",)
    listing._when = float("-inf")
    assert "atelier-hint" in listing(EN)


def test_a_folder_of_the_same_second_gets_another_name(tmp_path):
    assert new_folder(tmp_path) != new_folder(tmp_path)


def test_what_a_training_saved_on_its_way_stands_behind_its_finished_file(tmp_path):
    names = ["krnk-000010", "other", "krnk", "krnk-000005", "cut-step00000160", "cut-000005", "v-00005", "a-1"]
    found = [[name for name, _ in group] for group in grouped([(name, tmp_path / name) for name in names])]
    assert found == [
        ["krnk", "krnk-000010", "krnk-000005"],
        ["other"],
        ["cut-step00000160", "cut-000005"],
        ["v-00005"],
        ["a-1"],
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_list_folds_epoch_files_away_and_each_can_be_inserted(atelier, lora, language):
    for name in ("krnk", "krnk-000005", "krnk-000010"):
        write_lora(lora, atelier.folders.loras / f"{name}.safetensors")
    words = Words(language)
    page = LoraList(atelier.host)(words)
    assert page.count("<details") == 1
    inside = page.split("<details")[1].split("</details>")[0]
    assert words("generate.on_the_way", n=2) in inside
    assert [inside.count(f"&lt;lora:{name}:1&gt;") for name in ("krnk", "krnk-000005", "krnk-000010")] == [0, 1, 1]
    assert "&lt;lora:krnk:1&gt;" in page.split("<details")[0]


@pytest.fixture
def tried(atelier, monkeypatch):
    """The cards over a studio in whose list the shipped LoRA lies."""
    (atelier.folders.loras / trial.LORA.name).write_bytes(trial.LORA.read_bytes())
    return _Cards(atelier, EN)


def test_cards_are_drawn_while_the_lora_is_there_and_until_they_are_put_away(tried, atelier):
    for language in LANGUAGES:
        html = tried.draw(Words(language))
        assert html.count("<img") == len(trial.EXAMPLES) + 2
        assert Words(language)("generate.try_train") in html
    (atelier.folders.loras / trial.LORA.name).rename(atelier.folders.data / "away")
    assert tried.draw(EN) == ""
    (atelier.folders.data / "away").rename(atelier.folders.loras / trial.LORA.name)
    assert tried.draw(EN)
    tried.take("away\n1")
    assert tried.draw(EN) == ""


def test_a_card_fills_prompt_and_seed_or_the_training_form(tried, atelier):
    one = trial.EXAMPLES[2]
    assert tried.take(f"take {one.name}\n5")[1:3] == [one.prompt, one.seed]
    assert [each["open"] for each in tried.take("analysis\n6")[3:]] == [True, True]
    message, folder, trigger, kind = tried.fill("train\n7")
    assert (message, trigger, kind) == ("", "krnk", "character")
    assert len(list(Path(folder).glob("*.txt"))) == 12
    assert tried.take("train\n7")[1] == compat.update()
    assert tried.fill("take front\n8")[1] == compat.update()
