"""Learning rates, ranks and alphas by block: as sd-scripts counts them, and as block weights are written."""

from __future__ import annotations

import json
import math
import re

import pytest

from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.keys import block_of_key, module_table
from lib_lora.formats.lora import read_lora
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train import network
from lib_lora.train.block_numbers import rates_of, recorded, sizes_of
from lib_lora.train.loop import run
from lib_lora.train.options import from_mapping
from lib_lora.train.remarks import remarks_on
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import one_step
from lib_lora.train.training import start

C186_DOWN = "0.6,0.8,1,0.8,0.8,0.6,0.6,0.6,1,0.6,0.6,0.6"
C186_UP = "0.8,0.6,1,1,1,1,0.8,0.8,0.8,0.6,0.6,0.8"


def made(**changes):
    return from_mapping({"images": "p", "name": "n", **changes}, where="t")


def place_of(key: str, family: str) -> int:
    """Where sd-scripts counts a module of a UNet: 0 to 24, of SDXL 0 to 22."""
    name = key.removeprefix("lora_unet_")
    if family == "sdxl":
        found = re.match(r"(input|middle|output)_blocks?_(\d+)", name)
        return {"input": 1, "middle": 10, "output": 13}[found[1]] + int(found[2])
    if name.startswith("mid_block"):
        return 12
    found = re.match(r"(down|up)_blocks_(\d)_(\w+?)_(\d)_", name)
    return (1 if found[1] == "down" else 13) + 3 * int(found[2]) + (2 if "sampler" in found[3] else int(found[4]))


def unet_keys(family: str) -> list[str]:
    return [module.key for module in module_table(family, conv=True) if module.key.startswith("lora_unet")]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("sine", lambda x: math.sin(math.pi * x / 2)),
        ("cosine+0.25", lambda x: math.sin(math.pi * (1 - x) / 2) + 0.25),
        ("linear", lambda x: x),
        ("reverse_linear + .1", lambda x: 1.1 - x),
        ("zeros+0.5", lambda x: 0.5),
        ("0.4", lambda x: 0.4),
    ],
)
def test_a_word_is_the_row_that_sd_scripts_makes_of_it(family, word, shape):
    side, middle = (9, 3) if family == "sdxl" else (12, 1)
    rates = rates_of(made(up_lr_weight=word, mid_lr_weight="0.3"), family)
    for key in unet_keys(family):
        place = place_of(key, family) - (1 if family == "sdxl" else 0)
        expected = 1.0 if place < side else 0.3
        if place >= side + middle:
            expected = shape((place - side - middle) / (side - 1))
        assert rates.of(key, family) == pytest.approx(expected, abs=1e-12), key
    assert rates.of("lora_te_text_model_encoder_layers_0_mlp_fc1", family) == 1


def test_each_part_of_the_middle_of_sdxl_can_have_its_own_rate():
    rates = rates_of(made(mid_lr_weight="0.1,0.2,0.3"), "sdxl")
    keys = ("lora_unet_middle_block_0_in_layers_2", "lora_unet_middle_block_1_proj_in", "lora_unet_middle_block_2_x")
    assert [rates.of(key, "sdxl") for key in keys] == [0.1, 0.2, 0.3]
    diffusers = ("lora_unet_mid_block_resnets_0_conv1", "lora_unet_mid_block_attentions_0_proj_in")
    assert [rates.of(key, "sdxl") for key in (*diffusers, "lora_unet_mid_block_resnets_1_conv1")] == [0.1, 0.2, 0.3]
    alike, exact = (
        rates_of(made(mid_lr_weight="0.5", as_sd_scripts=e, optimizer="AdamW"), "sdxl") for e in (0 > 1, True)
    )
    assert [alike.of(key, "sdxl") for key in keys] == [0.5] * 3
    assert [exact.of(key, "sdxl") for key in keys] == [0.5, 1, 1]


def test_rows_of_another_length_are_cut_and_filled_as_in_sd_scripts_and_said():
    rates = rates_of(made(down_lr_weight="0.5,0.5", up_lr_weight=",".join(["0.2"] * 14)), "sd1")
    assert [rates.table[f"IN{n:02d}"] for n in (0, 1, 2, 11)] == [0.5, 0.5, 1, 1]
    assert rates.table["OUT11"] == 0.2
    assert "OUT12" not in rates.table
    assert [note.split(" for")[0] for note in rates.notes] == [
        "down_lr_weight has 2 numbers",
        "up_lr_weight has 14 numbers",
    ]


