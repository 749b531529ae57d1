"""The axes of the X/Y/Z plot, on a fake of it: values, checks before the first picture, and what a cell carries."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import parse_tag, resolve
from lib_lora.errors import InputError
from lib_lora.host.webui import lora_list
from lib_lora.host.webui.axes.changes import OneBlock, Weights
from lib_lora.host.webui.axes.plot import PREFIX, register_axes, unregister_axes
from lib_lora.host.webui.axes.values import (
    files_of_runs,
    split_blocks,
    split_numbers,
    split_ranges,
    split_steps,
    split_weights,
)
from lib_lora.host.webui.prompt.overrides import GenerationOverrides, overrides_of
from lib_lora.i18n.error_words import sentence_of

LAYOUT = full_layout("sd1")
VECTOR = ",".join(["1"] * 26)
PROMPT = "cat <lora:girl:0.8:FACE> and <lora:hat:1:0.5:start=2>"
FILES = {
    "girl": {},
    "girl-000001": {},
    "girl-000002": {},
    "girl-step00000300": {},
    "hat": {},
    "renamed": {"atelier_options": "…", "ss_output_name": "girl"},
}


class AxisOption:
    """As the plot's own class takes its arguments."""

    def __init__(
        self, label, type, apply, format_value=None, confirm=None, cost=0.0, choices=None, prepare=None
    ) -> None:
        self.label, self.type, self.apply, self.format_value = label, type, apply, format_value
        self.confirm, self.cost, self.choices, self.prepare = confirm, cost, choices, prepare


class FakeHost:
    """What the axes ask of a host."""

    def __init__(self) -> None:
        self.presets, self.model = PresetFile.shipped(), SimpleNamespace(family="sd1")

    def list_loras(self):
        return dict.fromkeys(FILES)

    def find_lora(self, name):
        if name not in FILES:
            raise InputError(f"There is no LoRA called “{name}”", cure="Did you mean girl?")
        return name


@pytest.fixture
def plot(a1111, monkeypatch):
    """The plot's module with our axes, by their labels without the prefix."""
    monkeypatch.setattr(lora_list, "metadata_of", lambda name: FILES.get(name, {}))
    module = SimpleNamespace(AxisOption=AxisOption, axis_options=[AxisOption("Seed", int, None)])
    a1111.scripts_data.append(SimpleNamespace(path="x/scripts/xyz_grid.py", module=module))
    assert register_axes(FakeHost())
    return module


@pytest.fixture
def axes(plot):
    return {option.label.removeprefix(PREFIX): option for option in plot.axis_options}


def order(prompt=PROMPT, **more):
    return SimpleNamespace(prompt=prompt, hr_prompt="", styles=[], **more)


def cell(p, *steps):
    """Return the tags of a cell: each of ``steps`` is an axis and its value."""
    mine = copy.copy(p)
    for axis, value in steps:
        axis.apply(mine, axis.type(value), [value])
    changes = [change for group in overrides_of(mine).changes.values() for change in group]
    return [
        GenerationOverrides(changes={"": tuple(changes)}).changed(parse_tag(text))
        for text in ("<lora:girl:0.8:FACE>", "<lora:hat:1:0.5:start=2>")
    ]


