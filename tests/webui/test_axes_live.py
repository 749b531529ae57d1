"""Our axes in the X/Y/Z plot of a real WebUI: every cell is the picture that its tag alone would give."""

from __future__ import annotations

import pytest

from lib_lora.blocks.layouts import full_layout
from tests.webui.live import Refused
from tests.webui.material import add_lora
from tests.webui.pictures import difference

PREFIX = "[LoRA Atelier] "
NAMES = full_layout("sd1").names
PROMPT = "red apple <lora:plain:1>"


def plot_arguments(webui):
    """Return the plot's arguments at rest, in their order, and the labels of its axes."""
    plot = next(each for each in webui.get("/sdapi/v1/script-info") if each["name"] == "x/y/z plot")
    by_label = {each["label"]: each for each in plot["args"]}
    values = [each["value"] for each in plot["args"]]
    labels = [each["label"] for each in plot["args"]]
    return values, labels, list(by_label["X type"]["choices"])


def plot(webui, x, y=None, *, prompt=PROMPT, text=True):
    """Return the pictures of a plot without its grid; ``x`` and ``y`` are an axis and its values."""
    values, labels, axes = plot_arguments(webui)
    values[labels.index("X type")] = values[labels.index("Y type")] = values[labels.index("Z type")] = 0
    for letter, axis in (("X", x), ("Y", y)):
        if axis is None:
            continue
        values[labels.index(f"{letter} type")] = axes.index(PREFIX + axis[0])
        first = labels.index(f"{letter} values")
        values[first], values[first + 1] = (axis[1], []) if text else ("", axis[1])
    values[labels.index("Include Sub Images")] = True
    values[labels.index("Use text inputs instead of dropdowns")] = text
    made = webui.txt2img(prompt=prompt, script_name="x/y/z plot", script_args=values)
    return made.images[1:], made


def alone(webui, *tags):
    return [webui.txt2img(prompt=f"red apple {tag}").image for tag in tags]


def differences(cells, singles):
    return [difference(one, two) for one, two in zip(cells, singles, strict=True)]


def vector(**weights):
    return ",".join(str(weights.get(name, 1)) for name in NAMES)


def test_presets_of_the_drop_down_make_the_pictures_of_their_tags(webui):
    cells, made = plot(webui, ("Block weights", ["(as written)", "NONE", "OUTALL"]), text=False)
    singles = alone(webui, "<lora:plain:1>", "<lora:plain:1:NONE>", "<lora:plain:1:OUTALL>")
    assert differences(cells, singles) == [0, 0, 0]
    assert difference(cells[0], cells[1]) > 20
    assert "X Type: [LoRA Atelier] Block weights" in made.infotext
    assert "lbw=0,0,0" in made.infotexts[2]


def test_weights_are_given_to_the_lora_that_is_named_and_to_no_other(webui):
    both = "red apple <lora:plain:1><lora:other:1>"
    cells, _ = plot(webui, ("Block weights", "other: NONE; plain: OUTALL"), prompt=both)
    singles = alone(webui, "<lora:plain:1><lora:other:1:NONE>", "<lora:plain:1:OUTALL><lora:other:1>")
    assert differences(cells, singles) == [0, 0]


def test_block_and_strength_meet_in_every_cell(webui):
    cells, _ = plot(webui, ("One block", "M00=0, OUT08=0, 0.5"), ("TE strength", "0, 1"))
    vectors = [vector(M00=0), vector(OUT08=0), vector(OUT08=0.5)]
    tags = [f"<lora:plain:te={te}:unet=1:lbw={each}>" for te in (0, 1) for each in vectors]
    assert differences(cells, alone(webui, *tags)) == [0] * 6


def test_steps_and_unet_strength_meet_in_every_cell(webui):
    cells, _ = plot(webui, ("Stop step", "1, 0.5, end"), ("UNet strength", "0.5-1 [2]"))
    ends = (":stop=1", ":stop=0.5", "")
    tags = [f"<lora:plain:te=1:unet={unet}{end}>" for unet in (0.5, 1) for end in ends]
    assert differences(cells, alone(webui, *tags)) == [0] * 6


def test_range_over_blocks_examines_one_after_the_other(webui):
    cells, _ = plot(webui, ("Range over blocks", "0/1: source, BASE, OUT08; 1/0: OUT08"))
    only = ",".join("1" if name == "OUT08" else "0" for name in NAMES)
    vectors = [vector(), vector(BASE=0), vector(OUT08=0), only]
    assert differences(cells, alone(webui, *(f"<lora:plain:1:lbw={each}>" for each in vectors))) == [0] * 4


def test_epoch_files_of_a_run_take_the_place_of_its_lora(webui, live_layers):
    files = ("grown-000001", "grown-000002", "grown")
    try:
        for seed, name in enumerate(files, start=20):
            add_lora(webui, name, live_layers, seed=seed)
        webui.refresh_loras()
        cells, _ = plot(webui, ("Files of a run", list(files)), prompt="red apple <lora:grown:0.9>", text=False)
        assert differences(cells, alone(webui, *(f"<lora:{name}:0.9>" for name in files))) == [0, 0, 0]
        assert len({cell.tobytes() for cell in cells}) == 3
    finally:
        for name in files:
            (webui.loras / f"{name}.safetensors").unlink()
        webui.refresh_loras()


@pytest.mark.parametrize(
    ("axis", "value", "said"),
    [
        ("Block weights", "OUTALL, FACEE", "no preset “FACEE”"),
        ("Block weights", "plan: NONE", "no LoRA “plan”"),
        ("One block", "IN99=1", "no block “IN99”"),
        ("TE strength", "1, much", "“much” is no number"),
        ("Files of a run", "plain: nothing-000001", "no LoRA called “nothing-000001”"),
    ],
)
def test_bad_value_ends_the_plot_before_its_first_picture(webui, axis, value, said):
    before = webui.said.count("100%")
    with pytest.raises(Refused, match="RuntimeError") as refused:
        plot(webui, (axis, value))
    assert said in refused.value.said
    assert webui.said.count("100%") == before


def test_plot_leaves_nothing_behind(webui):
    before = webui.txt2img(prompt="red apple").image
    plot(webui, ("Block weights", "NONE, OUTALL"))
    assert difference(before, webui.txt2img(prompt="red apple").image) == 0
    assert difference(*alone(webui, "<lora:plain:1>", "<lora:plain:1:ALL>")) <= 1


def test_reload_of_the_page_leaves_each_axis_once(webui):
    _, _, before = plot_arguments(webui)
    webui.reload_ui()
    _, _, after = plot_arguments(webui)
    assert after == before
    assert len([label for label in after if label.startswith(PREFIX)]) == 8
    cells, _ = plot(webui, ("Block weights", "NONE"))
    assert differences(cells, alone(webui, "<lora:plain:1:NONE>")) == [0]
