from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from lib_lora.data.tags import BACKGROUNDS
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.jobs.job import RUNNING
from lib_lora.services.jobs.run_state import PREPARE, WAIT, RunView
from lib_lora.services.run_plan import free_name
from lib_lora.train.estimate import Paces
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options import TrainOptions, usual_values
from lib_lora.train.recipes import SMALL, ModelFacts, facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.ui import compat
from lib_lora.ui.captions import CaptionTools
from lib_lora.ui.captions.editor import rule_widgets
from lib_lora.ui.train import build, tag_of
from lib_lora.ui.train.form import Form
from lib_lora.ui.train.inline_actions import act_button, read_act
from lib_lora.ui.train.intake import Intake
from lib_lora.ui.train.options import NAMES, OptionForm, to_widget
from lib_lora.ui.train.orders import Orders
from lib_lora.ui.train.pieces import LIST, RUN, SAMPLES, Pieces
from tests.servers import running_atelier

CHEAP = {"dim": 2, "resolution": 64, "save_every_epochs": 0, "text_encoder_ratio": 0.0, "sample_prompts": "krnk"}
POCKET = ModelFacts(128, "v_prediction")
STEPS = SMALL["target_steps"]


@pytest.fixture
def atelier(studio, tmp_path):
    with running_atelier(studio, tmp_path / "data") as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "絵"
    place.mkdir()
    for number, size in enumerate(((64, 64), (128, 64), (200, 100))):
        Image.new("RGB", size, (40 * number, 90, 200)).save(place / f"{number}.png")
        (place / f"{number}.txt").write_text(f"sky, tag{number}", encoding="utf-8")
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return place


@pytest.fixture(params=LANGUAGES)
def words(request):
    return Words(request.param)


@pytest.fixture
def panel(atelier, words):
    """The panel's handlers over one form."""
    # A known pace: looking at pictures then measures nothing.
    atelier.trainings.paces.put(atelier.host.model, TrainOptions(images="x", name="x"), 0.5)
    with compat.gr.Blocks():
        widgets = OptionForm(words, usual_values("character", model=POCKET))
    form, pieces = Form(atelier, words, widgets), Pieces(atelier)
    return SimpleNamespace(
        form=form,
        pieces=pieces,
        intake=Intake(atelier, words),
        tools=CaptionTools(atelier, words),
        orders=Orders(atelier, words, form, pieces),
    )


def raw(**changes):
    usual = {name: to_widget(name, value) for name, value in usual_values("character", model=POCKET).items()}
    return [{**usual, **changes}[name] for name in NAMES]


def looked(panel, folder):
    return list(panel.intake.look(str(folder), "character", 0))[-1]


def wait(what, seconds=180.0):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    assert what()


def test_the_panel_builds_in_both_languages(atelier):
    for language in LANGUAGES:
        with compat.gr.Blocks() as page:
            panel = build(atelier, Words(language))
        assert panel.used is not None
        assert len(page.blocks) > len(NAMES)
        for name in (RUN, SAMPLES, LIST):
            atelier.live.html(name, Words(language))


def test_looking_tells_what_was_found_and_what_is_wrong(panel, folder, words):
    message, found, summary, gallery, tags = looked(panel, folder)
    assert message == ""
    assert len(found.pictures) == len(gallery) == 3
    assert words("train.n_found", n=3) in summary
    assert words("train.n_problems", n=1) in summary
    assert "broken.png" in summary
    assert "sky 3" in tags


@pytest.mark.parametrize("place", ["", "nowhere", "empty"])
def test_a_folder_without_pictures_is_told_in_words(panel, tmp_path, words, place):
    (tmp_path / "empty").mkdir()
    message, found, *_ = looked(panel, tmp_path / place if place else "")
    assert "atelier-error" in message
    assert found is None
    if words.language == "ja":
        assert re.search("[ぁ-ん]", message)