def weights_of(tag):
    return resolve(tag, PresetFile.shipped(), "sd1", seed=0).weights.as_dict()


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("ALL, NONE", ["ALL", "NONE"]),
        ("girl: FACE, girl: NONE,", ["girl: FACE", "girl: NONE"]),
        (VECTOR, [VECTOR]),
        (f"girl: {VECTOR}", [f"girl: {VECTOR}"]),
        (f"ALL; {VECTOR}", ["ALL", VECTOR]),
        (f'ALL, "{VECTOR}"', ["ALL", VECTOR]),
        (",".join(["ALL"] * 12), ["ALL"] * 12),
        ("ALL，顔、体", ["ALL", "顔、体"]),
        ("顔、体", ["顔、体"]),
        ("ALL, 顔：笑顔", ["ALL", "顔：笑顔"]),
        ("顔、ALL", ["顔", "ALL"]),
        ("girl：" + "１、" * 25 + "１", [f"girl: {VECTOR}"]),
        ("", []),
    ],
)
def test_weights_are_split_at_commas_but_a_vector_stays_whole(text, values):
    assert split_weights(text, {"顔、体", "顔：笑顔"}.__contains__) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0, 0.5", ["0", "0.5"]),
        ("0-1 (+0.25)", ["0", "0.25", "0.5", "0.75", "1"]),
        ("girl: 0-1 [3]", ["girl: 0", "girl: 0.5", "girl: 1"]),
        ("1-3", ["1", "2", "3"]),
        ("1-0 (-0.5)", ["1", "0.5", "0"]),
        ("-1-1 [3]", ["-1", "0", "1"]),
        ("0-1 (-1), 0-9999999 [5000]", ["0-1 (-1)", "0-9999999 [5000]"]),
        ("end", ["end"]),
        ("０、０．５", ["0", "0.5"]),
        (f"0-{'9' * 400}", [f"0-{'9' * 400}"]),
    ],
)
def test_ranges_of_numbers_are_written_out(text, values):
    assert split_numbers(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0-1 (+0.5)", ["0.0", "0.5", "1.0"]),  # 1 would be the first step, not the last
        ("0.0-1.0 [2]", ["0.0", "1.0"]),
        ("hat: 0-1 [3], end", ["hat: 0.0", "hat: 0.5", "hat: 1.0", "end"]),
        ("5-15 (+5)", ["5", "10", "15"]),
        ("1, 0.5, 1.0", ["1", "0.5", "1.0"]),
    ],
)
def test_a_range_of_shares_has_shares_at_its_ends(text, values):
    assert split_steps(text) == values


def test_bare_numbers_belong_to_the_blocks_before_them():
    assert split_blocks("IN04=0, 0.5, girl: OUT03-OUT05=0-1 [3], FOO") == [
        "IN04=0",
        "IN04=0.5",
        "girl: OUT03-OUT05=0",
        "girl: OUT03-OUT05=0.5",
        "girl: OUT03-OUT05=1",
        "FOO",
    ]


def test_range_over_blocks_takes_lists_shortcuts_and_several_ranges():
    assert split_ranges("IN04, OUT03-OUT05, source", LAYOUT) == ["0/1: IN04", "0/1: OUT03-OUT05", "0/1: source"]
    assert len(split_ranges("0,1: 17ALL; 2,0: 26ALL", LAYOUT)) == 17 + 26
    assert split_ranges("girl: 2/0: M00", LAYOUT) == ["girl: 2/0: M00"]
    assert split_ranges("girl: M00", LAYOUT) == ["girl: 0/1: M00"]
    assert split_ranges("0/1: IN04, 2/0: M00", LAYOUT) == ["0/1: IN04", "2/0: M00"]
    assert split_ranges("０／１：ＩＮ０４、M00", LAYOUT) == ["0/1: IN04", "0/1: M00"]


def test_files_of_a_run_are_those_that_it_named_or_wrote_its_name_into():
    assert files_of_runs(FILES) == {"girl": ["girl-000001", "girl-000002", "girl-step00000300", "renamed", "girl"]}


# -- cells ---------------------------------------------------------------------------------------------------------


def test_bare_preset_changes_every_lora_and_a_keyed_one_its_own(axes):
    axis = axes["Block weights"]
    both = cell(order(), (axis, "NONE"))
    assert [tag.weights.text for tag in both] == ["NONE", "NONE"]
    girl, hat = cell(order(), (axis, "Girl: OUTALL"))
    assert (girl.weights.text, hat) == ("OUTALL", parse_tag("<lora:hat:1:0.5:start=2>"))
    assert cell(order(), (axis, "(as written)"))[0] == parse_tag("<lora:girl:0.8:FACE>")


def test_one_block_keeps_the_weights_of_the_others(axes):
    girl, hat = cell(order(), (axes["One block"], "IN04-IN06=0.25"))
    face = weights_of(parse_tag("<lora:girl:0.8:FACE>"))
    assert weights_of(girl) == {**face, "IN04": 0.25, "IN05": 0.25, "IN06": 0.25}
    assert weights_of(hat) == {**dict.fromkeys(LAYOUT.names, 1.0), "IN04": 0.25, "IN05": 0.25, "IN06": 0.25}


def test_one_block_of_a_shorter_preset_leaves_the_blocks_that_it_does_not_name_off(axes):
    (tag, _) = cell(order(), (axes["Block weights"], "girl: OUTALL"), (axes["One block"], "girl: M00=0.5"))
    before = weights_of(parse_tag("<lora:girl:0.8:OUTALL>"))
    assert weights_of(tag) == {**before, "M00": 0.5}


