"""One line over all steps of an order: what it expects before and after a step was done here; it only falls."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_lora.i18n.words import Words
from lib_lora.progress import Progress
from lib_lora.services.jobs.job import DONE, STOPPED, Job
from lib_lora.services.make import course as course_module
from lib_lora.services.make.costs import FACTORS, IN_STEPS, Costs
from lib_lora.services.make.course import SCALE, Whole, course_of, line
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.make.queued import MakeView
from lib_lora.services.make.record import PICTURES, PLAN, PROOF, STEPS, TRAIN, USUAL, WEIGHTS, Make

PLANNED = {"seconds_a_step": 2.0, "steps": 100, "model": "m"}


@pytest.fixture
def costs(tmp_path: Path) -> Costs:
    return Costs.beside(tmp_path / "speed.json")


def order(tmp_path: Path, *over: str, compare: bool = True) -> Make:
    results = {step: (PLANNED if step == PLAN else {}) for step in over}
    options = MakeOptions("pictures", "krnk", compare=compare)
    return Make(tmp_path / "krnk", options, "en", results, dict.fromkeys(over, 10.0))


class Channel(Progress):
    def __init__(self) -> None:
        self.told: list[tuple[int, int, str]] = []

    def update(self, done: int, total: int, text: str = "") -> None:
        self.told.append((done, total, text))


@pytest.mark.parametrize(("compare", "trainings"), [(True, 2), (False, 1)])
def test_the_plan_tells_the_time_of_all_that_comes(tmp_path, costs, compare: bool, trainings: int) -> None:
    early = course_of(order(tmp_path, PICTURES, compare=compare), costs, spent=3)
    assert (early.left, early.number) == (None, 2)
    assert "plan" in line(early, Words("en"))
    planned = course_of(order(tmp_path, PICTURES, PLAN, compare=compare), costs)
    assert planned.left == pytest.approx(trainings * 200 * FACTORS[TRAIN] + 2 * sum(IN_STEPS.values()))
    assert planned.spent == 20


def test_what_a_step_took_here_is_expected_of_the_next_one(tmp_path, costs) -> None:
    made = order(tmp_path, PICTURES, PLAN)
    before = course_of(made, costs).left
    costs.put(made, WEIGHTS, 1000.0)
    costs.put(made, TRAIN, 400.0)
    assert costs.expected(made, WEIGHTS) == pytest.approx(1000.0)
    assert costs.expected(made, TRAIN) == pytest.approx(400.0)  # of another length by its steps
    assert costs.expected(made, USUAL) == pytest.approx(200 * FACTORS[USUAL])
    told = course_of(made, costs).left - before
    assert told == pytest.approx(1000 - 2 * IN_STEPS[WEIGHTS] + 400 - 200 * FACTORS[TRAIN])
    costs.put(made, WEIGHTS, 2000.0)
    assert 1000 < costs.expected(made, WEIGHTS) < 2000
    costs.put(order(tmp_path, PICTURES), PLAN, 99.0)  # what has no measure yet is not noted
    assert PLAN not in costs.path.read_text(encoding="utf-8")


def test_the_rest_falls_with_time_and_a_step_that_takes_longer_never_reads_as_over(tmp_path, costs) -> None:
    made = order(tmp_path, *STEPS[: STEPS.index(PROOF)])
    expected = costs.expected(made, PROOF)
    rests = [course_of(made, costs, spent=spent) for spent in (0, expected / 2, 3 * expected)]
    lefts, shares = [one.left for one in rests], [one.share for one in rests]
    assert lefts == sorted(lefts, reverse=True)
    assert lefts[-1] > 0
    assert shares == sorted(shares)
    assert shares[-1] < 1
    assert course_of(order(tmp_path, *STEPS), costs).share == 1


def test_a_measured_training_counts_by_its_own_pace(tmp_path, costs) -> None:
    made = order(tmp_path, PICTURES, PLAN)
    later = course_of(made, costs).left - costs.expected(made, TRAIN)
    assert course_of(made, costs, part=0.5).left == pytest.approx(later + costs.expected(made, TRAIN) / 2)
    assert course_of(made, costs, part=0.5, rest=7.0).left == pytest.approx(later + 7)


def test_the_terminal_is_told_one_rising_line(tmp_path, costs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(course_module.time, "monotonic", lambda: now[0])
    channel = Channel()
    whole = Whole(order(tmp_path, PICTURES, PLAN), costs, channel)
    whole.update(3, 880, "drawing")
    for done in (1, 2, 3, 50, 99, 100):
        now[0] = 4.0 * done
        whole.update(done, 100, "loss 0.1")
    counts = [done for done, _, _ in channel.told]
    assert counts == sorted(counts)
    assert {total for _, total, _ in channel.told} == {SCALE}
    assert "3/11 Training 50/100 loss 0.1 · about" in channel.told[4][2]
    rest = 2 * 200 * FACTORS[USUAL] / 2 + 2 * sum(IN_STEPS.values())
    assert line(course_of(order(tmp_path, PICTURES, PLAN), costs, rest=0.0), Words("en")) in channel.told[-1][2]
    assert f"{round(rest / 60)} min" in channel.told[-1][2]


@pytest.mark.parametrize(("language", "word"), [("en", "left for all steps"), ("ja", "全手順の残り時間")])
def test_the_line_is_said_in_both_languages(tmp_path, costs, language: str, word: str) -> None:
    assert word in line(course_of(order(tmp_path, PICTURES, PLAN), costs), Words(language), "3 / 9")


def test_between_two_steps_an_order_is_at_work_and_after_a_stopped_one_it_is_not(tmp_path, costs) -> None:
    made = order(tmp_path, PICTURES, PLAN, TRAIN)
    course = course_of(made, costs)
    job = Job("make", "krnk", lambda job: None)
    job.end(DONE)
    assert MakeView(made, course, job, going=True).active
    assert not MakeView(made, course, job).active
    stopped = Job("make", "krnk", lambda job: None)
    stopped.end(STOPPED)
    assert not MakeView(made, course, stopped, going=True).active