def test_a_listening_server_looks_only_into_its_own_folders(studio, tmp_path, folder, words):
    atelier = Atelier(studio, Folders.under(tmp_path / "data", confined=True))
    message, found, *_ = list(Intake(atelier, words).look(str(folder), "character", 0))[-1]
    assert "atelier-error" in message
    assert found is None


def test_the_plan_names_steps_time_and_memory_and_follows_the_form(panel, folder, words):
    found = looked(panel, folder)[1]
    plan, changes, steps, name, usual, marked, *_ = panel.form.refresh(
        found, "krnk", "character", STEPS, "lora_v1", {"name": "lora_v1", "steps": STEPS}, [], *raw()
    )
    assert words("train.about_steps", n=STEPS) in plan
    assert usual["name"] == "krnk_v1"
    assert usual["sample_prompts"] == ["krnk, sky", "krnk"]
    assert name["value"] == "krnk_v1"
    # The second look changes nothing more: what was computed stands there.
    values = {"sample_prompts": "krnk, sky\nkrnk"}
    again = panel.form.refresh(found, "krnk", "character", STEPS, "krnk_v1", usual, marked, *raw(**values))
    assert (again[1], again[5]) == ("", [])


def test_a_changed_value_is_marked_and_returns(panel, folder, words):
    found = looked(panel, folder)[1]
    start = panel.form.refresh(found, "", "character", STEPS, "lora_v1", {}, [], *raw())
    usual = start[4]
    row = panel.form.refresh(found, "", "character", STEPS, "lora_v1", usual, [], *raw(dim=32))
    assert row[5] == ["dim"]
    assert words("train.changed") in row[6 + NAMES.index("dim")]["label"]
    assert "reset dim" in row[1]
    assert panel.orders.do("reset dim\n1", usual).values == {"dim": 16}
    back = panel.form.refresh(found, "", "character", STEPS, "lora_v1", usual, ["dim"], *raw())
    assert words("train.changed") not in back[6 + NAMES.index("dim")]["label"]


def test_another_kind_moves_what_nobody_changed(panel, folder):
    found = looked(panel, folder)[1]
    usual = panel.form.refresh(found, "", "character", STEPS, "lora_v1", {}, [], *raw())[4]
    row = panel.form.refresh(found, "", "concept", STEPS, "lora_v1", usual, [], *raw(alpha=8.0))
    options = dict(zip(NAMES, row[6:], strict=True))
    assert options["shuffle_caption"]["value"] is True
    assert "value" not in options["alpha"]
    assert row[5] == ["alpha"]


def test_the_plan_fits_the_small_model_and_says_so(panel, atelier, folder, words):
    assert facts_of(atelier.host.model) == POCKET
    found = looked(panel, folder)[1]
    plan = panel.form.refresh(found, "krnk", "character", STEPS, "lora_v1", {}, [], *raw())[0]
    said = words("train.small_model", side=128, network="locon", batch=8, steps=STEPS)
    assert said in plan
    assert "batch: 8" in plan or "バッチ 8" in plan


def test_train_starts_the_untouched_recipe_of_the_small_model(panel, atelier, folder):
    found = looked(panel, folder)[1]
    row = panel.form.refresh(found, "krnk", "character", STEPS, "krnk_v1", {}, [], *raw())
    assert row[5] == ["sample_prompts"]  # nobody had seen the captions before
    atelier.queue.submit("wait", "wait", lambda job: wait(lambda: job.stopped))
    try:
        panel.form.train(found, "krnk", "character", STEPS, "krnk_v1", row[4], *raw())
        options = RunFolder(atelier.folders.runs / "krnk_v1").options()
        assert {name: getattr(options, name) for name in SMALL} == dict(SMALL)
        assert (options.steps, options.min_snr_gamma) == (0, "auto")
    finally:
        atelier.trainings.remove("krnk_v1")
        atelier.queue.running.stop()


