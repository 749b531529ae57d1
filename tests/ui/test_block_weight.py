"""The accordion *LoRA Block Weight* without a browser: what it shows of a prompt, and what it writes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.formats.lora import write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.services.analysis_order import order_of, run
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.file_facts import FileFacts, lora_path
from lib_lora.services.jobs.job import Job
from lib_lora.services.presets import load_presets, presets_path, save_preset, save_presets, with_imported
from lib_lora.services.prompt_tags import element_names, index_of, labels_of, title_of, view_of
from lib_lora.services.speed import Speed
from lib_lora.ui import block_weight
from lib_lora.ui.block_weight import analyzer_view
from lib_lora.ui.block_weight.handlers import Handlers
from lib_lora.ui.block_weight.preset_editor import check_html
from lib_lora.ui.block_weight.row import row_html
from lib_lora.ui.compat import gr
from lib_lora.ui.picture_inputs import PictureInputs
from tests.conftest import random_lora
from tests.servers import ending

EN = Words("en")


@pytest.fixture
def atelier(studio, model, lora, tmp_path):
    folders = Folders.under(tmp_path)
    write_lora(lora, folders.loras / "plain.safetensors")
    write_lora(random_lora(model, rank=2, conv=True), folders.loras / "locon.safetensors")
    before = studio.lora_folders, studio.presets
    studio.lora_folders = (folders.loras,)
    with ending(Atelier(studio, folders)) as made:
        yield made
    studio.lora_folders, studio.presets = before


@pytest.fixture
def files(atelier):
    return FileFacts.confined(atelier)


@pytest.fixture
def logic(atelier, files):
    return Handlers(atelier, EN, files, "test")


def test_only_blocks_that_the_file_has_get_a_slider(files):
    plain, locon = files.of("plain"), files.of("locon")
    assert len(plain.blocks) == plain.layout.length == 17
    assert locon.layout.length == 26
    assert row_html(plain, EN, place="t").count('type="range"') == 17
    assert row_html(locon, EN, place="t").count('type="range"') == len(locon.blocks) > 17


def test_a_file_without_text_encoder_has_no_base(atelier, files, model):
    unet = random_lora(model, rank=2)
    unet.adapters = {key: one for key, one in unet.adapters.items() if key.startswith("lora_unet")}
    write_lora(unet, atelier.folders.loras / "unet.safetensors")
    assert "BASE" not in files.of("unet").blocks
    assert "BASE" not in row_html(files.of("unet"), EN, place="t").replace('data-names="BASE', "")


def test_the_row_of_a_file_does_not_depend_on_its_weights(atelier, files):
    one = view_of("<lora:plain:1:FACE>", "", atelier.host, files)
    two = view_of("<lora:plain:0.5:OUTS>", "", atelier.host, files)
    assert row_html(one.facts, EN, place="t") == row_html(two.facts, EN, place="t")
    assert one.weights != two.weights


def test_a_listening_server_reads_no_lora_from_elsewhere(atelier, lora, tmp_path_factory):
    outside = write_lora(lora, tmp_path_factory.mktemp("elsewhere") / "x.safetensors")
    assert lora_path(atelier, str(outside)) == outside
    closed = Atelier(atelier.host, replace(atelier.folders, confined=True))
    assert lora_path(closed, "plain").name == "plain.safetensors"
    with pytest.raises(InputError, match="own folders"):
        FileFacts.confined(closed).of(str(outside))


def test_the_same_lora_twice_is_told_apart():
    prompt = "a <lora:x:1> b <lora:y:1> <lora:x:0.5>"
    assert labels_of(prompt) == ("x", "y", "x (2)")
    assert index_of(prompt, "x (2)") == 2
    assert index_of(prompt, "") == 0
    assert index_of(prompt, "gone") == -1
    assert index_of("none", "") == -1


def test_the_title_says_what_is_active(atelier):
    title = title_of("<lora:plain:1:FACE> <lora:locon> <lora:missing:1>", atelier.host, EN, active=True)
    assert "plain: FACE" in title
    assert "locon: all 1" in title
    assert "⚠ <lora:missing:1>" in title


def test_a_prompt_whose_tags_stay_updates_nothing(logic):
    first = logic.refresh("cat <lora:plain:1:FACE>", "plain", True, "")
    second = logic.refresh("cats <lora:plain:1:FACE>", "plain", True, first[-1])
    assert all(one == gr.update() for one in second)
    assert logic.refresh("cats <lora:plain:1:OUTS>", "plain", True, first[-1])[-1] != first[-1]


def test_a_slider_writes_the_vector_and_a_preset_its_name(logic):
    prompt = "a <lora:plain:0.8> b"
    vector = ",".join(["1"] * 16 + ["0.5"])
    moved, said = logic.writer(logic.to_vector)(vector, prompt, "plain")
    assert moved == f"a <lora:plain:0.8:lbw={vector}> b"
    assert said == ""
    named, _ = logic.writer(logic.to_preset)("FACE", moved, "plain")
    kept, said = logic.writer(logic.to_preset)("FACES", named, "plain")
    assert kept == gr.update()
    assert "There is no preset" in said
    assert "FACE" in said
    assert named == "a <lora:plain:0.8:lbw=FACE> b"
    assert logic.writer(logic.to_preset)(EN("block_weight.plain"), named, "plain")[0] == "a <lora:plain:0.8> b"


def test_showing_a_preset_as_numbers_and_leaving_them_keeps_its_name(logic, atelier, files):
    prompt = "<lora:plain:1:FACE>"
    shown = view_of(prompt, "", atelier.host, files).weights.format()
    assert logic.writer(logic.to_vector)(shown, prompt, "plain") == (gr.update(), "")


@pytest.mark.parametrize(
    ("text", "written"),
    [("ＦＡＣＥ", "FACE"), ("１、" * 16 + "r", "1," * 16 + "R"), ("０．５，" * 16 + "X＋0.2", "0.5," * 16 + "X+0.2")],
)
def test_the_field_for_the_vector_reads_what_a_tag_reads(logic, text, written):
    assert logic.writer(logic.to_vector)(text, "<lora:plain:1>", "plain") == (f"<lora:plain:1:lbw={written}>", "")
    assert logic.writer(logic.to_te)("０．５", "<lora:plain:1>", "plain")[0] == "<lora:plain:0.5:1>"


def test_nothing_is_written_into_another_loras_tag(logic, atelier):
    prompt, before = "<lora:plain:1>", atelier.host.presets.text
    kept, said = logic.writer(logic.to_te)("0.5", prompt, "locon")
    assert kept == gr.update()
    assert "no longer in the prompt" in said
    assert "no longer in the prompt" in logic.save("MINE", ",".join("1" * 17), False, prompt, "locon")[1]
    assert atelier.host.presets.text == before


def test_a_field_that_is_only_left_does_not_send_the_prompt_back(logic):
    prompt = "<lora:plain:0.5:FACE>"
    assert logic.writer(logic.to_te)("0.5", prompt, "plain")[0] == gr.update()


def test_strengths_and_steps_get_into_the_tag(logic):
    prompt = "<lora:plain:1>"
    for change, value in (
        (logic.to_te, "0.5"),
        (logic.to_unet, "0.7"),
        (logic.to_start, "3"),
        (logic.to_stop, "0.75"),
        (logic.to_elements, "ATTNDEEPON"),
    ):
        prompt, said = logic.writer(change)(value, prompt, "plain")
        assert said == ""
    assert prompt == "<lora:plain:0.5:0.7:lbwe=ATTNDEEPON:start=3:stop=0.75>"


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        ("to_vector", "1,2,3", "Wrong number"),
        ("to_vector", "FACEE", "FACE"),
        ("to_te", "much", "no strength"),
        ("to_unet", "1e999", "no strength"),
        ("to_stop", "1.5", "more than all steps"),
    ],
)
def test_what_cannot_be_right_is_said_and_the_prompt_stays(logic, change, value, said):
    prompt, message = logic.writer(getattr(logic, change))(value, "<lora:plain:1>", "plain")
    assert prompt == gr.update()
    assert said in message


def test_a_wrong_preset_pales_the_row_and_says_that_the_lora_is_off(logic):
    wrong = logic.refresh_anew("a <lora:plain:1:FCAE>", "", True)[5]
    right = logic.refresh_anew("a <lora:plain:1:FACE>", "", True)[5]
    assert 'class="atelier-blocks-off"' in wrong
    assert EN("block_weight.row_off") in wrong
    assert "atelier-blocks-off" not in right


def test_saving_a_preset_uses_it_and_never_replaces_unasked(logic, atelier):
    vector = ",".join(["0.5"] * 17)
    prompt, said, _ = logic.save("mine", vector, False, "<lora:plain:1>", "plain")
    assert prompt == "<lora:plain:1:lbw=mine>"
    assert "mine" in said
    assert PresetFile.load(presets_path(atelier)).has("mine")
    again, said, _ = logic.save("mine", ",".join(["1"] * 17), False, prompt, "plain")
    assert again == gr.update()
    assert "There is a preset of this name already" in said
    save_preset(atelier, "mine", ",".join(["1"] * 17), replace=True)
    assert presets_path(atelier).with_name("lbwpresets.txt.bak1").is_file()
    with pytest.raises(InputError):
        save_preset(atelier, " ", vector, replace=False)


def test_a_broken_preset_text_is_told_by_line_and_not_saved(atelier):
    text = "GOOD:1,1,1,1,1,1,1,1,1,1,1,1\nBAD:1,2\n"
    assert "<li>Line 2: BAD: Wrong number" in check_html(text, EN)
    assert "<li>2 行目: " in check_html(text, Words("ja"))
    assert "atelier-good" in check_html(text.splitlines()[0], EN)
    with pytest.raises(InputError):
        save_presets(atelier, text)
    assert not presets_path(atelier).exists()


def test_element_presets_of_the_data_folder_stay_when_presets_are_saved(atelier):
    presets_path(atelier).with_name("elempresets.txt").write_text("EYES:OUT05:attn:0.5\n", encoding="utf-8")
    load_presets(atelier)
    assert "EYES" in element_names(atelier.host.presets)
    save_presets(atelier, "GOOD:1,1,1,1,1,1,1,1,1,1,1,1\n")
    assert element_names(atelier.host.presets) == [*element_names(PresetFile.shipped()), "EYES"]


def test_an_import_adds_what_is_missing_and_keeps_what_is_there():
    ones, halves = ",".join("1" * 17), ",".join(["0.5"] * 17)
    text, new, old = with_imported(f"A:{ones}\n", f"A:{halves}\n# note\nB:{halves}\nbroken\n")
    assert (new, old) == (1, 1)
    assert text == f"A:{ones}\nB:{halves}\n"


def order(atelier, files, prompt="red apple <lora:plain:1>", **more):
    request = GenerateRequest(prompt, seed=3, steps=2)
    options = AnalyzeOptions(**{"lora": "plain", "blocks": "IN01,M00,OUT03", **more})
    return order_of(request, options, atelier.host, files)


def test_an_order_marks_the_chosen_lora_and_counts_its_pictures(atelier, files):
    one = order(atelier, files)
    assert one.request.prompt == "red apple <lora:plain:1:lbw=XYZ>"
    assert one.pictures == 5
    more = order(atelier, files, also=("2,0", "0,1"), seeds=2)
    assert [plan.examined for plan in more.plans] == [0.0, 2.0]
    assert more.pictures == 20
    assert len(order(atelier, files, blocks="").plans[0].entries) == 17
    assert len(order(atelier, files, blocks="26ALL").plans[0].entries) == 26
    kept = order(atelier, files, prompt="<lora:plain:1:ZYX> <lora:locon:1>").request.prompt
    assert kept == "<lora:plain:1:ZYX> <lora:locon:1>"
    with pytest.raises(InputError):
        order(atelier, files, prompt="no lora")


TIERS = ["tier_norms.csv", "tier_norms.png", "tier_pictures.csv", "tier_pictures.png", "maps.png"]


def test_several_ranges_run_in_one_go_grow_and_are_saved(atelier, files, tmp_path):
    seen = []
    job = Job("analyze", "x", lambda job: None)
    job.show = seen.append
    speed = Speed(tmp_path / "speed.json")
    found = run(order(atelier, files, also=("2,0",)), atelier.host, job, outputs=tmp_path / "out", speed=speed)
    assert [len(one.analyses[-1].rows) for one in seen] == [0, 0, 1, 2, 3] * 2
    assert [path.name for path in found.files] == [
        "blocks_0_1.csv",
        "blocks_2_0.csv",
        *TIERS,
        "grid_0_1_3.png",
        "grid_2_0_3.png",
    ]
    with Image.open(found.files[-1]) as grid:
        assert grid.width > 0
    table = analyzer_view.table_of(found.analyses, EN)
    assert len(table["headers"]) == 4
    assert [row[0] for row in table["data"]] == ["IN01", "M00", "OUT03"]
    request = GenerateRequest("", steps=2)
    side = atelier.host.model.native_side
    assert speed.seconds(atelier.host.model.name, request, side=side, pictures=5) > 0
    assert speed.seconds("another model", request, side=side, pictures=5) is None


def test_a_stopped_order_keeps_and_saves_what_is_finished(atelier, files, tmp_path):
    job = Job("analyze", "x", lambda job: None)
    job.show = lambda found: job.stop() if found.analyses[-1].rows else None
    found = run(order(atelier, files, also=("2,0",)), atelier.host, job, outputs=tmp_path, speed=Speed(tmp_path / "s"))
    assert len(found.analyses) == 1
    assert not found.analyses[0].finished
    assert [path.name for path in found.files] == ["blocks_0_1.csv", *TIERS, "grid_0_1_3.png"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_accordion_stands_beside_any_prompt(atelier, language):
    with gr.Blocks():
        prompt, steps = gr.Textbox(), gr.Number(3)
        picture = PictureInputs((steps,), lambda prompt, steps: GenerateRequest(prompt, steps=int(steps)))
        one = block_weight.build(atelier, Words(language), prompt, picture, place="txt2img")
        two = block_weight.build(atelier, Words(language), prompt, picture, place="img2img")
    assert one.active.elem_id != two.active.elem_id