def test_published_sets_are_presets_and_equal_to_their_rows():
    preset = rates_of(made(block_lr_weight="C186"), "sd1")
    rows = rates_of(made(down_lr_weight=C186_DOWN, mid_lr_weight="1", up_lr_weight=C186_UP), "sd1")
    assert {name: preset.table[name] for name in rows.table} == dict(rows.table)
    assert preset.table["BASE"] == 1
    assert recorded(made(block_lr_weight="C186"), "sd1") == {
        "down_lr_weight": C186_DOWN,
        "mid_lr_weight": "1",
        "up_lr_weight": C186_UP,
    }
    assert rates_of(made(block_lr_weight="c721"), "sd2").table["IN08"] == 0.7


@pytest.mark.parametrize(("family", "count"), [("sd1", 26), ("sd1", 17), ("sd2", 26), ("sdxl", 20), ("sdxl", 12)])
def test_vectors_of_block_weights_are_rates_with_the_text_encoder_in_front(family, count):
    vector = ",".join(str(n / 100) for n in range(1, count + 1))
    rates = rates_of(made(block_lr_weight=vector), family)
    assert (rates.table["BASE"], rates.of("lora_te1_text_model_encoder_layers_0_mlp_fc1", family)) == (0.01, 0.01)
    assert max(rates.table.values()) == count / 100
    assert bool(rates.notes) == (count in (17, 12))


def test_rates_below_the_threshold_are_no_rates():
    rates = rates_of(made(down_lr_weight="linear", block_lr_zero_threshold=0.5), "sd1")
    assert [name for name, value in rates.table.items() if not value] == [f"IN{n:02d}" for n in range(6)]


@pytest.mark.parametrize(("family", "count"), [("sd1", 25), ("sd2", 25), ("sdxl", 23)])
def test_dims_are_counted_as_sd_scripts_does(family, count):
    dims = sizes_of(",".join(map(str, range(1, count + 1))), "block_dims", 7, family)
    for key in unet_keys(family):
        assert dims.of(key, family) == place_of(key, family) + 1, key
    assert dims.of("lora_te_text_model_encoder_layers_0_mlp_fc1", family) == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"block_lr_weight": "C186", "down_lr_weight": "sine"}, "said twice"),
        ({"down_lr_weight": "sinus"}, "neither numbers nor one of"),
        ({"up_lr_weight": "1,-1"}, "below 0"),
        ({"mid_lr_weight": "1,x"}, "neither numbers"),
        ({"block_dims": "4,,4"}, "Number 2"),
        ({"block_dims": "4.5"}, "no rank"),
        ({"conv_block_dims": "4096"}, "no rank"),
        ({"block_alphas": "1,-2"}, "below 0"),
        ({"block_lr_weight": "C186", "optimizer": "DAdaptLion", "as_sd_scripts": True}, "several learning rates"),
        ({"loraplus_lr_ratio": 16, "optimizer": "ProdigyPlusScheduleFree"}, "several learning rates"),
        ({"scale_weight_norms": 1, "optimizer": "ProdigyPlusScheduleFree"}, "average of its own"),
        ({"timestep_rank": True, "timestep_rank_min": 99, "dim": 8}, "99 ranks cannot be left"),
        ({"network_dropout": 1}, "from 0 to 0.9"),
    ],
)
def test_what_cannot_be_is_refused_when_the_options_are_made(changes, said):
    with pytest.raises(InputError) as caught:
        made(**changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"block_lr_weight": "NOSUCH"}, "There is no preset"),
        ({"block_lr_weight": ",".join(["R"] * 26)}, "cannot be R, U or X"),
        ({"block_lr_weight": ",".join(["-1"] * 26)}, "below 0"),
        ({"block_lr_weight": ",".join(["1"] * 20)}, "do not fit"),
        ({"block_dims": "1,2,3"}, "3 numbers fit no model"),
        ({"train_blocks": "IN99"}, "no block"),
        ({"train_blocks": "IN00"}, "No layer of the model is left"),
    ],
)
def test_what_does_not_fit_the_model_is_said_with_the_plan(model, options_for, changes, said):
    def planned():
        options = options_for(**changes)
        remarks_on(model, options)
        network.new_lora(model, options)

    with pytest.raises(AtelierError) as caught:
        planned()
    assert said in str(caught.value)