def test_another_optimizer_brings_its_own_rate(panel, folder):
    found = looked(panel, folder)[1]
    usual = panel.form.refresh(found, "", "character", STEPS, "lora_v1", {}, [], *raw())[4]
    row = panel.form.refresh(found, "", "character", STEPS, "lora_v1", usual, [], *raw(optimizer="AdamW"))
    options = dict(zip(NAMES, row[6:], strict=True))
    assert options["learning_rate"]["value"] == OPTIMIZERS["AdamW"].small_rate
    assert options["optimizer_args"]["value"] == ""
    assert row[5] == ["optimizer"]
    assert "atelier-error" not in row[0]


def test_a_missing_optimizer_is_told_by_the_plan_which_offers_the_recipe_with_adamw(
    panel, atelier, folder, words, monkeypatch
):
    monkeypatch.setitem(sys.modules, "dadaptation", None)
    first = panel.form.refresh(None, "", "character", STEPS, "lora_v1", {}, [], *raw())[0]
    assert "dadaptation" in first
    atelier.trainings.paces = Paces(folder.parent / "no paces.json")  # so that looking measures a few steps
    answers = list(panel.intake.look(str(folder), "character", 0))
    assert not any("dadaptation" in str(answer[0]) for answer in answers)
    found = next(answer[1] for answer in reversed(answers) if hasattr(answer[1], "scan"))
    plan, usual = (panel.form.refresh(found, "", "character", STEPS, "x", {}, [], *raw())[n] for n in (0, 4))
    assert words("train.about_steps", n=STEPS).split(" ")[0] in plan
    assert "dadaptation" in plan
    assert act_button("instead", words("train.use_adamw"), title=words("train.use_adamw_title")) in plan
    values = panel.orders.do("instead", usual).values
    after = panel.form.refresh(found, "", "character", STEPS, "x", usual, [], *raw(**values))[0]
    assert "dadaptation" not in after
    assert "atelier-error" not in after


def test_a_wrong_value_is_told_where_the_plan_stands(panel, folder):
    found = looked(panel, folder)[1]
    row = panel.form.refresh(found, "", "character", STEPS, "lora_v1", {}, [], *raw(learning_rate=0.0001))
    assert "atelier-error" in row[0]


def test_a_run_from_click_to_report(panel, atelier, folder, words):
    found = looked(panel, folder)[1]
    arguments = (found, "krnk", "character", 3, "krnk_v1", {}, *raw(**CHEAP))
    assert "atelier-good" in panel.form.train(*arguments)
    assert "atelier-error" in panel.form.train(*arguments)  # the name is taken
    wait(lambda: atelier.trainings.find("krnk_v1").report is not None)
    view = atelier.trainings.find("krnk_v1")
    assert view.state == "done"
    assert (atelier.folders.loras / "krnk_v1.safetensors").is_file()
    card, samples, listed = (atelier.live.html(name, words)[1] for name in (RUN, SAMPLES, LIST))
    assert words("train.state_done") in card
    assert "<svg" in card
    assert samples.count("<img") == 2  # before and at the end
    assert "again krnk_v1" in listed
    page = view.report.read_text(encoding="utf-8")
    assert words("train.report_title", name="krnk_v1") in page
    assert "data:image/png" in page
    used = panel.orders.do("use krnk_v1\n1", {})
    assert tag_of(used.used) == "krnk, <lora:krnk_v1:1>"
    assert "krnk_v1.safetensors" in panel.orders.do("open krnk_v1\n1", {}).opened
    filled = panel.orders.do("again krnk_v1\n1", {}).values
    assert (filled["folder"], filled["trigger"], filled["steps"], filled["dim"]) == (str(folder), "krnk", 3, 2)
    assert free_name(atelier, "krnk") == "krnk_v2"


