"""What a new studio has to try: the shipped LoRA and where it goes, examples, an analysis, pictures."""

from __future__ import annotations

import json

import pytest

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.blocks.tag import readable_tags
from lib_lora.demo import settings as use
from lib_lora.demo import trial
from lib_lora.errors import FileError
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.formats.metadata import describe
from lib_lora.formats.privacy import tells_a_path
from lib_lora.host.base import GenerateRequest
from lib_lora.live.targets import find_targets
from lib_lora.progress import Progress
from lib_lora.services.analysis_order import order_of, render_order, save
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.saved_analysis import RECORD, keep_record, open_analysis
from tests.servers import ending


@pytest.fixture
def opened(studio, tmp_path):
    """Opens the studio's data folder, as often as one likes."""
    before, made = studio.lora_folders, []

    def start() -> Atelier:
        for one in made:
            one.settings.save()
        folders = Folders.under(tmp_path / "data")
        studio.lora_folders = (folders.loras, folders.runs)
        made.append(Atelier(studio, folders))
        trial.place(made[-1])
        return made[-1]

    yield start
    studio.lora_folders = before
    for one in made:
        with ending(one):
            pass


def test_the_shipped_lora_is_small_and_fits_and_says_where_it_comes_from_but_nothing_private(model):
    lora = read_lora(trial.LORA)
    assert trial.LORA.stat().st_size < 1_000_000
    targets, unmatched = find_targets(model, lora)
    assert len(targets) == len(lora.adapters)
    assert unmatched == ()
    assert describe(lora.metadata).fields["trigger_words"] == use.TRIGGER
    assert json.loads(lora.metadata["atelier_order"])["parents"][0]["name"] == use.NAME
    assert json.loads(lora.metadata["atelier_options"])["kind"] == "character"
    assert [key for key, value in lora.metadata.items() if tells_a_path(value)] == []


def test_every_example_names_the_shipped_lora_and_has_its_picture():
    for one in trial.EXAMPLES:
        (tag,) = readable_tags(one.prompt)
        assert tag.name == use.NAME
        assert one.picture.stat().st_size < 20_000


def test_it_is_put_into_the_list_once_and_not_again_after_it_was_deleted(opened):
    first = opened()
    placed = first.folders.loras / trial.LORA.name
    assert trial.has_lora(first)
    assert placed.read_bytes() == trial.LORA.read_bytes()
    placed.unlink()
    again = opened()
    assert not placed.exists()
    assert not trial.has_lora(again)


def test_a_list_that_holds_a_lora_and_a_file_of_its_name_stay_as_they_are(opened, lora, tmp_path):
    folders = Folders.under(tmp_path / "data")
    own = write_lora(lora, folders.loras / trial.LORA.name).read_bytes()
    atelier = opened()
    assert (folders.loras / trial.LORA.name).read_bytes() == own
    assert list(atelier.host.list_loras()) == [use.NAME]


def test_another_model_is_offered_nothing(opened, monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "POCKET", tmp_path / "another.safetensors")
    atelier = opened()
    assert not list(atelier.folders.loras.iterdir())
    assert not trial.fits(atelier)
    monkeypatch.undo()
    assert trial.has_lora(opened())  # it was not noted as done


def test_a_disk_that_refuses_is_said_and_the_studio_opens(opened, monkeypatch, caplog):
    def refuse(*_, **__):
        raise FileError("The disk is full", where="loras")

    monkeypatch.setattr(trial, "save_atomically", refuse)
    atelier = opened()
    assert "The disk is full" in caplog.text
    monkeypatch.undo()
    trial.place(atelier)
    assert trial.has_lora(atelier)


def test_krnks_pictures_come_with_captions_and_leave_other_folders_alone(opened):
    atelier = opened()
    theirs = atelier.folders.pictures / use.TRIGGER
    theirs.mkdir()
    (theirs / "mine.png").write_bytes(b"x")
    folder = trial.pictures(atelier)
    assert folder == atelier.folders.pictures / f"{use.TRIGGER}_2"
    assert len(list(folder.glob("*.png"))) == len(list(use.PICTURES.glob("*.png")))
    caption = (folder / "f00.txt").read_text(encoding="utf-8")
    assert caption.startswith(f"{use.TRIGGER}, ")
    (folder / "f00.txt").write_text("mine", encoding="utf-8")
    assert trial.pictures(atelier) == folder
    assert (folder / "f00.txt").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in theirs.iterdir()] == ["mine.png"]


def test_the_shipped_analysis_opens_with_its_grid_and_its_numbers(opened):
    atelier = opened()
    folder = trial.analysis(atelier)
    found = open_analysis(folder)
    (analysis,) = found.analyses
    assert analysis.ranking()[0].mean > 1
    for path, *_ in found.grids:
        assert path.is_relative_to(atelier.folders.outputs)
        assert path.stat().st_size < 300_000
    assert trial.analysis(atelier) == folder


def test_a_kept_analysis_comes_back_as_it_was(studio, lora, tmp_path, monkeypatch):
    write_lora(lora, tmp_path / "plain.safetensors")
    monkeypatch.setattr(studio, "lora_folders", (tmp_path,))
    chosen = AnalyzeOptions(lora="plain", blocks="IN04,M00 OUT03", seeds=2)
    order = order_of(GenerateRequest("red apple <lora:plain:1>", seed=1, steps=1), chosen, studio, FileFacts(studio))
    (tmp_path / "out").mkdir()
    found = save(render_order(order, studio, Progress()), tmp_path / "out")
    keep_record(found, tmp_path / "out", family="sd1")
    back = open_analysis(tmp_path / "out")
    assert back.grids == found.grids
    for kept, made in zip(back.analyses, found.analyses, strict=True):
        assert [(row.entry, row.has_modules, row.mean, row.spread) for row in kept.rows] == [
            (row.entry, row.has_modules, row.mean, row.spread) for row in made.rows
        ]
        assert (kept.noise_floor, kept.plan.entries) == (made.noise_floor, made.plan.entries)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"family": "sd1", "grids": [{}], "analyses": []}'])
def test_a_damaged_record_is_a_sentence(tmp_path, text):
    (tmp_path / RECORD).write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match="cannot be opened"):
        open_analysis(tmp_path)
