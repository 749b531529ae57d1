"""*Try 30 steps* and *Compare values* on the Train page: what is drawn, what the buttons do, and a click through."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.progress import QUIET
from lib_lora.sentences import say
from lib_lora.services import rate_probe
from lib_lora.services.picture_folder import look
from lib_lora.train.options import usual_values
from lib_lora.train.recipes import facts_of
from lib_lora.ui import compat
from lib_lora.ui.train import form as form_module
from lib_lora.ui.train.draft import Draft, usual_form
from lib_lora.ui.train.form import Form
from lib_lora.ui.train.options import NAMES, OptionForm, from_widgets, to_widget
from lib_lora.ui.train.orders import Orders
from lib_lora.ui.train.pieces import Pieces
from lib_lora.ui.train.probe import PROBE
from lib_lora.ui.train.sweep import SWEEPS
from tests.servers import running_atelier, wait_until

FOUND = {
    "learning_rate": 3e-4,
    "found_rate": None,
    "seconds_a_step": 0.5,
    "steps": 1200,
    "seconds": 600.0,
    "memory": 3 * 2**30,
    "rates": [1e-5, 1e-4, 1e-3, 1e-2],
    "losses": [0.5, 0.4, 0.3, float("inf")],
    "note": say("a learning rate of {rate:g} suits these pictures", rate=3e-4),
}


@pytest.fixture
def atelier(studio, tmp_path):
    with running_atelier(studio, tmp_path / "data") as made:
        yield made


@pytest.fixture(params=LANGUAGES)
def words(request):
    return Words(request.param)


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "絵"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (90 * number, 90, 200)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def panel(atelier, words):
    """Handlers over one form, its pieces and its orders."""
    with compat.gr.Blocks():
        widgets = OptionForm(words, usual_values("character", model=facts_of(atelier.host.model)))
    form, pieces = Form(atelier, words, widgets), Pieces(atelier)
    return form, pieces, Orders(atelier, words, form, pieces)


def raw(atelier, **changes):
    usual = usual_values("character", model=facts_of(atelier.host.model))
    return [{name: to_widget(name, value) for name, value in {**usual, **changes}.items()}[name] for name in NAMES]


SMALL = {"resolution": 64, "dim": 1, "batch_size": 1, "optimizer": "AdamW", "optimizer_args": {}, "learning_rate": 1e-3}
SMALL |= {"save_every_epochs": 0, "sample_prompts": ()}


def asked(atelier, place, **changes):
    """What the form hands to its handlers: the fields in the open, the usual values, the options."""
    found = look(place, atelier.host.model, QUIET)
    values = raw(atelier, **SMALL | changes)
    draft = Draft(found, "krnk", "character", {**from_widgets(values), "steps": 1, "name": "krnk"})
    return found, "krnk", "character", 1, "krnk", usual_form(atelier, draft), *values


def test_a_probe_is_queued_drawn_taken_over_and_closed(atelier, panel, place, words, monkeypatch):
    form, _, orders = panel
    seen = []

    def probed(host, options, progress, **more):
        seen.append(options)
        return FOUND

    monkeypatch.setattr(form_module.rate_probe, "submit", submitted(atelier, probed))
    assert atelier.live.html(PROBE, words)[1] == ""
    assert form.probe(*asked(atelier, place)) == ""
    (job,) = atelier.queue.jobs(rate_probe.KIND)
    assert job.wait(30)
    assert (seen[0].optimizer, seen[0].dim) == ("AdamW", 1)
    html = atelier.live.html(PROBE, words)[1]
    assert words("train.probe_use", rate="0.0003") in html
    assert words("train.probe_facts", seconds="0.50", steps="1,200", time="", memory="3.0")[:12] in html
    assert html.count("<polyline") == 1
    assert orders.do("rate 0.0003\n1", {}).values == {"learning_rate": 3e-4}
    orders.do(f"unprobe {job.number}\n2", {})
    assert atelier.live.html(PROBE, words)[1] == ""


def submitted(atelier, probed):
    def submit(_, options):
        return atelier.queue.submit(rate_probe.KIND, options.name, lambda job: probed(None, options, job))

    return submit


def test_a_probe_that_cannot_be_is_said_and_one_at_work_can_be_stopped(atelier, panel, place, words, monkeypatch):
    form, _, orders = panel
    assert "atelier-error" in form.probe(None, *asked(atelier, place)[1:])
    assert "atelier-error" in form.probe(*asked(atelier, place, continue_from="nowhere.safetensors"))
    assert not atelier.queue.jobs(rate_probe.KIND)

    def waits(host, options, progress):
        while not progress.stopped:
            progress.update(3, 30, say("probing"))

    monkeypatch.setattr(form_module.rate_probe, "submit", submitted(atelier, waits))
    form.probe(*asked(atelier, place))
    (job,) = atelier.queue.jobs(rate_probe.KIND)
    while not job.done:
        job.wait(0.01)
    assert f"halt {job.number}" in atelier.live.html(PROBE, words)[1]
    orders.do(f"halt {job.number}\n1", {})
    assert job.wait(30)
    assert words("train.probe_stopped") in atelier.live.html(PROBE, words)[1]


def test_an_optimizer_that_finds_its_rate_offers_none(atelier, panel, words):
    found = {**FOUND, "learning_rate": None, "found_rate": 1e-4}
    assert atelier.queue.submit(rate_probe.KIND, "krnk", lambda job: found).wait(30)
    html = atelier.live.html(PROBE, words)[1]
    assert "atelier_train_use_rate" not in html
    assert "<polyline" not in html


def test_a_table_becomes_runs_of_what_the_form_says(atelier, panel, place, words):
    form, _, orders = panel
    atelier.queue.submit("wait", "wait", lambda job: [job.wait(0.01) for _ in iter(lambda: job.stopped, True)])
    try:
        said = form.sweep("dim: 1, 2\nlearning_rate: 1e-3", "krnk --s 1", *asked(atelier, place))
        assert words("train.sweep_queued", n=2, name="krnk") in said
        (view,) = atelier.sweeps.listed()
        whole = Draft(*asked(atelier, place)[:3], {**from_widgets(raw(atelier, **SMALL)), "steps": 1, "name": "krnk"})
        plain = whole.options(usual_form(atelier, whole), atelier).to_dict()
        for run, row in view.sweep.runs.items():
            made = atelier.trainings._queue[list(view.runs).index(run)].options.to_dict()
            assert {key: value for key, value in made.items() if plain[key] != value} == {
                key: value for key, value in {**row, "name": run}.items() if plain[key] != value
            }
        html = atelier.live.html(SWEEPS, words)[1]
        assert words("train.sweep_state", done=0, n=2) in html
        assert "sweep-stop krnk" in html
        assert "sweep-compare" not in html
        orders.do("sweep-stop krnk\n1", {})
        assert not atelier.trainings.queue()
        html = atelier.live.html(SWEEPS, words)[1]
        assert "sweep-go krnk" in html
        assert words("train.sweep_none") in html
    finally:
        atelier.queue.running.stop()


@pytest.mark.parametrize("table", ["", "dim: 1, 0", "hello"])
def test_a_table_that_cannot_be_is_said_in_the_page(atelier, panel, place, words, table):
    form, _, _ = panel
    assert "atelier-error" in form.sweep(table, "", *asked(atelier, place))
    assert not atelier.sweeps.listed()


def test_a_compared_sweep_shows_its_grid_and_its_numbers(atelier, panel, place, words):
    form, _, _ = panel
    form.sweep("dim: 1, 2", "krnk --s 1 --w 64 --h 64", *asked(atelier, place))
    wait_until(lambda: all(job.ended for job in atelier.queue.jobs()) and not atelier.trainings.queue())
    html = atelier.live.html(SWEEPS, words)[1]
    assert words("train.sweep_state", done=2, n=2) in html
    assert ("comparison.ja.png" if words.language == "ja" else "comparison.png") in html
    assert ("最良の印は付けていません" if words.language == "ja" else "no run is marked as the best") in html
    assert "comparison.csv" in html
    assert html.count("<td>" + words("train.state_done") + "</td>") == 2
    assert "sweep-go" not in html


def test_probe_and_table_are_refused_stopped_and_closed_by_clicks(visitor, studio_server):
    walking = pytest.importorskip("tests.ui.walking")
    place = studio_server.data / "pictures" / "krnk"
    place.mkdir(parents=True)
    for picture in walking.PICTURES[:2]:
        shutil.copy(picture, place)
    walker = walking.visit(visitor, studio_server.url, "en", tab="train")
    walker.press("train_probe")
    assert "No folder" in walker.said("train_probe_message")
    walker.type("train_folder", str(place))
    walker.press("train_look")
    walker.reads("train_summary", "found: 2")
    walker.type("train_trigger", "krnk")
    walker.open("train_sweep")
    walker.type("train_sweep_table", "dim: 1, 0")
    walker.press("train_sweep_start")
    assert "out of range" in walker.said("train_sweep_message")
    walker.press("train_probe")
    walker.reads("train_probed", walker.words("train.look_stop"))
    walker.at("train_probed").locator("button", has_text=walker.words("train.look_stop")).click()
    walker.reads("train_probed", walker.words("train.probe_stopped"))
    walker.at("train_probed").locator("button", has_text=walker.words("train.close")).click()
    walking.expect(walker.at("train_probed").locator("button")).to_have_count(0)
    assert not visitor.complaints
