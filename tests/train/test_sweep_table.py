"""Runs that differ in a few options: the table as people write it, and the names of its runs."""

from __future__ import annotations

import pytest

from lib_lora.errors import InputError
from lib_lora.formats.names import is_usable
from lib_lora.train.sweep_table import MOST, SweepTable, run_names, values_text


@pytest.mark.parametrize(
    "lines",
    [
        ["dim: 4, 8", "learning_rate: 1e-4, 3e-4"],
        ["# two by two", "", "dim=4,8", "learning-rate = 0.0001 , 0.0003"],
        ["dim： 4、8", "learning_rate: 1e-4 | 3e-4"],
    ],
)
def test_every_value_meets_every_other(lines):
    table = SweepTable.read(lines)
    assert [(row["dim"], row["learning_rate"]) for row in table.rows] == [
        (4, 1e-4),
        (4, 3e-4),
        (8, 1e-4),
        (8, 3e-4),
    ]
    assert table.axes == {"dim": (4, 8), "learning_rate": (1e-4, 3e-4)}
    assert table == SweepTable.product({"dim": [4, 8], "learning_rate": [1e-4, 3e-4]})
    assert SweepTable.from_dict(table.to_dict()) == table


def test_or_each_line_is_a_run():
    table = SweepTable.read(["dim=4 alpha=4", "dim=16, alpha=8, network=LoHa"])
    assert table.rows == ({"dim": 4, "alpha": 4.0}, {"dim": 16, "alpha": 8.0, "network": "loha"})
    assert not table.axes
    assert table == SweepTable.listed([{"dim": 4, "alpha": 4}, {"dim": 16, "alpha": 8, "network": "loha"}])


def test_values_with_commas_and_of_every_kind():
    table = SweepTable.read(
        ["optimizer_args: d_coef=2 | betas=(0.9,0.99)", "shuffle_caption: on, off", "sample_prompts: a, b --w 64 | c"]
    )
    assert table.axes["optimizer_args"] == ({"d_coef": 2}, {"betas": (0.9, 0.99)})
    assert table.axes["shuffle_caption"] == (True, False)
    assert table.axes["sample_prompts"] == (["a, b --w 64"], ["c"])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["dimm: 4"], "dimm"),
        (["dim: 4, x"], "x"),
        (["dim: 0"], "out of range"),
        (["optimizer: AdamW, Nobody"], "Nobody"),
        (["name: a, b"], "named after its values"),
        (["hello"], "hello"),
        (["dim: 4, 4"], "the same"),
        (["dim: 4", "dim: 8"], "twice"),
        (["dim=4 dim=8"], "twice"),
        (["dim: 4, 8", "dim=1 alpha=2"], "one run each"),
        ([], "no values"),
        (["# nothing"], "no values"),
        ([f"dim: {', '.join(map(str, range(1, MOST + 2)))}"], str(MOST + 1)),
        ([f"{name}: {', '.join(map(str, range(1, 60)))}" for name in ("dim", "seed", "epochs", "repeats")], "12117361"),
    ],
)
def test_what_cannot_be_is_named(lines, said):
    with pytest.raises(InputError, match=said):
        SweepTable.read(lines)


@pytest.mark.parametrize("axes", [{"dim": 4}, {"dim": []}, {"dim": "4,8"}, {"dim": [[4]]}, {}])
def test_a_table_of_json_is_checked_as_well(axes):
    with pytest.raises(InputError):
        SweepTable.product(axes)


@pytest.mark.parametrize("rows", [[], [{}], ["dim"], [{"dim": 4}, {"dim": 4}], [{"nobody": 1}]])
def test_so_are_rows(rows):
    with pytest.raises(InputError):
        SweepTable.listed(rows)


def test_names_tell_the_values_and_differ():
    table = SweepTable.read(["optimizer: AdamW, Lion", "learning_rate: 1e-4, 1e-5"])
    names = run_names("krnk v1", table)
    assert names[0] == "krnk_v1_optimizerAdamW_learning_rate0.0001"
    assert values_text(table.rows[3]) == "optimizer Lion, learning_rate 1e-05"
    long = run_names("k" * 180, SweepTable.read(["trigger: " + " | ".join("t" * 60 + end for end in "abc")]))
    for found in (names, long):
        assert len(set(found)) == len(found)
        assert all(is_usable(name) for name in found)


def test_arguments_are_parted_outside_of_brackets_and_places_tell_their_last_name_on_every_system():
    table = SweepTable.read(["optimizer_args: betas=(0.9, 0.99) eps=1e-8 | weight_decay=0.1"])
    assert table.axes["optimizer_args"] == ({"betas": (0.9, 0.99), "eps": 1e-8}, {"weight_decay": 0.1})
    assert values_text({"images": "C:\\Users\\me\\krnk"}) == "images krnk"