def test_pause_resume_and_stop_by_the_drawn_buttons(panel, atelier, folder, words):
    found = looked(panel, folder)[1]
    panel.form.train(found, "krnk", "character", 2000, "krnk_v1", {}, *raw(**{**CHEAP, "sample_prompts": ""}))
    wait(lambda: atelier.trainings.find("krnk_v1").step >= 2)
    assert 'data-act="pause krnk_v1"' in panel.pieces.run(words)
    panel.orders.do("pause krnk_v1\n1", {})
    wait(lambda: atelier.trainings.find("krnk_v1").state == "paused")
    assert 'data-act="resume krnk_v1"' in panel.pieces.run(words)
    panel.orders.do("resume krnk_v1\n2", {})
    wait(lambda: atelier.trainings.find("krnk_v1").state == "running")
    panel.orders.do("stop krnk_v1\n3", {})
    wait(lambda: atelier.trainings.find("krnk_v1").state == "stopped")
    assert list(atelier.folders.loras.glob("krnk_v1-step*.safetensors"))


def test_an_interrupted_run_shows_one_click_to_resume(panel, atelier, folder, words):
    options = TrainOptions(images=str(folder), name="cut")
    run = RunFolder.create(atelier.folders.runs / "cut", options)
    run.save_json("status.json", {"state": "running", "total": 20})
    assert words("train.state_interrupted") in panel.pieces.run(words)
    assert 'data-act="resume cut"' in panel.pieces.run(words)


def test_a_run_that_waits_for_the_model_says_so_with_and_without_steps(panel, tmp_path, words):
    waits = words("train.waits_for_model")
    new = RunView("new", RUNNING, tmp_path, doing=WAIT)
    assert waits in panel.pieces.card(new, words)
    assert waits not in panel.pieces.card(replace(new, doing=PREPARE), words)
    in_the_middle = replace(new, step=5, total=20)
    assert words("train.step_of", step="5", total="20") in panel.pieces.card(in_the_middle, words)
    assert waits in panel.pieces.card(in_the_middle, words)


def test_captions_change_and_come_back(panel, folder, words):
    found = looked(panel, folder)[1]
    opened, text = panel.tools.pick(found, 1)
    assert (opened.picture, opened.text, text) == (folder / "1.png", "sky, tag1", "sky, tag1")
    assert "atelier-good" in panel.tools.save(found, opened, "sea")
    assert "atelier-good" in panel.tools.tag("add", found, "", "new")
    assert "atelier-good" in panel.tools.tag("replace", found, "", "sky", "cloud")
    found = panel.intake.again(found, "character", 0)[0]
    assert list(found.captions.values()) == ["cloud, tag0, new", "sea, new", "cloud, tag2, new"]
    for _ in range(3):
        assert "atelier-good" in panel.tools.undo(found)
    found = panel.intake.again(found, "character", 0)[0]
    assert list(found.captions.values()) == ["sky, tag0", "sky, tag1", "sky, tag2"]
    for message in (panel.tools.undo(found), panel.tools.tag("add", None, "", "x"), panel.tools.save(found, None, "x")):
        assert "atelier-error" in message


def test_dropped_files_come_into_a_folder_of_their_own(panel, atelier, folder):
    dropped = [str(path) for path in sorted(folder.glob("*")) if path.suffix == ".txt" or path.stem != "broken"]
    message, place, _ = panel.intake.take(dropped, "", "krnk")
    assert place == str(atelier.folders.pictures / "krnk")
    assert sorted(path.name for path in (atelier.folders.pictures / "krnk").iterdir()) == [
        *(f"{n}.{ending}" for n in range(3) for ending in ("png", "txt"))
    ]
    message, again, _ = panel.intake.take(dropped[:1], place, "krnk")
    assert again == place
    assert "atelier-good" in message or "atelier-error" in message


def test_orders_are_read_whole_and_unknown_ones_do_nothing(panel):
    html = act_button('tag a "b" <c>', "x")
    assert "<c>" not in html
    assert read_act('tag a "b" <c>\n17') == ("tag", 'a "b" <c>')
    assert panel.orders.do("nonsense x\n1", {}).message is None
    assert "atelier-error" in panel.orders.do("resume ../x\n1", {}).message


