from __future__ import annotations

import json

import pytest
from PIL import Image

from lib_lora.cli import main as cli
from lib_lora.demo import page as page_module
from lib_lora.demo import settings
from lib_lora.demo.settings import Size
from lib_lora.demo.words import words_in
from lib_lora.formats.lora import read_lora
from lib_lora.host import studio as studio_module
from lib_lora.train.run_folder import RunFolder


@pytest.fixture
def tiny(studio, monkeypatch):
    """The demo in seconds: everything happens, next to nothing is learned."""
    # Batches of 4 hold pictures of both kinds: at first the LoRA is zero, and regularization alone leaves it so.
    size = Size(train_steps=2, epochs=1, batch_size=4, sampling_steps=2, seeds=1, regularization=2)
    monkeypatch.setattr(settings, "QUICK", size)

    def opened(cls, model=None, *, lora_folders=(), device="auto", **_):
        return cls(studio.model, tuple(lora_folders), studio.presets)

    monkeypatch.setattr(studio_module.StudioHost, "open", classmethod(opened))


def test_both_languages_say_the_same_things():
    english, japanese = words_in("en"), words_in("ja")
    assert english.keys() == japanese.keys()
    for key, text in english.items():
        assert {part.split(":")[0] for part in fields(text)} == {part.split(":")[0] for part in fields(japanese[key])}


def fields(text: str) -> set[str]:
    import string

    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_demo_leaves_everything_it_promises(tiny, tmp_path, capsys, monkeypatch):
    out, stories = tmp_path / "デモ", []
    write_page = page_module.write_page
    monkeypatch.setattr(
        page_module, "write_page", lambda story, *more: stories.append(story) or write_page(story, *more)
    )
    assert cli.main(["demo", "--quick", "--out", str(out), "--language", "ja", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    saved = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for key in ("subject_loss_ratio", "drift_ratio", "bake_max_abs_diff", "noise_floor", "seconds"):
        assert saved[key] == printed[key]
    assert saved["bake_max_abs_diff"] <= 1e-5
    for language in ("ja", "en"):  # the command wrote the first; the other is written of the same story
        page = (out / "report.html").read_text(encoding="utf-8")
        assert words_in(language)["grid"] in page
        assert 'src="http' not in page
        assert str(out) not in page  # people hand it on
        write_page(stories[0], "en")
    assert len(list((out / "pictures").rglob("f*.txt"))) == 10
    assert Image.open(saved["files"]["grid"]).width > 600
    whole, small = read_lora(saved["files"]["lora"]), read_lora(saved["files"]["small"])
    assert whole.adapters
    assert small.metadata["modelspec.trigger_phrase"] == settings.TRIGGER
    assert RunFolder.open(out / "run").options().optimizer == "DAdaptAdanIP"
