"""Every scheduler at every step against transformers' own, the warmup of sd-scripts, and what cannot go together."""

from __future__ import annotations

import pytest
import torch

from lib_lora.errors import InputError
from lib_lora.train.options import from_mapping
from lib_lora.train.rates import rate_factor, reference_name, warmup_steps
from lib_lora.train.schedulers import SCHEDULERS, WITHOUT_END

TOTAL = 97
BASE = {"images": "p", "name": "n", "optimizer": "AdamW", "learning_rate": 1e-3}


def options(**changes):
    return from_mapping({**BASE, **changes}, where="t")


def ours(**changes):
    chosen = options(**changes)
    return [chosen.learning_rate * rate_factor(chosen, step, TOTAL) for step in range(TOTAL)]


def theirs(make, **arguments):
    """Return the rates that an optimizer has at each of its steps under a schedule of another library."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    schedule = make(optimizer, **arguments)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


STEPS = {"num_training_steps": TOTAL}
CASES = {
    "constant": ("constant", {}, "get_constant_schedule_with_warmup", {}),
    "linear": ("linear", {}, "get_linear_schedule_with_warmup", STEPS),
    "cosine": ("cosine", {}, "get_cosine_schedule_with_warmup", STEPS),
    "cosine with an end": (
        "cosine",
        {"scheduler_lowest": 0.1},
        "get_cosine_with_min_lr_schedule_with_warmup",
        {**STEPS, "min_lr_rate": 0.1},
    ),
    "restarts": (
        "cosine_with_restarts",
        {"scheduler_cycles": 3},
        "get_cosine_with_hard_restarts_schedule_with_warmup",
        {**STEPS, "num_cycles": 3},
    ),
    "polynomial": ("polynomial", {}, "get_polynomial_decay_schedule_with_warmup", STEPS),
    "polynomial with a power": (
        "polynomial",
        {"scheduler_power": 2.5, "scheduler_lowest": 0.05},
        "get_polynomial_decay_schedule_with_warmup",
        {**STEPS, "power": 2.5, "lr_end": 5e-5},
    ),
    "inverse_sqrt": ("inverse_sqrt", {}, "get_inverse_sqrt_schedule", {}),
    "wsd": ("wsd", {"scheduler_decay": 20}, "get_wsd_schedule", {**STEPS, "num_decay_steps": 20}),
    "wsd with an end": (
        "wsd",
        {"scheduler_decay": 0.25, "scheduler_lowest": 0.2},
        "get_wsd_schedule",
        {**STEPS, "num_decay_steps": int(0.25 * TOTAL), "min_lr_ratio": 0.2},
    ),
}


@pytest.mark.parametrize("warmup", [0, 1, 13])
@pytest.mark.parametrize("name", CASES)
def test_as_sd_scripts_every_step_has_the_rate_of_transformers(name, warmup):
    transformers = pytest.importorskip("transformers")
    scheduler, changes, reference, arguments = CASES[name]
    found = ours(scheduler=scheduler, warmup=warmup, as_sd_scripts=True, **changes)
    expected = theirs(getattr(transformers, reference), num_warmup_steps=warmup, **arguments)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-18)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_as_sd_scripts_every_step_has_the_rate_of_diffusers(name):
    optimization = pytest.importorskip("diffusers.optimization")
    reference = "constant_with_warmup" if name == "constant" else name

    def make(optimizer):
        return optimization.get_scheduler(reference, optimizer, num_warmup_steps=9, num_training_steps=TOTAL)

    assert ours(scheduler=name, warmup=9, as_sd_scripts=True) == pytest.approx(theirs(make), rel=1e-12, abs=1e-18)


def test_every_scheduler_of_the_reference_is_compared():
    assert {scheduler for scheduler, *_ in CASES.values()} == SCHEDULERS.keys() - {"rex"}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_lowest_rate_is_where_the_course_ends(name):
    if name not in WITHOUT_END:
        assert all(3e-4 <= rate <= 1e-3 for rate in ours(scheduler=name, scheduler_lowest=0.3, warmup=5)[5:])
    chosen = options(scheduler=name, scheduler_lowest=0.3)
    ended = rate_factor(chosen, TOTAL, TOTAL)
    assert ended == pytest.approx({"constant": 1.0, "inverse_sqrt": 0.9952}.get(name, 0.3), abs=1e-3)


def test_a_share_of_warmup_is_cut_as_there_and_rounded_here():
    assert warmup_steps(options(warmup=0.1), 97) == 10
    assert warmup_steps(options(warmup=0.1, as_sd_scripts=True), 97) == 9
    assert rate_factor(options(warmup=4), 0, 97) == 0.25
    assert rate_factor(options(warmup=4, as_sd_scripts=True), 0, 97) == 0


def test_a_file_tells_the_scheduler_in_sd_scripts_words():
    said = {
        "constant_with_warmup": {"scheduler": "constant", "warmup": 5},
        "constant": {"scheduler": "constant"},
        "cosine": {"scheduler": "cosine"},
        "cosine_with_min_lr": {"scheduler": "cosine", "scheduler_lowest": 0.1},
        "warmup_stable_decay": {"scheduler": "wsd"},
    }
    assert {name: reference_name(options(**given)) for name, given in said.items()} == {name: name for name in said}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"warmup": 30, "steps": 20}, {"warmup": 2}),
        ({"scheduler": "wsd", "warmup": 0.6, "scheduler_decay": 0.5}, {"warmup": 0.1}),
        ({"scheduler": "wsd", "warmup": 15, "scheduler_decay": 10, "steps": 20}, {"scheduler_decay": 5}),
        (
            {"optimizer": "Prodigy", "learning_rate": 1.0, "as_sd_scripts": True},
            {"text_encoder_ratio": 1.0, "unet_ratio": 1.0},
        ),
        (
            {"optimizer": "DAdaptAdam", "learning_rate": 1.0, "optimizer_args": {"decouple": False, "weight_decay": 1}},
            {"optimizer_args": {"decouple": True, "weight_decay": 1}},
        ),
        (
            {"optimizer": "Prodigy", "learning_rate": 1.0, "optimizer_args": {"decouple": False, "weight_decay": 1}},
            {"optimizer_args": {"decouple": False}, "as_sd_scripts": True, "text_encoder_ratio": 0},
        ),
        (
            {"optimizer": "ProdigyPlusScheduleFree", "learning_rate": 1.0, "text_encoder_ratio": 0.5},
            {"text_encoder_ratio": 0},
        ),
    ],
)
def test_what_cannot_go_together_is_refused_and_its_cure_is_enough(wrong, right):
    with pytest.raises(InputError) as caught:
        options(**wrong)
    assert caught.value.cure
    options(**{**wrong, **right})
