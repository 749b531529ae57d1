"""How long a run is: by the formula of sd-scripts for folders and epochs, with regularization counted in."""

from __future__ import annotations

import pytest
from PIL import Image

from lib_lora.data.folder import scan
from lib_lora.errors import InputError
from lib_lora.progress import Progress
from lib_lora.services.start_check import check_pictures
from lib_lora.train.estimate import plan_run
from lib_lora.train.length import times_text
from lib_lora.train.options import from_mapping
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start


@pytest.fixture
def folders(tmp_path):
    """Twelve pictures in a plain folder and in one named for ten repeats; seven for regularization."""
    for name, count in (("plain", 12), ("set/10_krnk girl", 12), ("reg/1_girl", 7)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (64, 64), (number * 9, len(name) * 5, 40)).save(folder / f"{number:02d}.png")
    return tmp_path


def planned(model, folders, images, *, reg=False, **given):
    values = {"images": str(folders / images), "name": "x", **given}
    if reg:
        values["reg_images"] = str(folders / "reg")
    options = from_mapping(values, where="test")
    found = scan(options.images, reg=options.reg_images or None, min_side=64)
    return plan_run(model, options, found), options, found


@pytest.mark.parametrize(
    ("images", "reg", "given", "times", "steps"),
    [
        # sd-scripts: pictures × repeats (× 2 with regularization) / batch, rounded up, × epochs
        ("set", False, {}, (10, 10), 12 * 10 * 20),
        ("set", False, {"epochs": 3}, (10, 10), 12 * 10 * 3),
        ("set", True, {"epochs": 3}, (10, 10), 12 * 10 * 2 * 3),
        ("set", False, {"epochs": 3, "batch_size": 7}, (10, 10), 18 * 3),
        ("set", False, {"repeats": 2, "epochs": 3}, (20, 20), 12 * 20 * 3),
        ("plain", False, {"epochs": 5}, (1, 1), 12 * 5),
        ("plain", True, {"epochs": 5}, (1, 1), 24 * 5),
        ("plain", False, {"repeats": 10, "epochs": 2}, (10, 10), 12 * 10 * 2),
        ("plain", False, {"steps": 77, "epochs": 5}, (1, 1), 77),
    ],
)
def test_folders_and_epochs_mean_what_users_of_sd_scripts_mean(model, folders, images, reg, given, times, steps):
    plan, *_ = planned(model, folders, images, reg=reg, **given)
    assert (plan.times, plan.steps) == (times, steps)


@pytest.mark.parametrize("reg", [False, True])
@pytest.mark.parametrize("target", [960, 3000])
def test_the_goal_of_steps_counts_regularization_in(model, folders, reg, target):
    plan, *_ = planned(model, folders, "plain", reg=reg, target_steps=target)
    assert plan.steps == pytest.approx(target, rel=0.05)


@pytest.mark.parametrize(("repeats", "used"), [(1, 7), (3, 7)])
def test_regularization_is_balanced_against_all_draws(model, folders, repeats, used):
    plan, _, found = planned(model, folders, "plain", reg=True, repeats=repeats)
    shown = found.shown(repeats)
    assert plan.reg == used
    assert sum(p.repeats for p in shown if p.is_reg) == sum(p.repeats for p in shown if not p.is_reg) == 12 * repeats


def test_the_run_does_what_the_plan_says(model, folders):
    plan, options, _ = planned(model, folders, "set", reg=True, epochs=1, batch_size=16, dim=1)
    training = start(model, options, RunFolder(folders / "run"), Progress())
    assert (training.total, training.steps_per_epoch) == (plan.steps, plan.per_epoch)
    assert training.plan() == {
        "pictures": 12,
        "regularization": 7,
        "each_picture": "10×",
        "steps_an_epoch": 15,
        "epochs": 1,
    }
    assert any("drawn 120 times for 120 training draws" in text for text in training.data.problems)


def test_a_goal_that_a_folders_name_overrules_is_said(model, folders):
    _, options, _ = planned(model, folders, "set", target_steps=500, dim=1)
    training = start(model, options, RunFolder(folders / "run"), Progress())
    assert any("target_steps is not used" in text for text in training.data.problems)


def test_times_are_said_shortly():
    assert [times_text(each) for each in ((12, 12), (2, 12))] == ["12×", "2× to 12×"]


@pytest.mark.parametrize("optimizer", ["AdamW", "Lion", "DAdaptAdanIP", "Prodigy"])
def test_a_rate_of_0_is_refused(optimizer):
    with pytest.raises(InputError, match="trains nothing"):
        from_mapping({"images": "a", "name": "x", "optimizer": optimizer, "learning_rate": 0}, where="test")


def test_adafactor_needs_a_rate_exactly_without_relative_steps():
    style = {"images": "a", "name": "x", "kind": "style"}
    assert from_mapping(style, where="test").learning_rate == 0
    given = style | {"optimizer_args": {"relative_step": False, "scale_parameter": False}}
    assert from_mapping(given, where="test").learning_rate == 1e-4
    with pytest.raises(InputError, match="trains nothing"):
        from_mapping(given | {"learning_rate": 0}, where="test")


def test_a_goal_below_one_epoch_of_all_pictures_is_said(model, folders):
    plan, *_ = planned(model, folders, "plain", target_steps=6, epochs=20)
    assert plan.steps == 240
    assert "240 steps instead of 6" in plan.remarks[0]
    for given in ({"target_steps": 240, "epochs": 20}, {"steps": 6}, {"repeats": 1, "epochs": 20}, {"epochs": 20}):
        assert planned(model, folders, "plain", **given)[0].remarks == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"repeats": 100_000}, "An epoch would show 1200000 pictures"),
        ({"repeats": 10_000, "epochs": 100_000}, "100000 epochs of 120000 steps"),
        ({"repeats": 1, "epochs": 100_000}, "would be 1200000 steps"),
    ],
)
def test_a_run_that_nobody_would_see_the_end_of_is_refused_at_once(model, folders, given, said):
    options = from_mapping({"images": str(folders / "plain"), "name": "x", **given}, where="test")
    with pytest.raises(InputError, match=said):
        check_pictures(options)  # before a run's folder is made
    with pytest.raises(InputError, match=said):
        planned(model, folders, "plain", **given)
    run = RunFolder.fresh(folders / "run")
    with pytest.raises(InputError, match=said):
        start(model, options, run, Progress())
    assert not run.path.exists()


def test_a_large_goal_keeps_an_epoch_within_reason(model, folders):
    plan, *_ = planned(model, folders, "plain", steps=1_000_000, batch_size=1024, epochs=1)
    assert (plan.times, plan.steps) == ((83_333, 83_333), 1_000_000)
