"""Find weights in the Workshop, through its handlers: the order, its end, what is done with what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora.analysis.fit.window import Window
from lib_lora.formats.lora import write_lora
from lib_lora.host.request import GenerateRequest
from lib_lora.host.studio import StudioHost
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.services import fit_pictures
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.fit_order import submit
from lib_lora.services.speed import Speed
from lib_lora.ui.workshop import blocks, finder
from tests.conftest import random_lora
from tests.servers import ending

QUICK = {
    "trigger": "girl\n\n girl, red ",
    "neutral": "ghost\nblue circle",
    "keep": 0.9,
    "rounds": 1,
    "levels": 1,
    "rendered": 2,
    "seeds": 1,
}


@pytest.fixture
def atelier(tmp_path: Path, studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Atelier]:
    monkeypatch.setattr(fit_pictures, "request_of", lambda options: GenerateRequest("", seed=1, steps=2))
    folders = Folders.under(tmp_path / "data", confined=True)
    for seed, name in enumerate(("girl", "dress")):
        write_lora(random_lora(studio.model, seed=seed, size=0.02), folders.loras / f"{name}.safetensors")
    with ending(Atelier(StudioHost(studio.model, (folders.loras,), studio.presets), folders)) as made:
        yield made


def facts_of(atelier: Atelier, name: str) -> dict:
    return list(blocks.Handlers(atelier, Words("en")).look(name))[-1][3]


def given(**changed: object) -> list[object]:
    """What the widgets hold, in their order: ``changed``, the rest as they begin."""
    values = {one.name: "" if one.kind in (str, tuple) else one.default for one in finder.KNOWN.values()}
    return list((values | QUICK | changed).values())


def test_what_is_found_is_shown_in_words_pictures_and_numbers_and_an_opened_page_finds_it(atelier: Atelier) -> None:
    do, facts = finder.Handlers(atelier, Words("en")), facts_of(atelier, "girl")
    steps = list(do.start(facts, *given()))
    assert any("atelier-progress" in step[0] and "left" in step[0] for step in steps), "time left"
    status, html, acts, _, found = steps[-1]
    assert status == ""
    assert acts["visible"] is True
    assert found["lora"] == "girl"
    assert len(found["vector"].split(",")) == 17
    assert "On what was held out" in html
    assert "the subject as well" in html
    assert "atelier-found-picture" in html
    assert html.count("<tr>") > 20, "presets and random weights are compared as well"
    (folder,) = (path for path in (atelier.folders.outputs / "fit").iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {"weights.json", "before_after.png"}
    shown = list(finder.Handlers(atelier, Words("ja")).open(facts))[-1]
    assert shown[4] == found
    assert "被写体" in shown[1]
    assert list(do.open(facts_of(atelier, "dress")))[-1][1] == "", "another file has its own"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_cannot_be_right_is_said_where_it_was_started(atelier: Atelier, language: str) -> None:
    do, facts = finder.Handlers(atelier, Words(language)), facts_of(atelier, "girl")
    for chosen, wrong in (({}, {}), (facts, {"low": 7}), (facts, {"images": "/"}), ({**facts, "name": "gone"}, {})):
        assert "atelier-error" in list(do.start(chosen, *given(**wrong)))[-1][0]
    assert "atelier-error" in list(do.start(facts, *given(low=1, high=0.5)))[-1][0]
    assert "atelier-error" in do.weights({}, facts)[1]
    assert "atelier-error" in do.weights({"lora": "dress", "vector": "1"}, facts)[1], "of another file"


def test_the_tag_says_in_which_steps_the_found_weights_act(atelier: Atelier) -> None:
    do, facts = blocks.Handlers(atelier, Words("en")), facts_of(atelier, "girl")
    box, _ = do.tag(",".join(["0.5"] * 17), None, facts, Window(0, 2, 4))
    assert box["value"].endswith(":stop=0.5>")


def test_a_stop_says_that_the_rounds_are_kept(atelier: Atelier) -> None:
    do, facts = finder.Handlers(atelier, Words("en")), facts_of(atelier, "girl")
    assert "No search" in do.stop()
    steps = do.start(facts, *given(rounds=10, levels=4))
    next(steps)
    do.stop()
    assert "goes on from the rounds that are done" in list(steps)[-1][0]


def test_how_much_is_asked_and_how_long_it_takes_is_said_before(atelier: Atelier) -> None:
    do, facts = finder.Handlers(atelier, Words("en")), facts_of(atelier, "girl")
    assert "how long it takes is known once it runs" in do.estimate(facts, *given())
    model = atelier.host.model
    Speed.of(atelier).record(model.name, GenerateRequest("", steps=1), side=model.native_side, pictures=1, seconds=0.02)
    said = do.estimate(facts, *given())
    count = int(said.split()[1].replace(",", ""))
    assert said.endswith("s")
    job = submit(atelier, do._options(facts, tuple(given(seeds=0))))
    seen = 0
    while not job.wait(0.02):
        seen = max(seen, job.total)
    assert job.error is None
    assert count == pytest.approx(max(seen, job.total), rel=0.35)
    assert do.estimate({}, *given()) == do.estimate(facts, *given(low=7)) == ""
    pictures = atelier.folders.pictures / "some"
    pictures.mkdir()
    few = do.estimate(facts, *given(images=str(pictures)))
    for number in range(9):
        (pictures / f"{number}.png").touch()
    assert do.estimate(facts, *given(images=str(pictures))) != few
