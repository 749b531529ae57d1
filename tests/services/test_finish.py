"""A finished run's file to hand on: the same numbers whichever door it came through, and the run's own file stays."""

from __future__ import annotations

import json
import threading
from html import escape
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lib_lora.blocks.presets import PresetFile
from lib_lora.cli.main import main
from lib_lora.errors import FileError, InputError
from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.i18n.words import Words
from lib_lora.live.attach import attach
from lib_lora.sentences import say
from lib_lora.services import merge
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.finish import FinishOptions, finish, lora_of, offers
from lib_lora.services.jobs.run_state import STATUS
from lib_lora.services.run_report import run_report
from lib_lora.train.options import from_mapping
from lib_lora.train.run_folder import RunFolder
from lib_lora.ui.messages import note_html
from lib_lora.ui.train import orders as orders_module
from lib_lora.ui.train.orders import Orders
from lib_lora.ui.train.pieces import Pieces
from lib_lora.web.api import add_api


@pytest.fixture
def atelier(studio, tmp_path, lora):
    """A studio's folders with one finished run, whose LoRA is in the list."""
    made = Atelier(studio, Folders.under(tmp_path / "data"))
    options = from_mapping({"images": "x", "name": "krnk", "trigger": "krnk", "dim": 16, "network": "lora"}, where="t")
    folder = RunFolder.create(made.folders.runs / "krnk", options)
    write_lora(LoraFile(lora.adapters), folder.path / "krnk.safetensors")
    write_lora(LoraFile(lora.adapters), made.folders.loras / "krnk.safetensors")
    row = {"state": "done", "total": 4, "lora": str(made.folders.loras / "krnk.safetensors")}
    (folder.path / STATUS).write_text(json.dumps(row), encoding="utf-8")
    return made


def test_what_is_offered_fits_the_run(atelier, studio, tmp_path):
    view = atelier.trainings.find("krnk")
    options = RunFolder(view.folder).options()
    assert [one.text for one in offers(options, view.lora, studio.presets)] == ["FACE", "BODY", "ALL@4"]
    small = from_mapping({**options.to_dict(), "dim": 4}, where="t")
    (tmp_path / "presets.txt").write_text("MINE:1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1\n", encoding="utf-8")
    assert offers(small, view.lora, PresetFile.load(tmp_path / "presets.txt")) == ()


def test_a_face_is_baked_and_the_runs_own_file_stays(atelier, studio):
    before = (atelier.folders.loras / "krnk.safetensors").read_bytes()
    job, target = finish(atelier, "krnk", FinishOptions("FACE"))
    assert job.wait(60)
    assert target.name == "krnk_1_FACE.safetensors"
    assert (atelier.folders.loras / "krnk.safetensors").read_bytes() == before
    baked, blocks = read_lora(target), read_lora(atelier.folders.loras / "krnk.safetensors").blocks()
    weights = studio.presets.resolve("FACE", "sd1").as_dict()
    assert set(baked.blocks()) == {block for block in blocks if weights.get(block, 1.0)}
    assert job.result["lora"] == "krnk_1_FACE"
    with attach(studio.model, baked):
        pass  # every module fits the model
    with pytest.raises(FileError, match="exists"):
        finish(atelier, "krnk", FinishOptions("FACE"), out="krnk_1_FACE")


def test_both_at_once(atelier):
    job, target = finish(atelier, "krnk", FinishOptions("BODY", 2), out="small")
    assert job.wait(60)
    assert {adapter.rank for adapter in read_lora(target).adapters.values()} == {2}


@pytest.mark.parametrize(("order", "what"), [({}, "Nothing is to be done"), ({"dim": -1}, "out of range")])
def test_what_cannot_be_is_refused(order, what):
    with pytest.raises(InputError, match=what):
        FinishOptions(**order)


def test_a_wrong_preset_or_run_is_told_before_the_work(atelier):
    with pytest.raises(InputError, match="FACES"):
        finish(atelier, "krnk", FinishOptions("FACES"))
    with pytest.raises(InputError, match="no run"):
        finish(atelier, "nobody", FinishOptions("FACE"))


