"""The API on prompts and files: the same work as in the panels, every refusal in words, nothing outside its folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import Job
from lib_lora.web.api.shared import job_row

from .conftest import Web, refused

# -- prompts -------------------------------------------------------------------------------------------------------


def test_resolve_gives_every_block_of_a_preset_its_number(web: Web) -> None:
    found = web.post("/resolve", {"prompt": "girl <lora:girl:0.8:MIDD>, smile"}).json()
    (tag,) = found["tags"]
    assert (found["prompt"], found["problems"]) == ("girl , smile", [])
    assert (tag["te"], tag["unet"]) == (0.8, 0.8)
    assert tag["weights"]["M00"] == 1.0
    assert tag["weights"]["OUT11"] == 0.0
    assert tag["multipliers"]["M00"] == 0.8
    again = web.post("/resolve", {"prompt": tag["written"]}).json()["tags"][0]
    assert again["weights"] == tag["weights"]


def test_resolve_tells_strengths_over_the_steps_and_of_the_hires_pass(web: Web) -> None:
    body = {"prompt": "<lora:girl:0.5:[0@0,1@0.5]:hr=0.25> <lora:girl:1>"}
    over, plain = web.post("/resolve", body).json()["tags"]
    assert (over["frames"], over["hires"]) == ("0@0,1@0.5", {"te": 0.25, "unet": 0.25, "frames": None})
    assert (plain["frames"], plain["hires"]) == (None, None)


def test_one_bad_tag_names_itself_and_harms_no_other(web: Web) -> None:
    prompt = "<lora:girl:1:MIDDL> <lora:girl:1:ALL> <lora:nobody:1>"
    found = web.post("/resolve", {"prompt": prompt}).json()
    assert [tag["tag"] for tag in found["tags"]] == ["<lora:girl:1:ALL>", "<lora:nobody:1>"]
    assert [problem["tag"] for problem in found["problems"]] == ["<lora:girl:1:MIDDL>", "<lora:nobody:1>"]
    assert "MIDD" in found["problems"][0]["cure"]


def test_problems_are_told_in_the_language_of_whoever_asks(web: Web) -> None:
    body = {"prompt": "<lora:girl:1:MIDDL>"}
    english = web.post("/resolve", body).json()["problems"][0]["what"]
    japanese = web.post("/resolve", body, headers={"Accept-Language": "ja"}).json()["problems"][0]["what"]
    assert english.isascii() or "“" in english
    assert any("\u3040" <= char <= "\u30ff" for char in japanese)


def test_saved_preset_is_listed_and_used_and_the_old_file_is_kept(web: Web, atelier: Atelier) -> None:
    values = ",".join(["0.5"] * 26)
    listed = web.post("/presets", {"name": "HALF", "values": values}).json()
    assert "HALF" in [row["name"] for row in listed["presets"]]
    tag = web.post("/resolve", {"prompt": "<lora:girl:1:HALF>"}).json()["tags"][0]
    assert set(tag["weights"].values()) == {0.5}
    refused(web.post("/presets", {"name": "HALF", "values": values}), 400)
    web.post("/presets", {"name": "HALF", "values": values.replace("0.5", "0.25"), "replace": True})
    assert (atelier.folders.data / "lbwpresets.txt.bak1").is_file()
    assert web.get("/presets").json()["text"] == (atelier.folders.data / "lbwpresets.txt").read_text("utf-8")


def test_values_of_a_preset_are_listed_however_its_line_is_written(web: Web) -> None:
    text = f"顔：{'１、' * 24}X+0.2、U\n"
    row = web.post("/presets", {"text": text}).json()["presets"][0]
    assert (row["name"], row["values"]) == ("顔", "1," * 24 + "X+0.2,U")


def test_broken_preset_text_is_refused_and_nothing_is_written(web: Web, atelier: Atelier) -> None:
    before = web.get("/presets").json()["text"]
    refused(web.post("/presets", {"text": "GOOD:" + ",".join("1" * 17) + "\nBAD:1,2"}), 400)
    refused(web.post("/presets", {"text": ""}), 400)
    refused(web.post("/presets", {"name": "A:B", "values": "1"}), 400)
    refused(web.post("/presets", {"name": "A"}), 400)
    assert web.get("/presets").json()["text"] == before
    assert not (atelier.folders.data / "lbwpresets.txt").exists()


# -- files ---------------------------------------------------------------------------------------------------------


def test_baked_file_equals_the_one_that_the_terminal_makes(web: Web, atelier: Atelier, tmp_path: Path) -> None:
    from lib_lora.cli.main import main

    body = {"loras": [{"lora": "girl", "strength": 0.8, "blocks": "MIDD"}], "out": "girl_mid"}
    made = web.result(web.post("/bake", body))
    command = ["bake", str(atelier.folders.loras / "girl.safetensors"), "--weights", "MIDD", "--te", "0.8"]
    assert main([*command, "--unet", "0.8", "--out", str(tmp_path / "cli.safetensors"), "--json"]) == 0
    ours, theirs = (
        read_lora(path) for path in (atelier.folders.loras / "girl_mid.safetensors", tmp_path / "cli.safetensors")
    )
    assert made["lora"] == "girl_mid"
    assert ours.adapters.keys() == theirs.adapters.keys()
    for key, adapter in ours.adapters.items():
        assert bool((adapter.up == theirs.adapters[key].up).all())
    assert "girl_mid" in web.get("/loras").json()["loras"]


def test_the_job_says_in_the_callers_language_what_is_being_done(web: Web, atelier: Atelier, monkeypatch) -> None:
    said: dict[str, list[str]] = {"en": [], "ja": []}
    update = Job.update

    def asked(job: Job, done: int, total: int, text: str = "") -> None:
        update(job, done, total, text)
        for language, words in said.items():
            words.append(job_row(atelier, job, language)["doing"])

    monkeypatch.setattr(Job, "update", asked)
    body = {"loras": ["girl", "girl"], "precision": "bf16", "compress": {"kind": "rank", "value": 2}, "out": "two"}
    web.result(web.post("/bake", body))
    assert list(dict.fromkeys(said["en"])) == ["reading", "comparing", "adding", "converting", "saving"]
    words = ["読み込み中", "比較中", "合計中", "精度を変換中", "保存中"]
    assert list(dict.fromkeys(said["ja"])) == words


def test_sum_with_a_rank_reports_its_error_by_block(web: Web) -> None:
    body = {
        "loras": ["girl", {"lora": "girl", "strength": 0.5}],
        "compress": {"kind": "rank", "value": 2},
        "out": "two",
    }
    made = web.result(web.post("/bake", body))
    assert all(row["rank_after"] <= 2 for row in made["blocks"].values())
    assert any(row["relative_error"] > 0 for row in made["blocks"].values())


@pytest.mark.parametrize("method", ["ties", "dare", "k_lora", "project"])
def test_other_methods_are_looked_at_before_anything_is_written(web: Web, atelier: Atelier, method: str) -> None:
    before = sorted(atelier.folders.loras.iterdir())
    made = web.result(web.post("/bake", {"loras": ["girl", "girl:0.5:MIDD"], "method": method, "preview": True}))
    assert sorted(atelier.folders.loras.iterdir()) == before
    (overlap,) = made["overlaps"]
    assert overlap["loras"] == ["girl", "girl"]
    assert overlap["blocks"]["M00"] == pytest.approx(1.0)
    assert ("taken" in made, "removed" in made) == (method == "k_lora", method == "project")
    assert made["bytes"] == made["bytes_after"] > 0


def test_a_prompts_tags_become_a_file_each_and_what_is_lost_is_said(web: Web, atelier: Atelier) -> None:
    body = {"prompt": "<lora:girl:1:MIDD> x <lora:girl:0.5:stop=3>", "each": True}
    for language, said in (("en", "a file cannot hold stop"), ("ja", "ファイルに保存できない")):
        answer = web.post("/bake", {**body, "overwrite": True}, headers={"Accept-Language": language})
        assert answer.json()["loras"] == ["girl_1_MIDD", "girl_0.5"]
        made = web.result(answer)
        assert [row["lora"] for row in made["files"]] == answer.json()["loras"]
        assert said in made["notes"][0]
    assert {"girl_1_MIDD", "girl_0.5"} <= set(web.get("/loras").json()["loras"])
    refused(web.post("/bake", body), 409)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"loras": ["girl:1:FAC", "girl"], "each": True, "out": "x"}, 400),
        ({"prompt": "no tag"}, 400),
        ({"loras": ["../girl:1"]}, 400),
        ({"prompt": "<lora:/etc/girl.safetensors:1>"}, 400),
        ({"loras": ["girl", "girl"], "method": "mean"}, 400),
        ({"loras": ["girl", "girl"], "seed": 3}, 400),
        ({"loras": ["girl"], "method": "k_lora"}, 400),
        ({"loras": ["nobody"]}, 404),
        ({"loras": []}, 400),
        ({"loras": ["girl"], "out": "../evil"}, 400),
        ({"loras": ["girl"], "out": "/etc/evil"}, 400),
        ({"loras": ["girl"], "out": "evil\u0000"}, 400),
        ({"loras": ["../../girl"]}, 404),
        ({"loras": ["girl"], "out": "girl"}, 409),
        ({"loras": ["girl"], "out": "girl", "overwrite": True}, 400),
        ({"loras": [{"lora": "girl", "strenght": 1}]}, 400),
        ({"loras": [{"lora": "girl", "strength": "much"}]}, 400),
        ({"loras": [{"lora": "girl", "strength": 1e300}]}, 400),
        ({"loras": ["girl"], "compress": {"kind": "rank", "value": 0.5}}, 400),
        ({"loras": ["girl"], "precision": "fp8"}, 400),
        ({"loras": "girl"}, 400),
    ],
)
def test_impossible_bake_is_refused_before_any_work(web: Web, atelier: Atelier, body: dict, status: int) -> None:
    before = sorted(atelier.folders.loras.iterdir())
    refused(web.post("/bake", body), status)
    assert sorted(atelier.folders.loras.iterdir()) == before
    assert atelier.files.jobs() == []


def test_inspect_says_what_is_in_a_file(web: Web, lora) -> None:
    found = web.get("/inspect", params={"lora": "girl"}).json()
    assert (found["family"], found["kinds"], found["modules"]) == ("sd1", ["lora"], len(lora.adapters))
    assert found["hash"]["agrees"]
    assert found["blocks"]["IN01"]["highest_rank"] == 4
    assert "girl" in refused(web.get("/inspect", params={"lora": "gril"}), 404)["cure"]
    refused(web.get("/inspect"), 400)


def test_label_shows_then_writes_with_a_backup_and_leaves_the_tensors(web: Web, atelier: Atelier) -> None:
    path = atelier.folders.loras / "girl.safetensors"
    before = web.get("/inspect", params={"lora": "girl"}).json()["hash"]["computed"]
    body = {"lora": "girl", "fields": {"title": "女の子", "trigger_words": "krnk"}}
    planned = web.post("/label", {**body, "preview": True}).json()["changes"]
    assert not path.with_name("girl.safetensors.bak1").exists()
    written = web.post("/label", body).json()
    assert written["changes"] == planned
    assert written["fields"]["title"] == "女の子"
    assert path.with_name(written["backup"]).is_file()
    assert web.get("/inspect", params={"lora": "girl"}).json()["hash"]["computed"] == before
    copied = web.post("/label", {**body, "out": "copy"}).json()
    assert (copied["lora"], copied["backup"]) == ("copy", None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"lora": "girl"}, 400),
        ({"lora": "girl", "fields": {"titel": "x"}}, 400),
        ({"lora": "girl", "fields": {"title": 3}}, 400),
        ({"lora": "girl", "fields": {"title": "x"}, "out": "a/b"}, 400),
        ({"lora": "girl", "fields": {"title": "x"}, "out": "girl"}, 409),
        ({"lora": "nobody", "fields": {"title": "x"}}, 404),
        ({"fields": {"title": "x"}}, 400),
    ],
)
def test_impossible_label_is_refused_and_the_file_stays(web: Web, atelier: Atelier, body: dict, status: int) -> None:
    path = atelier.folders.loras / "girl.safetensors"
    before = path.read_bytes()
    refused(web.post("/label", body), status)
    assert path.read_bytes() == before


def test_a_cover_comes_from_the_folders_of_the_server(web: Web, atelier: Atelier, tmp_path: Path) -> None:
    for folder in (atelier.folders.pictures, tmp_path):
        Image.new("RGB", (32, 32), "red").save(folder / "cover.png")
    refused(web.post("/label", {"lora": "girl", "cover": str(tmp_path / "cover.png")}), 400)
    changes = web.post("/label", {"lora": "girl", "cover": "pictures/cover.png"}).json()["changes"]
    assert [change["after"].startswith("data:image/") for change in changes] == [True]


def test_file_behind_a_link_is_not_changed_in_place(web: Web, atelier: Atelier, tmp_path: Path, lora) -> None:
    outside = write_lora(lora, tmp_path / "outside.safetensors")
    before = outside.read_bytes()
    (atelier.folders.loras / "linked.safetensors").symlink_to(outside)
    refused(web.post("/label", {"lora": "linked", "fields": {"title": "x"}}), 400)
    assert outside.read_bytes() == before


@pytest.mark.parametrize("also", [[], [{"lora": "girl", "strength": 0.5}]])
def test_what_was_assumed_on_reading_is_in_the_answer(web: Web, atelier: Atelier, also: list) -> None:
    whole, _ = read_tensors(atelier.folders.loras / "girl.safetensors")
    silent = {key: tensor for key, tensor in whole.items() if not key.endswith(".alpha")}
    write_tensors(atelier.folders.loras / "silent.safetensors", silent, {})
    for language, said in (("en", "does not say its alpha"), ("ja", "alpha")):
        body = {
            "loras": ["silent", "silent", *also],
            "out": f"new_{language}",
            "compress": {"kind": "rank", "value": 2},
        }
        answer = web.post("/bake", body, headers={"Accept-Language": language})
        (note,) = web.result(answer)["notes"]
        assert note.startswith("silent: ")
        assert said in note
        assert ("file" in note) == (language == "en")
