"""The workshop's tabs through their handlers, on small random files, in both languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.header import read_header
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.i18n.words import FOLDER, LANGUAGES, Words
from lib_lora.merge.method import DENSITY, METHODS
from lib_lora.services import presets as presets_file
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.merge import preview
from lib_lora.ui import workshop
from lib_lora.ui.compat import gr
from lib_lora.ui.workshop import batch, blocks, merge, metadata, rows, work
from lib_lora.ui.workshop.tables import readable_date
from tests.conftest import random_lora
from tests.told import Told

SUM = ("Add (exact)", None, 0, "only what they share (least)")
CHOICES = ("exact", "strong directions (sv_ratio)", 16, 0, "", "as it was", *SUM)


class Host:
    """The parts of a host that the workshop touches, around the model that the tests share."""

    def __init__(self, model, presets, folder: Path) -> None:
        self.model, self.presets, self.lora_folders = model, presets, (folder,)

    def list_loras(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted(self.lora_folders[0].glob("*.safetensors"))}

    def find_lora(self, name: str) -> Path:
        return self.list_loras()[name]


@pytest.fixture
def atelier(tmp_path: Path, studio) -> Atelier:
    folders = Folders.under(tmp_path / "data")
    for seed, (name, conv) in enumerate((("girl", False), ("dress", True))):
        lora = random_lora(studio.model, rank=2, seed=seed, conv=conv)
        lora.metadata = {"modelspec.trigger_phrase": f"{name} word", "ss_dataset_dirs": "{}", "ss_seed": "1"}
        write_lora(lora, folders.loras / f"{name}.safetensors", dtype=torch.float16)
    return Atelier(Host(studio.model, studio.presets, folders.loras), folders)


def last(steps):
    return list(steps)[-1]


def table(*used) -> list:
    full = [*used, *[rows.EMPTY] * rows.MOST][: rows.MOST]
    return [value for row in full for value in row]


def tensor_bytes(path: Path) -> bytes:
    return path.read_bytes()[read_header(path).data_start :]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tab_builds_and_offers_what_the_app_wires(atelier: Atelier, language: str) -> None:
    with gr.Blocks() as page:
        panel = workshop.build(atelier, Words(language), prompt=gr.Textbox(""))
    assert len(panel.uses) == 3
    assert len(panel.refresh(*[None] * len(panel.lists))) == len(panel.lists)
    assert page.config["components"]


def test_a_list_that_is_renewed_gives_no_choice_back_that_still_stands() -> None:
    for value in (None, [], "a", ["a", "b"]):
        assert work.listed(["a", "b"], value) == gr.update(choices=["a", "b"])
    assert work.listed(["b"], "a") == gr.update(choices=["b"], value=None)
    assert work.listed(["b"], ["a", "b"], ["b"]) == gr.update(choices=["b"], value=["b"])


def test_every_sentence_is_there_in_both_languages() -> None:
    texts = json.loads((FOLDER / "workshop.json").read_text(encoding="utf-8"))
    assert all(sorted(said) == ["en", "ja"] and all(said.values()) for said in texts.values())


@pytest.mark.parametrize(("name", "count"), [("girl", 17), ("dress", 26)])
def test_blocks_shows_the_files_blocks_and_no_others(atelier: Atelier, name: str, count: int) -> None:
    message, summary, vector, facts, html, _ = last(blocks.Handlers(atelier, Words("en")).look(name))
    assert message == ""
    assert len(vector.split(",")) == html.count("<tr>") - 1 == count
    assert len(facts["blocks"]) == (25 if name == "dress" else 17)  # no trainer gives conv_in, which is IN00, a module
    assert ("LoCon" if name == "dress" else "LoRA") in summary
    assert all(block["delta"] > 0 and block["relative"] > 0 for block in facts["blocks"])


def test_a_preset_becomes_numbers_a_tag_and_a_preset_of_ones_own(atelier: Atelier) -> None:
    do = blocks.Handlers(atelier, Words("en"))
    *_, vector, facts, _, _ = last(do.look("girl"))
    assert do.tag(vector, None, facts)[0]["value"] == "<lora:girl:1>"
    midd, _ = do.choose("MIDD", facts)
    assert do.tag(midd, "MIDD", facts)[0]["value"] == "<lora:girl:1:MIDD>"
    mine = midd.replace("1,0", "0.5,0", 1)
    assert do.tag(mine, "MIDD", facts)[0]["value"] == f"<lora:girl:1:lbw={mine}>"
    assert "atelier-good" in do.save_preset("MINE", mine, facts, False)[0]
    assert do.tag(mine, "MINE", facts)[0]["value"] == "<lora:girl:1:MINE>"
    assert f"MINE:{mine}" in presets_file.presets_path(atelier).read_text(encoding="utf-8")
    assert "atelier-error" in do.save_preset("MINE", midd, facts, False)[0]
    assert "atelier-good" in do.save_preset("MINE", midd, facts, True)[0]
    for wrong in ("1,2", "NOSUCH", "R" + ",1" * 16):
        assert "atelier-error" in do.draw(wrong, facts)[1]


def test_a_prompts_tags_become_rows_and_what_a_file_cannot_hold_is_said(atelier: Atelier) -> None:
    do = merge.Handlers(atelier, Words("en"))
    prompt = "a <lora:girl:0.5:1:MIDD:stop=10> b <lora:dress:0.8>"
    found, lost = rows.rows_of_prompt(atelier, prompt)
    assert found == [("girl", 1.0, "MIDD", 0.5, 1.0), ("dress", 0.8, "ALL", 1.0, 1.0)]
    assert lost == ["girl: stop"]
    assert "girl: stop" in do.from_prompt(prompt)[-1]
    assert "atelier-error" in do.from_prompt("no tag")[-1]
    assert "atelier-error" in do.from_prompt("<lora:girl:1:XYZ>")[-1]


def test_preview_writes_nothing_and_save_writes_the_sum_once(atelier: Atelier) -> None:
    do = merge.Handlers(atelier, Words("en"))
    values = [*table(("girl", 0.5, "MIDD", 1.0, 1.0), ("dress", -1.0, "ALL", 0.0, 1.0)), *CHOICES]
    before = set(atelier.folders.loras.iterdir())
    message, html, _ = last(do.preview(*values))
    assert "Nothing is saved" in message
    assert html.count("<tr>") == 1 + 25
    assert set(atelier.folders.loras.iterdir()) == before
    name, proposed = do.propose("", "", *values)
    assert name == proposed == "girl_0.5_MIDD+dress_-1"
    assert do.propose("mine", "girl_1", *values)[0] == "mine"
    message, _, _, _, use, saved = last(do.save(name, False, *values))
    assert saved == name
    assert do.tag(saved)[0]["value"] == f"<lora:{name}:1>"
    made = read_lora(atelier.folders.loras / f"{name}.safetensors")
    girl, dress = (read_lora(atelier.folders.loras / f"{n}.safetensors") for n in ("girl", "dress"))
    for key, weight in (("lora_unet_mid_block_attentions_0_proj_in", 0.5), ("lora_unet_conv_in", 0.0)):
        if key not in made.adapters:
            continue
        wanted = -dress.adapters[key].delta() + (weight * girl.adapters[key].delta() if key in girl.adapters else 0)
        assert torch.allclose(made.adapters[key].delta(), wanted, atol=2e-3 * float(wanted.abs().max()))
    message, _, _, replace, *_ = last(do.save(name, False, *values))
    assert "exists already" in message
    assert replace["visible"]
    assert "atelier-good" in last(do.save(name, True, *values))[0]


def test_the_size_that_is_promised_is_the_size_that_is_written(atelier: Atelier) -> None:
    do = merge.Handlers(atelier, Words("en"))
    values = [*table(("dress", 1.0, "ALL", 1.0, 1.0)), "compress", "a fixed rank", 1, 0, "", "fp16 (usual)", *SUM]
    made = preview(do.order(*values), atelier.host.presets)
    path = write_lora(made.lora, atelier.folders.data / "dress_1_r1_fp16.safetensors")
    assert path.stat().st_size == made.report.bytes_after
    assert 0 < made.report.energy_kept < 1
    assert all(adapter.rank == 1 for adapter in made.lora.adapters.values())
    assert do.propose("", "", *values)[0] == "dress_1_r1_fp16"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_previewed_with_what_it_says_of_each_block(
    atelier: Atelier, method: str, language: str
) -> None:
    words = Words(language)
    do = merge.Handlers(atelier, words)
    chosen = [*do.choices.untouched()]
    chosen[6], chosen[7] = words(f"workshop.join_{method}"), 0.5 if method in DENSITY else None
    values = [*table(("girl", 1.0, "ALL", 1.0, 1.0), ("dress", 0.5, "ALL", 1.0, 1.0)), *chosen]
    order = do.order(*values)
    assert (order.method.method, order.method.density) == (method, 0.5 if method in DENSITY else None)
    _, html, _ = last(do.preview(*values))
    assert words("workshop.head_cosine") in html
    assert (words("workshop.head_taken") in html) == (method == "k_lora")
    assert (words("workshop.head_left") in html) == (method == "project")
    assert words("workshop.overlap_meaning") in html
    shown = do.choices.explained(chosen[6])
    assert shown[0]["info"] == words(f"workshop.join_{method}_info")
    visible = [update["visible"] for update in shown[1:]]
    assert visible == [method not in ("sum", "k_lora"), method in DENSITY, method == "dare", method == "project"]
    assert do.propose("", "", *values)[0].endswith("" if method == "sum" else method)


def test_each_tag_of_a_prompt_becomes_its_own_file(atelier: Atelier) -> None:
    do = merge.Handlers(atelier, Words("ja"))
    prompt = "<lora:girl:1:MIDD> a <lora:dress:0.5:stop=4>"
    message, _ = last(do.save_each(prompt))
    assert "girl_1_MIDD, dress_0.5" in message
    assert "ファイルに保存できない" in message
    assert {"girl_1_MIDD", "dress_0.5"} <= set(atelier.host.list_loras())
    assert "atelier-error" in last(do.save_each(prompt))[0]
    assert "atelier-error" in last(do.save_each("no tag"))[0]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "con", "x:y", "girl"])
def test_names_that_cannot_be_are_refused_before_any_work(atelier: Atelier, name: str) -> None:
    do = merge.Handlers(atelier, Words("en"))
    values = [*table(("girl", 1.0, "ALL", 1.0, 1.0)), *CHOICES]
    assert "atelier-error" in last(do.save(name, True, *values))[0]
    assert len(list(atelier.folders.loras.iterdir())) == 2


def test_rows_are_added_and_taken_out(atelier: Atelier) -> None:
    do = merge.Handlers(atelier, Words("en"))
    two = table(("girl", 1.0, "ALL", 1.0, 1.0), ("dress", 2.0, "MIDD", 1.0, 1.0))
    shown = do.add_row(*two)
    assert [update["visible"] for update in shown[: rows.MOST]].count(True) == 3
    left = do.remove_row(0, *two)
    assert [update["value"] for update in left[rows.MOST : rows.MOST + rows.WIDTH]] == ["dress", 2.0, "MIDD", 1.0, 1.0]


def form(do: metadata.Handlers, name: str, cover: str = metadata.SAME, private: bool = False, **changes: str) -> list:
    loaded = do.load(name)[: len(metadata.FORM)]
    more = [changes.pop(name, usual) for name, usual in (("entries", ""), ("card", "update"), ("prefer", "neither"))]
    typed = [changes.get(field, text) for field, text in zip(metadata.FORM, loaded, strict=True)]
    return [*typed, *more, cover, private]


def many(
    *texts: str, empty: tuple[str, ...] = (), entries: str = "", card: str = "update", marks=(False, False)
) -> list:
    """Return the values of the batch form."""
    return [*texts, *[""] * (len(batch.FIELDS) - len(texts)), list(empty), entries, card, *marks]


def test_metadata_is_written_beside_or_in_place_and_tensors_stay(atelier: Atelier, tmp_path: Path) -> None:
    do = metadata.Handlers(atelier, Words("en"))
    path = atelier.folders.loras / "girl.safetensors"
    before = path.read_bytes()
    picture = tmp_path / "cover.png"
    Image.new("RGB", (600, 300), "red").save(picture)
    values = form(do, "girl", str(picture), True, author="私", preferred_weight="0.8", block_weights="MIDD")
    assert "Nothing is written" in do.preview("girl", "place", "", *values)[0]
    assert "atelier-good" in last(do.save("girl", "copy", "girl_b", *values))[0]
    assert path.read_bytes() == before
    copy = path.with_name("girl_b.safetensors")
    assert tensor_bytes(copy) == tensor_bytes(path)
    said = read_header(copy).metadata
    assert (said["modelspec.author"], said["ss_output_name"], "ss_dataset_dirs" in said) == ("私", "girl_b", False)
    assert metadata.read_cover(said).size == (384, 192)
    assert "exists already" in last(do.save("girl", "copy", "girl_b", *values))[0]
    assert "atelier-good" in last(do.save("girl", "place", "", *values))[0]
    assert path.with_name("girl.safetensors.bak1").read_bytes() == before
    assert read_header(path).metadata["ss_output_name"] == "girl"
    looked = blocks.Handlers(atelier, Words("en"))
    *_, vector, facts, _, _ = last(looked.look("girl"))
    assert vector == looked.choose("MIDD", facts)[0]  # the block weights that the file recommends
    assert "atelier-error" in do.preview("girl", "place", "", *form(do, "girl", preferred_weight="much"))[0]
    assert "Nothing would change" in do.preview("girl", "place", "", *form(do, "girl"))[0]
    assert "modelspec.thumbnail" in do.preview("girl", "place", "", *form(do, "girl", metadata.DROPPED))[1]


def test_hashes_comparison_search_and_raw_view(atelier: Atelier) -> None:
    do = metadata.Handlers(atelier, Words("ja"))
    assert "atelier-good" in last(do.hashes("girl"))[0]
    assert "girl word" in do.compare("girl", "dress")
    assert do.search("GIRL word", None)[0]["choices"] == ["girl"]
    (atelier.folders.loras / "broken.safetensors").write_bytes(b"12345678")
    assert "broken" in do.search("word", None)[2]
    assert "atelier-error" in do.load("broken")[-1]
    assert json.loads(do.load("girl")[len(metadata.FORM) + 4])["ss_seed"] == "1"


def test_many_files_change_together_and_a_broken_one_keeps_none_from_it(atelier: Atelier) -> None:
    do = batch.Handlers(atelier, Words("en"))
    (atelier.folders.loras / "broken.safetensors").write_bytes(b"12345678")
    chosen = ["girl", "broken", "dress"]
    mine = many("", "", "me", marks=(False, True))
    message, html, _, seen = last(do.preview(["girl", "dress"], *mine))
    assert "2 of 2" in message
    assert html.count("ss_dataset_dirs") == 2
    assert "not previewed" in last(do.save(seen, chosen, *mine))[0]
    message, _, _, seen = last(do.preview(chosen, *mine))
    assert ("2 of 3" in message, "broken.safetensors" in message) == (True, True)
    message, *_ = last(do.save(seen, chosen, *mine))
    assert "2 files were changed" in message
    assert "atelier-error" in message
    for name in ("girl", "dress"):
        said = read_header(atelier.folders.loras / f"{name}.safetensors").metadata
        assert (said["modelspec.author"], "ss_dataset_dirs" in said) == ("me", False)
        assert said["modelspec.trigger_phrase"] == f"{name} word"
    assert "atelier-error" in last(do.preview([], *mine))[0]
    assert "atelier-error" in last(do.preview(chosen, *many()))[0]
    assert "filled and emptied" in last(do.preview(chosen, *many("a", empty=("trigger_words",))))[0]


def test_hashing_tells_how_far_it_is(atelier: Atelier) -> None:
    told = Told()
    path = atelier.folders.loras / "girl.safetensors"
    found = metadata.hashes_of(path, told)
    assert found == metadata.hashes_of(path)
    assert told.steps[-1][0] == told.steps[-1][1] == -(-path.stat().st_size // 2**20)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T04:51:07", "2026-11-22 04:51"),
        ("2026-11-22", "2026-11-22"),
        ("last summer", "last summer"),
        ("2026-11-22T04:51:07Z", None),
    ],
)
def test_dates_are_readable_in_the_time_of_this_machine(text: str, shown: str | None) -> None:
    from datetime import datetime, timezone

    local = datetime(2026, 11, 22, 4, 51, tzinfo=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")
    assert readable_date(text) == (shown or local)


def test_any_kind_of_file_is_described_and_only_applying_refuses(atelier: Atelier) -> None:
    key = "lora_unet_down_blocks_0_attentions_0_proj_in"
    parts = {"lora_down.weight": torch.ones(4, 8), "lora_up.weight": torch.ones(6, 4), "dora_scale": torch.ones(1, 8)}
    more = {"lora_unet_nowhere.twist": torch.ones(2, 2, 2)}
    tensors = {**{f"{key}.{part}": tensor for part, tensor in parts.items()}, **more}
    write_tensors(atelier.folders.loras / "dora.safetensors", tensors, {})
    told, summary, vector, facts, shown, _ = last(blocks.Handlers(atelier, Words("ja")).look("dora"))
    assert "未知の形式の変更が含まれています" in told
    assert "2 個のうち 1 個" in told
    assert "DoRA + 不明" in summary
    assert vector == ""
    assert ("IN01" in shown, "nan" in shown.lower()) == (True, False)
    assert [block["ranks"] for block in facts["blocks"]] == ["4", "–"]


@pytest.mark.parametrize(("language", "said"), [("en", "does not say its alpha"), ("ja", "silent: ")])
def test_merge_shows_what_was_assumed_on_reading(atelier: Atelier, language: str, said: str) -> None:
    whole, _ = read_tensors(atelier.folders.loras / "girl.safetensors")
    silent = {key: tensor for key, tensor in whole.items() if not key.endswith(".alpha")}
    write_tensors(atelier.folders.loras / "silent.safetensors", silent, {})
    do = merge.Handlers(atelier, Words(language))
    values = [*table(("silent", 0.5, "ALL", 1, 1), ("girl", 1, "ALL", 1, 1)), *CHOICES]
    for html in (last(do.preview(*values))[1], last(do.save("new", False, *values))[1]):
        assert said in html
        assert ("The file does not say" in html) == (language == "en")
        assert "girl: " not in html