def test_the_folder_of_the_last_visit_is_looked_at_when_the_page_opens(panel, atelier, folder, words):
    assert [list(one) for one in panel.intake.resume()] == [[compat.update()] * 5]
    atelier.settings.put("train.folder", str(folder))
    message, found, summary, gallery, _ = list(panel.intake.resume())[-1]
    assert (message, len(found.pictures), len(gallery)) == ("", 3, 3)
    assert words("train.n_found", n=3) in summary
    assert not atelier.queue.jobs()  # the model is left in peace


def test_a_folder_that_is_gone_is_said_calmly(panel, atelier, tmp_path, words):
    atelier.settings.put("train.folder", str(tmp_path / "gone"))
    message, found, *_ = list(panel.intake.resume())[-1]
    assert words("train.folder_gone", folder=tmp_path / "gone") in message
    assert "atelier-error" not in message
    assert found is None


def test_a_remembered_folder_that_may_not_be_shown_is_left_alone(studio, tmp_path, folder, words):
    atelier = Atelier(studio, Folders.under(tmp_path / "data", confined=True))
    atelier.settings.put("train.folder", str(folder))
    assert [list(one) for one in Intake(atelier, words).resume()] == [[compat.update()] * 5]


@pytest.mark.parametrize(
    ("also", "caption"),
    [
        ([], "krnk, from horizontal, from front, upper body, standing, straight standing, looking at viewer"),
        (
            ["black background", "smile"],
            "krnk, black background, from horizontal, from front, upper body, standing, "
            "straight standing, looking at viewer, smile",
        ),
    ],
)
def test_tags_from_names_write_no_background_that_nobody_ticked(panel, tmp_path, also, caption):
    (tmp_path / "named").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "named" / "f00.png")
    found = looked(panel, tmp_path / "named")[1]
    assert "atelier-good" in panel.tools.rule(found, "", "krnk", also)
    assert (tmp_path / "named" / "f00.txt").read_text(encoding="utf-8").strip() == caption


def test_the_choice_of_tags_begins_without_a_background(words):
    with compat.gr.Blocks():
        offered = rule_widgets(words).also
    assert not set(offered.value) & set(BACKGROUNDS)
    assert set(BACKGROUNDS) <= {choice[0] if isinstance(choice, tuple) else choice for choice in offered.choices}


def test_a_fresh_page_takes_nothing_for_somebodys_choice(panel, atelier, folder, words):
    """What the widgets show before anybody looked is usual, also where a run of the first name is there already."""
    RunFolder.create(atelier.folders.runs / "lora_v1", TrainOptions(images=str(folder), name="lora_v1"))
    with compat.gr.Blocks() as page:
        build(atelier, words)
    states = [block.value for block in page.blocks.values() if isinstance(block, compat.gr.State)]
    (first,) = [value for value in states if isinstance(value, dict) and "optimizer" in value]
    found = looked(panel, folder)[1]
    shown = panel.form.refresh(found, "krnk", "character", first["steps"], first["name"], first, [], *raw())
    assert shown[3]["value"] == "krnk_v1"
    assert shown[5] == []
    assert shown[1] == ""


def test_the_folder_of_the_last_visit_gives_way_to_one_that_was_asked_for(panel, atelier, folder, tmp_path):
    atelier.settings.put("train.folder", str(folder))
    (tmp_path / "empty").mkdir()
    old = panel.intake.resume("somebody")
    next(old)
    said = list(panel.intake.look(str(tmp_path / "empty"), "character", 0, "somebody"))[-1]
    assert "atelier-error" in said[0]
    assert {tuple(map(str, row)) for row in old} == {(str(compat.update()),) * 5}
    assert list(panel.intake.resume("another"))[-1][1] is not None  # another page is not meant
