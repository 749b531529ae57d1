"""The plan says which kind of model was found, and what of the options does not fit it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.progress import Progress
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.picture_folder import look
from lib_lora.train.options import usual_values
from lib_lora.train.recipes import facts_of
from lib_lora.ui.train.draft import Draft, usual_form
from lib_lora.ui.train.plan_view import plan_html


@pytest.fixture
def plan(studio, tmp_path, monkeypatch):
    """Return what the plan says in a language, with options and facts of the model changed."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (128, 128), "red").save(folder / "0.png")
    atelier = Atelier(studio, Folders.under(tmp_path / "data"))
    model = studio.model

    def said(language: str, *, zero_terminal: bool = False, prediction_type: str = "v_prediction", **options) -> str:
        monkeypatch.setattr(model, "schedule", replace(model.schedule, zero_terminal=zero_terminal))
        monkeypatch.setattr(model, "prediction_type", prediction_type)
        draft = Draft(look(folder, model, Progress()), "krnk", "character", {})
        usual = usual_form(atelier, draft)
        values = {**usual_values("character", model=facts_of(model)), **usual, **options, "name": "x"}
        return plan_html(atelier, replace(draft, values=values), usual, Words(language))

    yield said
    atelier.trainings.close(20)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_plan_names_the_kind_of_the_model(plan, language):
    text = plan(language)
    assert "v-prediction" in text
    assert "zero terminal" not in text.lower()
    assert "zero terminal snr" in plan(language, zero_terminal=True).lower()
    assert "epsilon" in plan(language, prediction_type="epsilon")
    assert "edm" in plan(language, prediction_type="edm")


@pytest.mark.parametrize(
    ("language", "words"), [("en", "layers are smaller than the rank"), ("ja", "個の層は指定の rank")]
)
def test_the_plan_says_that_a_rank_is_cut(plan, language, words):
    assert words not in plan(language)
    assert words in plan(language, dim=1000)


def test_the_plan_refuses_what_the_model_cannot_learn(plan):
    text = plan("en", prediction_type="epsilon", zero_terminal_snr="on")
    assert "atelier-error" in text
    assert "predicts noise" in text


@pytest.mark.parametrize(
    ("options", "english", "japanese"),
    [
        ({"clip_skip": 12}, "Clip skip 12 is out of range", "clip skip"),
        ({"sample_prompts": ("a <lora:nobody:1>",)}, "There is no LoRA called “nobody”", "nobody"),
        ({"sample_prompts": ("a <lora:x",)}, "Write &gt; at its end", "&gt;"),
        ({"optimizer": "AdamW", "learning_rate": 1e-3, "optimizer_args": {"nonsense": 1}}, "nonsense", "nonsense"),
    ],
)
def test_the_plan_says_what_the_start_would_refuse(plan, options, english, japanese):
    assert "atelier-error" not in plan("en")
    text = plan("en", **options)
    assert "atelier-error" in text
    assert english in text
    assert "atelier-plan" in text  # the rest of the plan stays
    assert japanese.lower() in plan("ja", **options).lower()


def test_the_plan_says_that_the_disk_has_no_room(plan, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    assert "the disk has 0 MB free" in plan("en")