def test_what_was_made_of_a_run_is_not_taken_for_its_own(atelier, lora):
    """A run that was stopped has no file of its plain name; what lies beside its files is newer than they are."""
    run = atelier.folders.runs / "krnk"
    (run / "krnk.safetensors").rename(run / "krnk-step00000004.safetensors")
    (atelier.folders.loras / "krnk.safetensors").unlink()
    for blocks in ("FACE", "BODY"):
        assert main(["finish", str(run), "--blocks", blocks]) == 0
    made = {path.name for path in run.glob("*.safetensors")} - {"krnk-step00000004.safetensors"}
    assert made == {f"krnk-step00000004_1_{blocks}.safetensors" for blocks in ("FACE", "BODY")}
    assert lora_of(run).name == "krnk-step00000004.safetensors"
    assert atelier.trainings.lora_of("krnk").name == "krnk-step00000004.safetensors"
    assert any("<lora:krnk-step00000004:1>" in line for line in _lines(run_report(RunFolder(run), "en")))
    chosen = atelier.trainings.lora_of("krnk", "krnk-step00000004_1_FACE.safetensors")  # one that was asked for by name
    assert chosen.stem == "krnk-step00000004_1_FACE"
    write_lora(LoraFile(lora.adapters), run / "krnk-000002.safetensors")
    assert [path.stem for path in RunFolder(run).own_loras()] == ["krnk-step00000004", "krnk-000002"]


def test_a_folder_without_a_run_has_no_file_to_hand_on(tmp_path, lora):
    write_lora(lora, tmp_path / "some.safetensors")
    with pytest.raises(InputError, match="no run"):
        lora_of(tmp_path)


@pytest.fixture
def dora(atelier, model, lora):
    """The run's folder, whose file is a DoRA now."""
    keys = [key for key in lora.adapters if "unet" in key][:6]
    made = {key: DoraAdapter.around(lora.adapters[key], model.layers[key].weight.detach()) for key in keys}
    run = atelier.folders.runs / "krnk"
    for folder in (run, atelier.folders.loras):
        write_lora(LoraFile(made), folder / "krnk.safetensors", overwrite=True)
    return run


def test_what_needs_the_model_is_offered_only_where_it_is_at_hand(atelier, dora, studio, tmp_path):
    options, file = RunFolder(dora).options(), dora / "krnk.safetensors"
    own = offers(options, file, studio.presets, studio.model)
    assert [one.text for one in own] == ["FACE", "BODY", "ALL@4"]
    job, _ = finish(atelier, "krnk", FinishOptions("ALL", 2), out="small")
    assert job.wait(60)
    assert job.error is None
    foreign = SimpleNamespace(family="sd1", layers=studio.model.layers, own_weights=False)  # a WebUI's
    for other in (foreign, None):
        assert [one.text for one in offers(options, file, studio.presets, other)] == ["FACE", "BODY"]
    assert main(["finish", str(dora), "--blocks", "FACE"]) == 0
    assert main(["finish", str(dora), "--dim", "2"]) == 2
    halves = ",".join(["0.5"] * 17)
    (tmp_path / "presets.txt").write_text(f"FACE:{halves}\n", encoding="utf-8")
    assert offers(options, file, PresetFile.load(tmp_path / "presets.txt"), foreign) == ()