def test_only_chosen_blocks_and_those_with_a_rate_and_a_rank_get_an_adapter(model, options_for):
    chosen = network.new_lora(model, options_for(train_blocks="IN04, M00, OUT03-OUT05"))
    assert set(chosen.blocks()) == {"IN04", "M00", "OUT03", "OUT04", "OUT05"}
    slow = network.new_lora(model, options_for(down_lr_weight="zeros", network="locon"))
    assert set(slow.blocks()) == {"BASE", "M00", *(f"OUT{n:02d}" for n in range(12))}
    dims = ",".join("0" if n < 12 else str(n - 10) for n in range(25))
    small = network.new_lora(model, options_for(block_dims=dims, block_alphas=",".join(["2"] * 25), alpha=1))
    for key, adapter in small.adapters.items():
        block = block_of_key(key, "sd1")
        wanted = {"BASE": 4, "M00": 2}.get(block) or int(block[3:]) + 3
        assert (adapter.rank, adapter.alpha) == (wanted, pytest.approx(1 if block == "BASE" else 2))
    assert "IN04" not in small.blocks()


@pytest.mark.parametrize("optimizer", ["AdamW", "DAdaptAdanIP", "Prodigy", "AdaFactor"])
def test_block_rates_and_the_faster_half_act_with_every_optimizer(model, options_for, tmp_path, optimizer):
    rate = {"AdamW": 1e-3, "AdaFactor": 0.0}.get(optimizer, 1.0)
    common = {"steps": 3, "optimizer": optimizer, "learning_rate": rate, "train_blocks": "IN04,M00,OUT03"}
    moved = {}
    for name, changes in {"plain": {}, "blocks": {"up_lr_weight": "0.5", "loraplus_unet_lr_ratio": 4}}.items():
        options = options_for(**common, **changes)
        training = start(model, options, RunFolder.create(tmp_path / name, options), Progress())
        with attach(model, training.lora, strategy="factors"):
            before = {k: a.up.detach().clone() for k, a in training.lora.adapters.items()}
            one_step(training)
        moved[name] = {k: a.up.detach() - before[k] for k, a in training.lora.adapters.items()}
    for key, change in moved["plain"].items():
        expected = change * 4 * (0.5 if "up_blocks" in key else 1)
        assert moved["blocks"][key].sub(expected).norm() <= 1e-4 * expected.norm() + 1e-12, key


def test_as_sd_scripts_each_block_is_a_group_with_its_rate(model, options_for):
    options = options_for(
        up_lr_weight="linear",
        train_blocks="BASE,IN04,OUT03-OUT11",
        optimizer="AdamW",
        learning_rate=1e-3,
        as_sd_scripts=True,
        loraplus_lr_ratio=2,
        unet_ratio=0.5,
    )
    found = network.groups(network.new_lora(model, options), options, model.family)
    assert found[0].ratio == 0.5
    assert found[1].ratio == 1.0
    assert [group.ratio for group in found[2:4]] == [0.5, 1.0]
    assert {round(group.ratio * 11 * 2) for group in found[4::2]} == set(range(3, 11))  # OUT11 learns as IN04
    assert all(one.ratio * 2 == two.ratio for one, two in zip(found[::2], found[1::2], strict=True))


def test_the_file_says_how_its_blocks_were_trained(model, options_for, tmp_path):
    options = options_for(
        steps=1, down_lr_weight="sine", block_dims=",".join(["2"] * 25), train_blocks="IN04-OUT03", rank_dropout=0.1
    )
    folder = RunFolder.create(tmp_path / "run", options)
    result = run(start(model, options, folder, Progress()), Progress())
    said = json.loads(read_lora(result.lora).metadata["ss_network_args"])
    assert said["block_dims"] == ",".join(["2"] * 25)
    assert [float(x) for x in said["down_lr_weight"].split(",")][-1] == 1
    assert (said["mid_lr_weight"], said["rank_dropout"], said["train_blocks"]) == ("1", "0.1", "IN04-OUT03")


def test_numbers_by_block_are_read_in_full_width_signs_and_recorded_in_half_width_ones() -> None:
    wide = made(
        down_lr_weight="ｓｉｎｅ＋０．５",
        mid_lr_weight="０．２５",
        up_lr_weight="１、０，0.5",
        block_dims="４、" * 24 + "8",
    )
    half = made(down_lr_weight="sine+0.5", mid_lr_weight="0.25", up_lr_weight="1,0,0.5", block_dims="4," * 24 + "8")
    assert recorded(wide, "sd1") == recorded(half, "sd1")
    assert rates_of(made(block_lr_weight="０．５，" * 25 + "1"), "sd1").table["OUT11"] == 1.0
