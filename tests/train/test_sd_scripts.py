"""Settings of sd-scripts and kohya_ss read as ours, and ours as sd-scripts' command."""

from __future__ import annotations

import json
import shlex

import pytest

from lib_lora.errors import InputError
from lib_lora.train.options import from_mapping
from lib_lora.train.sd_scripts.names import PLAIN
from lib_lora.train.sd_scripts.read import import_settings, imported
from lib_lora.train.sd_scripts.write import sd_scripts_command

RECIPE = """
[model]
pretrained_model_name_or_path = "m.safetensors"
[net]
network_module = "networks.lora"
network_dim = 16
network_alpha = 1
network_args = ["conv_dim=8", "conv_alpha=2", "dance_dims=1"]
[rates]
optimizer_type = "adamw8bit"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
learning_rate = 1e-4
text_encoder_lr = 5e-5
lr_scheduler = "cosine_with_min_lr"
lr_scheduler_min_lr_ratio = 0.1
lr_warmup_steps = 100
[rest]
train_data_dir = "data"
output_name = "krnk"
resolution = "512,768"
enable_bucket = true
bucket_no_upscale = true
max_train_epochs = 10
train_batch_size = 2
shuffle_caption = true
keep_tokens = 2
enable_wildcard = true
caption_dropout_rate = 0.1
max_token_length = 225
noise_offset = 0.05
min_snr_gamma = 5
mixed_precision = "bf16"
network_dance = 3
seed = 42
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "s.toml").write_text(RECIPE, encoding="utf-8")
    return import_settings(tmp_path / "s.toml")


def test_a_config_file_becomes_options_and_a_list_of_what_was_not_understood(recipe, tmp_path):
    options = from_mapping(recipe.values, where="t")
    got = {
        name: getattr(options, name)
        for name in [
            "network",
            "dim",
            "conv_dim",
            "conv_alpha",
            "optimizer",
            "learning_rate",
            "text_encoder_ratio",
            "unet_ratio",
            "scheduler",
            "scheduler_lowest",
            "warmup",
            "name",
            "resolution",
            "resolution_height",
            "buckets",
            "bucket_upscale",
            "epochs",
            "steps",
            "batch_size",
            "shuffle_caption",
            "keep_tokens",
            "wildcards",
            "caption_dropout",
            "max_tokens",
            "noise_offset",
            "min_snr_gamma",
            "seed",
            "as_sd_scripts",
            "repeats",
            "save_every_epochs",
        ]
    }
    assert got == {
        "network": "locon", "dim": 16, "conv_dim": 8, "conv_alpha": 2, "optimizer": "AdamW8bit",
        "learning_rate": 1e-4, "text_encoder_ratio": 0.5, "unet_ratio": 1.0, "scheduler": "cosine",
        "scheduler_lowest": 0.1, "warmup": 100, "name": "krnk", "resolution": 512, "resolution_height": 768,
        "buckets": True, "bucket_upscale": False, "epochs": 10, "steps": 0, "batch_size": 2, "shuffle_caption": True,
        "keep_tokens": 2, "wildcards": True, "caption_dropout": 0.1, "max_tokens": 225, "noise_offset": 0.05,
        "min_snr_gamma": 5, "seed": 42, "as_sd_scripts": True, "repeats": 1, "save_every_epochs": 0,
    }  # fmt: skip
    assert dict(options.optimizer_args) == {"weight_decay": 0.1, "betas": (0.9, 0.99)}
    assert options.images == str((tmp_path / "data").resolve())
    assert len(recipe.notes) == 2
    assert "dance_dims" in recipe.notes[0] or "dance_dims" in recipe.notes[1]
    assert any("network_dance" in note for note in recipe.notes)
    assert set(recipe.not_needed) == {"pretrained_model_name_or_path", "mixed_precision"}


def test_what_a_file_leaves_out_is_what_sd_scripts_does_then():
    options = from_mapping({**imported({"output_name": "a", "train_data_dir": "d"}).values}, where="t")
    assert (options.steps, options.dim, options.alpha, options.buckets, options.min_snr_gamma) == (1600, 4, 1, False, 0)
    assert (options.optimizer, options.learning_rate, options.scheduler) == ("AdamW", 2e-6, "constant")
    assert options.max_tokens == 75
    assert not options.prior_from_model


def test_the_json_of_the_gui(tmp_path):
    gui = {
        "LoRA_type": "LyCORIS/LoCon", "network_dim": 8, "network_alpha": 4, "conv_dim": 4, "conv_alpha": 1,
        "epoch": 7, "max_train_epochs": 0, "max_train_steps": 0, "optimizer": "Prodigy",
        "optimizer_args": "decouple=True weight_decay=0.01", "learning_rate": 1.0, "unet_lr": 1.0,
        "text_encoder_lr": 0, "lr_scheduler": "cosine", "lr_warmup": 10, "max_resolution": "768,768",
        "keep_tokens": "1", "max_token_length": "150", "output_name": "x", "train_data_dir": "d", "seed": "",
        "additional_parameters": "--foo", "noise_offset": 0, "flip_aug": False, "xformers": "xformers",
    }  # fmt: skip
    (tmp_path / "g.json").write_text(json.dumps(gui), encoding="utf-8")
    made = import_settings(tmp_path / "g.json")
    options = from_mapping(made.values, where="t")
    assert (options.network, options.conv_dim, options.epochs, options.steps) == ("locon", 4, 7, 0)
    assert (options.optimizer, options.text_encoder_ratio, options.warmup) == ("Prodigy", 0.0, 0.1)
    assert (options.resolution, options.resolution_height, options.max_tokens) == (768, 0, 150)
    assert ["--foo" in note for note in made.notes] == [True]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"network_module": "networks.oft"}, "networks.oft"),
        ({"network_module": "lycoris.kohya", "network_args": ["algo=ia3"]}, "ia3"),
        ({"optimizer_type": "Sophia"}, "Sophia"),
        ({"lr_scheduler": "piecewise_constant"}, "piecewise_constant"),
        ({"resolution": "large"}, "large"),
        ({"keep_tokens": -3}, "-3"),
        ({"optimizer_args": ["weight_decay"]}, "weight_decay"),
        ({"optimizer_args": 7}, "7"),
        ({"network_args": 5}, "5"),
        ({"learning_rate": [1]}, "learning_rate"),
        ({"text_encoder_lr": [[1], [1]]}, "learning_rate"),
        ({"resolution": [None, 512]}, "resolution"),
    ],
)
def test_a_value_that_cannot_be_taken_over_is_said_and_the_rest_is_read(given, part):
    made = imported({"output_name": "a", "train_data_dir": "d", "network_dim": 9, **given})
    assert [part in note for note in made.notes] == [True]
    assert from_mapping(made.values, where="t").dim == 9


def test_a_dataset_file_is_no_settings(tmp_path):
    (tmp_path / "d.json").write_text('{"datasets": []}', encoding="utf-8")
    with pytest.raises(InputError, match="dataset_config"):
        import_settings(tmp_path / "d.json")


def test_the_command_that_is_written_reads_back_to_the_same_run(recipe):
    options = from_mapping(recipe.values, where="t")
    command = sd_scripts_command(options, family="sdxl")
    words = shlex.split(command.text)
    assert words[:3] == ["accelerate", "launch", "sdxl_train_network.py"]
    given: dict = {}
    for part in command.text.partition(" --")[2].split(" --"):
        name, *values = shlex.split(part)
        several = name in ("network_args", "optimizer_args")
        given[name] = values if several else values[0] if values else True
    again = from_mapping(imported(given).values, where="t")
    assert again.to_dict() == options.to_dict()


def test_what_sd_scripts_has_no_word_for_is_said():
    chosen = {"images": "i", "name": "n", "trigger": "krnk", "scheduler": "rex", "reg_images": "r"}
    notes = sd_scripts_command(from_mapping(chosen, where="t"), family="sd1").notes
    for part in ("rex", "trigger", "10_name"):
        assert any(part in note for note in notes)


def test_every_plain_name_is_an_option():
    from lib_lora.train.options import TrainOptions

    assert set(PLAIN.values()) <= set(TrainOptions.__dataclass_fields__)


def test_the_terminal_writes_options_and_shows_the_way_back(tmp_path, capsys):
    from lib_lora.cli.main import main

    (tmp_path / "s.toml").write_text(RECIPE, encoding="utf-8")
    assert main(["import-settings", str(tmp_path / "s.toml")]) == 0
    out = capsys.readouterr()
    assert "network_dance" in out.err
    assert "mixed_precision" in out.out
    made = tmp_path / "s.options.json"
    assert json.loads(made.read_text(encoding="utf-8"))["dim"] == 16
    assert main(["import-settings", str(tmp_path / "s.toml")]) != 0  # never over a file
    assert main(["sd-scripts", str(made), "--family", "sdxl"]) == 0
    assert "--network_dim 16" in capsys.readouterr().out


def test_blocks_dropouts_and_given_loras_go_both_ways(tmp_path):
    (tmp_path / "s.toml").write_text(
        'train_data_dir = "p"\noutput_name = "n"\nnetwork_weights = "a.safetensors"\nnetwork_dropout = 0.1\n'
        'base_weights = ["b.safetensors", "c.safetensors"]\nbase_weights_multiplier = [0.5]\nscale_weight_norms = 1\n'
        'network_args = ["down_lr_weight=sine+0.25", "up_lr_weight=1,0.5", "rank_dropout=0.2", "loraplus_lr_ratio=4"]\n'
    )
    made = import_settings(tmp_path / "s.toml")
    assert not [note for note in made.notes if "not understood" in note or "left out" in note]
    options = from_mapping(made.values, where="t")
    assert (options.down_lr_weight, options.up_lr_weight) == ("sine+0.25", "1,0.5")
    assert (options.rank_dropout, options.network_dropout, options.loraplus_lr_ratio) == (0.2, 0.1, 4)
    assert options.continue_from == str(tmp_path / "a.safetensors")
    assert options.base_loras == (f"{tmp_path / 'b.safetensors'}:0.5", f"{tmp_path / 'c.safetensors'}:1.0")
    told = sd_scripts_command(options, family="sd1")
    assert "rank_dropout=0.2" in told.text
    assert "--base_weights_multiplier 0.5 1" in told.text
    assert "up_lr_weight=1,0.5,1,1,1,1,1,1,1,1,1,1" in told.text
    assert [note for note in told.notes if "left out" in note] == [
        "sd-scripts has no “prior_from_model” of this kind: left out"
    ]


def test_a_dora_goes_both_ways_with_its_axis():
    told = sd_scripts_command(from_mapping({"images": "p", "name": "n", "dora": True}, where="t"), family="sd1")
    assert "dora_wd=True wd_on_output=False" in told.text
    both = [imported({"network_module": "lycoris.kohya", "network_args": arguments}) for arguments in (
        ["algo=lora", "dora_wd=True", "wd_on_output=False"], ["algo=lora", "dora_wd=True"]
    )]  # fmt: skip
    assert all(made.values["dora"] for made in both)
    assert [any("length for each input" in note for note in made.notes) for made in both] == [False, True]
    assert not any("not understood" in note for made in both for note in made.notes)