def test_the_report_names_the_model_where_it_is_needed(atelier, dora):
    RunFolder(dora).save_json("data.json", {"model": {"name": "anime", "native_side": 512, "prediction_type": "x"}})
    lines = [line for line in _lines(run_report(RunFolder(dora), "en")) if " finish " in line]
    assert [line for line in lines if "--dim 4" in line][0].endswith('--dim 4 --base "anime.safetensors"')


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_runs_card_offers_it_and_a_click_makes_it(atelier, language):
    words = Words(language)
    pieces = Pieces(atelier)
    html = pieces.card(atelier.trainings.find("krnk"), words)
    for order in ("finish krnk/FACE", "finish krnk/BODY", "finish krnk/ALL@4"):
        assert order in html
    assert words("train.finish_dim", n=4) in html
    orders = Orders(atelier, words, SimpleNamespace(), pieces)
    answer = orders.do("finish krnk/ALL@4", {})
    assert "krnk_1_r4.safetensors" in answer.message
    assert atelier.files.jobs("finish")[-1].wait(60)
    assert (atelier.folders.loras / "krnk_1_r4.safetensors").is_file()
    assert "atelier-error" in orders.do("finish krnk/NOBODY", {}).message
    html = run_report(RunFolder(atelier.folders.runs / "krnk"), language)
    assert any("finish" in line and "--blocks FACE" in line for line in _lines(html))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_click_waits_for_no_file_and_the_card_tells_what_became_of_it(atelier, monkeypatch, language):
    """The page carries out one click at a time: what takes long is shown on the run's card."""
    words, go = Words(language), threading.Event()
    write = merge.write

    def slow(*arguments, progress, **more):
        progress.passed(1, 2, say("compressing"))
        assert go.wait(60)
        progress.passed(1, 2, say("compressing"))
        return write(*arguments, progress=progress, **more)

    monkeypatch.setattr(merge, "write", slow)
    monkeypatch.setattr(orders_module, "SOON", 0.01)
    pieces = Pieces(atelier)
    orders = Orders(atelier, words, SimpleNamespace(), pieces)

    def card():
        return pieces.card(atelier.trainings.find("krnk"), words)

    def clicked(order):
        said = orders.do(order, {}).message
        return said, atelier.files.jobs("finish")[-1]

    said, job = clicked("finish krnk/FACE")
    assert said == note_html(words("train.finish_later", file="krnk_1_FACE.safetensors", name=""), kind="good")
    assert f"halt {job.number}" in card()
    orders.do(f"halt {job.number}", {})
    go.set()
    assert job.wait(60)
    assert words("train.finish_stopped", file="krnk_1_FACE.safetensors") in card()
    assert not (atelier.folders.loras / "krnk_1_FACE.safetensors").exists()
    _, job = clicked("finish krnk/FACE")
    assert job.wait(60)
    assert escape(words("train.finish_done", file="krnk_1_FACE.safetensors", name="krnk_1_FACE")) in card()
    monkeypatch.setattr(merge, "write", lambda *_, **__: (_ for _ in ()).throw(FileError("The disk is full")))
    _, job = clicked("finish krnk/BODY")
    assert job.wait(60)
    assert "atelier-error" in card()


def _lines(report):
    return [line for section in report.sections for line in getattr(section, "commands", ())]


def test_over_http_and_in_the_terminal_it_is_the_same(atelier, capsys):
    app = FastAPI()
    add_api(app, atelier)
    client = TestClient(app)
    answer = client.post("/lora-atelier/v1/train/krnk/finish", json={"blocks": "FACE", "out": "web"})
    assert (answer.status_code, answer.json()["lora"]) == (202, "web")
    assert next(job for job in atelier.files.jobs() if job.number == answer.json()["job"]).wait(60)
    assert client.get(f"/lora-atelier/v1/jobs/{answer.json()['job']}/result").json()["result"]["lora"] == "web"
    refused = client.post("/lora-atelier/v1/train/krnk/finish", json={})
    assert (refused.status_code, refused.json()["where"]) == (400, "blocks, dim")
    run = atelier.folders.runs / "krnk"
    assert main(["finish", str(run), "--blocks", "FACE", "--json"]) == 0
    saved = run / "krnk_1_FACE.safetensors"
    assert saved.is_file()
    capsys.readouterr()
    web, ours = read_lora(atelier.folders.loras / "web.safetensors"), read_lora(saved)
    assert web.adapters.keys() == ours.adapters.keys()
    assert main(["finish", str(run), "--blocks", "FACE"]) == 1  # it is there
    assert main(["finish", str(run)]) == 2
    assert "blocks, dim" in capsys.readouterr().err
    assert lora_of(run).name == "krnk.safetensors"