def test_preset_and_block_meet_in_either_order_of_the_axes(axes):
    steps = [
        (axes["Block weights"], "girl: NONE"),
        (axes["One block"], "OUT03=2"),
        (axes["Files of a run"], "girl-000001"),
    ]
    one, two = cell(order(), *steps), cell(order(), *reversed(steps))
    assert one == two
    assert one[0].name == "girl-000001"
    assert [name for name, value in weights_of(one[0]).items() if value] == ["OUT03"]


@pytest.mark.parametrize("written", ["１、" * 25 + "１", "顔、体"])
def test_one_block_reads_the_tags_weights_as_the_tag_itself_is_read(written):
    presets = PresetFile.parse(f"顔、体:{VECTOR}")
    tag = OneBlock(None, ("IN04",), 0.0, presets, "sd1")(parse_tag(f"<lora:girl:1:lbw={written}>"))
    assert weights_of(tag) == {**dict.fromkeys(LAYOUT.names, 1.0), "IN04": 0.0}


def test_range_puts_one_number_into_a_block_and_another_into_all_others(axes):
    girl, _ = cell(order(), (axes["Range over blocks"], "0.5/1: M00"))
    assert weights_of(girl) == {**dict.fromkeys(LAYOUT.names, 1.0), "M00": 0.5}
    girl, hat = cell(order(), (axes["Range over blocks"], "girl: 2/0: source"))
    assert set(weights_of(girl).values()) == {0.0}
    assert hat.weights is None


def test_strengths_and_steps_change_one_thing_each(axes):
    girl, hat = cell(order(), (axes["TE strength"], "0.25"), (axes["Stop step"], "hat: 0.5"))
    assert (girl.te, girl.unet, hat.te, hat.unet) == (0.25, 0.8, 0.25, 0.5)
    assert (girl.stop, hat.stop.format(), hat.start.format()) == (None, "0.5", "2")
    girl, hat = cell(order(), (axes["UNet strength"], "hat: -1"), (axes["Start step"], "end"))
    assert (girl.unet, hat.unet, hat.start) == (0.8, -1.0, None)


def test_epoch_file_takes_the_place_of_its_runs_lora(axes):
    girl, hat = cell(order(), (axes["Files of a run"], "girl-000002"))
    assert (girl.name, girl.te, girl.weights.text, hat.name) == ("girl-000002", 0.8, "FACE", "hat")
    assert cell(order(), (axes["Files of a run"], "hat: girl-000001"))[1].name == "girl-000001"
    alone = order("<lora:hat:1>")
    assert cell(alone, (axes["Files of a run"], "girl-000001"))[1].name == "girl-000001"


def test_cells_share_nothing(axes):
    p = order(atelier=GenerationOverrides(off=False, changes={"": (Weights(None, "ALL"),)}))
    before = p.atelier
    one, two = copy.copy(p), copy.copy(p)
    axes["TE strength"].apply(one, "0.5", [])
    axes["TE strength"].apply(two, "1", [])
    assert p.atelier is before
    assert len(one.atelier.changes[""]) == len(two.atelier.changes[""]) == 2
    assert one.atelier != two.atelier


# -- checks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "value", "said"),
    [
        ("Block weights", "FACEE", "no preset “FACEE”.*Did you mean FACE"),
        ("Block weights", "girll: FACE", "no LoRA “girll”.*Did you mean girl"),
        ("Block weights", "1,0,1", "got 3"),
        ("One block", "IN99=1", "no block “IN99”"),
        ("One block", "IN04", "names no block and number.*IN04=0.5"),
        ("One block", "IN04=x", "names no block and number"),
        ("One block", "IN04=1e999", "names no block and number"),
        ("Range over blocks", f"{'9' * 400}/1: IN04", "is no range"),
        ("Range over blocks", "0/1: IN99", "no block “IN99”"),
        ("Range over blocks", "a/b: IN04", "is no range"),
        ("TE strength", "much", "“much” is no number"),
        ("UNet strength", "girl: 1e999", "“1e999” is no number"),
        ("Start step", "1.5", "more than all steps"),
        ("Stop step", "soon", "no moment of sampling"),
        ("Files of a run", "girl-000009", "no LoRA called “girl-000009”"),
        ("Files of a run", "nobody-000001", "of the run of none"),
    ],
)
def test_bad_value_is_refused_before_the_first_picture(axes, axis, value, said):
    with pytest.raises(RuntimeError, match=said):
        axes[axis].confirm(order(), [value])


@pytest.mark.parametrize("axis", ["Block weights", "One block", "TE strength", "Files of a run"])
def test_axis_without_a_value_or_without_a_lora_is_refused(axes, axis):
    value = {"One block": "M00=0", "TE strength": "1", "Files of a run": "girl"}.get(axis, "ALL")
    axes[axis].confirm(order(), [value])
    with pytest.raises(RuntimeError, match="no LoRA that this axis could change"):
        axes[axis].confirm(order("cat"), [value])
    with pytest.raises(RuntimeError, match="has no value"):
        axes[axis].confirm(order(), [])


def test_tags_of_styles_and_of_the_hires_prompt_count(axes):
    p = order("cat")
    p.styles = ["<lora:hat:1>"]
    axes["TE strength"].confirm(p, ["hat: 1"])
    p = order("cat")
    p.hr_prompt = "<lora:hat:1>"
    axes["TE strength"].confirm(p, ["hat: 1"])


def test_errors_are_worded_for_the_page(a1111, plot):
    assert register_axes(FakeHost(), lambda error: f"<{error.what}>")
    (axis,) = (each for each in plot.axis_options if each.label == f"{PREFIX}TE strength")
    with pytest.raises(RuntimeError, match="<“much” is no number>"):
        axis.confirm(order(), ["much"])
    (axis,) = (each for each in plot.axis_options if each.label == f"{PREFIX}Range over blocks")
    with pytest.raises(RuntimeError, match="<This model has no"):
        axis.prepare("61ALL")


# -- the plot ------------------------------------------------------------------------------------------------------


def test_axes_are_registered_once_however_often_the_page_is_built(plot):
    labels = [option.label for option in plot.axis_options]
    assert len(labels) == len(set(labels)) == 9
    register_axes(FakeHost())
    assert [option.label for option in plot.axis_options] == labels
    unregister_axes()
    assert [option.label for option in plot.axis_options] == ["Seed"]


def test_axes_stand_aside_with_the_block_weights(a1111, plot):
    assert register_axes(FakeHost())
    a1111.scripts_data.append(SimpleNamespace(path="/extensions/other-weights/scripts/lora_block_weight.py"))
    assert not register_axes(FakeHost())
    assert not [option.label for option in plot.axis_options if option.label.startswith(PREFIX)]


def test_host_without_a_plot_is_no_error(a1111):
    assert not register_axes(FakeHost())
    unregister_axes()


def test_labels_of_the_grid_are_short_and_say_what_changed(axes):
    def shown(axis, value):
        return axes[axis].format_value(None, axes[axis], value)

    assert shown("Block weights", "girl: FACE") == "girl: FACE"
    assert shown("Block weights", VECTOR) == "1,1,1,… (26)"
    assert shown("TE strength", "girl: 0.5") == "girl: TE 0.5"
    assert shown("Stop step", "10") == "stop 10"
    assert shown("Range over blocks", "0/1: IN04") == "IN04=0 (others 1)"
    assert shown("Range over blocks", "0/1: source") == "all 1"


def test_drop_downs_offer_the_presets_and_the_files_of_runs(axes):
    assert axes["Block weights"].choices()[:3] == ["(as written)", "ALL", "NONE"]
    assert "FACE" in axes["Block weights"].choices()
    assert axes["Files of a run"].choices() == ["girl-000001", "girl-000002", "girl-step00000300", "renamed", "girl"]
    assert axes["TE strength"].choices is None


def test_what_the_text_encoder_feels_is_changed_more_seldom_than_what_only_the_unet_feels(axes):
    dear = min(axes[label].cost for label in ("Block weights", "TE strength", "Files of a run"))
    assert dear > max(axes[label].cost for label in ("UNet strength", "Start step", "Stop step"))
    assert all(axis.cost < 0.7 for label, axis in axes.items() if label != "Seed")  # a checkpoint is dearer


def test_change_of_other_blocks_reaches_the_tags_own_item(axes):
    girl, _ = cell(order(), (axes["One block"], "girl: other=0.5"))
    assert girl.other == 0.5
    assert weights_of(girl) == weights_of(replace(girl, weights=parse_tag("<lora:girl:1:FACE>").weights))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "The prompt has no LoRA “plan” — X/Y/Z plot. It has: girl, hat."),
        ("ja", "プロンプトに LoRA「plan」がありません（X/Y/Z プロット）。プロンプトにある LoRA：girl, hat"),
    ],
)
def test_errors_are_sentences(axes, language, said):
    with pytest.raises(RuntimeError) as error:
        axes["Block weights"].confirm(order(), ["plan: NONE"])
    assert said in sentence_of(error.value.__cause__, language)
