"""Settings of sd-scripts and kohya_ss read as ours, and ours as sd-scripts' command."""

from __future__ import annotations

import json
import shlex

import pytest

from lib_lora.errors import InputError
from lib_lora.train.options import from_mapping
from lib_lora.train.sd_scripts.gui import of_words
from lib_lora.train.sd_scripts.names import PLAIN
from lib_lora.train.sd_scripts.read import import_settings, imported
from lib_lora.train.sd_scripts.write import _quoted, sd_scripts_command
from tests.train.kohya_files import RECIPE


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
    assert ["foo" in note for note in made.notes] == [True]


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
        ({"text_encoder_lr": [[1], [1]]}, "text_encoder_lr"),
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
    again = from_mapping(imported(of_words(words[3:])).values, where="t")
    assert again.to_dict() == options.to_dict()


def test_what_sd_scripts_has_no_word_for_is_said():
    chosen = {"images": "i", "name": "n", "trigger": "krnk", "scheduler": "rex", "reg_images": "r"}
    notes = sd_scripts_command(from_mapping(chosen, where="t"), family="sd1").notes
    for part in ("rex", "trigger", "10_name"):
        assert any(part in note for note in notes)


@pytest.mark.parametrize(
    ("chosen", "said"), [({"reg_images": "r"}, True), ({}, False), ({"prior_from_model": False}, False)]
)
def test_what_the_model_says_of_regularization_is_said_only_where_it_would_act(chosen, said):
    notes = sd_scripts_command(from_mapping({"images": "i", "name": "n", **chosen}, where="t"), family="sd1").notes
    assert any("prior_from_model" in note for note in notes) == said


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
    assert not [note for note in told.notes if "left out" in note]


def test_a_dora_goes_both_ways_with_its_axis():
    told = sd_scripts_command(from_mapping({"images": "p", "name": "n", "dora": True}, where="t"), family="sd1")
    assert "dora_wd=True wd_on_output=False" in told.text
    both = [imported({"network_module": "lycoris.kohya", "network_args": arguments}) for arguments in (
        ["algo=lora", "dora_wd=True", "wd_on_output=False"], ["algo=lora", "dora_wd=True"]
    )]  # fmt: skip
    assert all(made.values["dora"] for made in both)
    assert [any("length for each input" in note for note in made.notes) for made in both] == [False, True]
    assert not any("not understood" in note for made in both for note in made.notes)


GUI = {
    "LoRA_type": "Standard", "conv_dim": 1, "conv_alpha": 1, "network_dim": 8, "network_alpha": 1, "lr_warmup": 10,
    "lr_warmup_steps": 0, "epoch": 10, "max_train_epochs": 0, "max_train_steps": 0, "noise_offset_type": "Original",
    "multires_noise_iterations": 6, "noise_offset": 0.05, "seed": 0, "optimizer": "AdamW8bit", "learning_rate": 1e-4,
    "unet_lr": 1e-4, "text_encoder_lr": 5e-5, "output_name": "n", "train_data_dir": "d", "sdxl": False,
    "sdxl_no_half_vae": True, "t5xxl_dtype": "bf16", "unit": 1, "LyCORIS_preset": "full", "sample_sampler": "euler_a",
}  # fmt: skip
"""What every file of the GUI holds, whatever it asks for."""


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, {"network": "lora", "warmup": 0.1, "epochs": 10, "noise_offset": 0.05, "multires_noise_iterations": 0}),
        ({"max_train_steps": 1600}, {"steps": 1600}),
        ({"lr_warmup_steps": "200"}, {"warmup": 200}),
        ({"noise_offset_type": "Multires"}, {"noise_offset": 0.0, "multires_noise_iterations": 6}),
        ({"LoRA_type": "Kohya LoCon", "conv_dim": 4}, {"network": "locon", "conv_dim": 4}),
        ({"LoRA_type": "LyCORIS/LoHa", "conv_dim": 4}, {"network": "loha", "conv_dim": 4}),
        ({"LoRA_type": "LyCORIS/LoKr", "factor": 8, "network_dim": 10_000}, {"lokr_factor": 8, "dim": 1024}),
        ({"LoRA_type": "Kohya LoHa", "conv_dim": 0}, {"network": "loha", "conv_dim": 0}),
        ({"down_lr_weight": "0,1", "mid_lr_weight": "0"}, {"down_lr_weight": "0,1", "mid_lr_weight": "0"}),
        ({"rank_dropout": 0.1, "loraplus_lr_ratio": 4}, {"rank_dropout": 0.1, "loraplus_lr_ratio": 4}),
        ({"text_encoder_lr": ""}, {"text_encoder_ratio": 0.0}),
        (
            {"sample_prompts": "krnk --w 512\n# no\nhat", "sample_every_n_steps": 9},
            {"sample_prompts": ("krnk --w 512", "hat"), "sample_every_steps": 9},
        ),
        (
            {"additional_parameters": '--min_snr_gamma=5 --network_args "rank_dropout=0.2" --flip_aug'},
            {"min_snr_gamma": 5.0, "rank_dropout": 0.2, "flip": True},
        ),
    ],
)
def test_the_fields_of_the_gui_mean_what_it_makes_of_them(fields, wanted):
    made = imported({**GUI, **fields})
    options = from_mapping(made.values, where="t")
    assert {name: getattr(options, name) for name in wanted} == wanted
    assert all("more than a LoKr can have" in note or "sample_sampler" in note for note in made.notes)
    assert "seed" not in made.values  # its 0 is any


@pytest.mark.parametrize("name", ["Flux1", "LoRA-FA", "Kohya DyLoRA", "LyCORIS/iA3", "LyCORIS/Diag-OFT"])
def test_a_type_of_the_gui_that_is_not_trained_here_is_said(name):
    assert [name in note for note in imported({**GUI, "LoRA_type": name}).notes] == [True]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"bucket_no_upscale": "False", "network_train_unet_only": "false"}, {"text_encoder_ratio": 1.0}),
        ({"bucket_no_upscale": "True", "enable_bucket": "True"}, {"bucket_upscale": False}),
        ({"use_8bit_adam": "False", "zero_terminal_snr": "False"}, {"optimizer": "AdamW"}),
        ({"random_crop": 1, "flip_aug": 0}, {"random_crop": True, "flip": False}),
        ({"optimizer_args": "betas=(0.9, 0.99) eps=1e-8"}, {"optimizer_args": {"betas": (0.9, 0.99), "eps": 1e-8}}),
        ({"optimizer_args": '"eps=1e-8" "weight_decay=0.1"'}, {"optimizer_args": {"eps": 1e-8, "weight_decay": 0.1}}),
        ({"optimizer_args": ['weight_decay="0.1"']}, {"optimizer_args": {"weight_decay": 0.1}}),
        ({"optimizer_type": "SGDNesterov"}, {"optimizer_args": {"momentum": 0.9, "nesterov": True}}),
        ({"network_args": ["train_norm=False"], "dim_from_weights": True}, {"network": "lora"}),
        ({"save_every_n_steps": 50, "save_last_n_epochs": 3}, {"save_every_steps": 50, "keep_files": 3}),
        ({"network_alpha": "None", "seed": "None", "reg_data_dir": "None"}, {"alpha": 1.0, "reg_images": ""}),
        ({"network_module": "lycoris.kohya", "network_args": ["algo=locon", "conv_dim=0"]}, {"network": "lora"}),
        ({"sample_prompts": ["a", "b"]}, {"sample_prompts": ("a", "b")}),
    ],
)
def test_values_are_read_however_they_are_written(given, wanted):
    made = imported({"output_name": "a", "train_data_dir": "d", **given})
    assert not made.notes
    options = from_mapping(made.values, where="t")
    assert {name: getattr(options, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lr_warmup": "10%"}, "10%"),
        ({"learning_rate": "0,0001"}, "0,0001"),
        ({"learning_rate": -1e-4}, "-0.0001"),
        ({"lr_scheduler_type": "CosineAnnealingLR"}, "CosineAnnealingLR"),
        ({"resume": "x-state"}, "x-state"),
        ({"caption_extension": ".tag"}, ".tag"),
        ({"dataset_config": "d.toml", "train_data_dir": "p"}, "train_data_dir"),
        ({"base_weights": ["a"], "base_weights_multiplier": ["x"]}, "x"),
        ({"adaptive_noise_scale": 0.1}, "noise_offset"),
    ],
)
def test_what_would_be_another_training_is_said(given, said):
    made = imported({"output_name": "a", **given})
    assert [said in note for note in made.notes] == [True]
    from_mapping({"images": "" if "dataset_config" in given else "i", **made.values}, where="t")


CHOSEN = {"images": "i", "name": "n", "kind": "style", "steps": 9, "max_tokens": 75, "repeats": 1, "min_snr_gamma": 0.0}
CHOSEN |= {"optimizer": "AdamW", "as_sd_scripts": True, "prior_from_model": False}


@pytest.mark.parametrize(
    "chosen",
    [
        {"name": "くろねこ みみ v1", "images": "/data/画像 1", "comment": 'これは "引用" $HOME'},
        {"images": "C:\\Users\\me\\画像 1", "caption_prefix": "--x", "caption_suffix": "-- it's"},
        {"learning_rate": 0.000123456789, "alpha": 0.1234567, "text_encoder_ratio": 0.25},
        {"max_grad_norm": 0.0, "prior_loss_weight": 0.0, "seed": 0},
        {"network": "lora", "dora": True},
        {"sample_prompts": (), "save_every_steps": 5, "keep_files": 3},
        {"optimizer": "CAME"},
        {"save_precision": "fp32"},
    ],
)
def test_a_command_says_every_value_as_it_is(chosen):
    options = from_mapping({**CHOSEN, **chosen}, where="t")
    command = sd_scripts_command(options, family="sd1")
    again = from_mapping(imported(of_words(shlex.split(command.text)[3:])).values, where="t")
    assert again.to_dict() == options.to_dict()


def test_a_command_names_an_optimizer_as_it_is_found_there_with_what_it_gets_here():
    def told(**chosen):
        return sd_scripts_command(from_mapping({**CHOSEN, **chosen}, where="t"), family="sd1")

    assert "--optimizer_type came_pytorch.CAME" in told(optimizer="CAME").text
    assert "weight_decay=0.01" in told(optimizer="Prodigy", learning_rate=1.0, as_sd_scripts=False).text
    assert any("Muon" in note for note in told(optimizer="Muon").notes)


def test_a_command_is_quoted_for_the_shell_of_its_system():
    assert _quoted("it's C:\\a b", windows=True) == '"it\'s C:\\a b"'
    assert shlex.split(_quoted("it's C:\\a b", windows=False)) == ["it's C:\\a b"]


NESTED = """
[[subsets]]
image_dir = "p"
[general_args.args]
seed = 7
max_train_epochs = 3
[general_args.dataset_args]
resolution = 768
batch_size = 2
[network_args.args]
network_dim = 32
[network_args.args.network_args]
rank_dropout = 0.1
[optimizer_args.args]
optimizer_type = "AdamW8bit"
learning_rate = 2e-4
[optimizer_args.args.optimizer_args]
weight_decay = "0.1"
betas = "0.9,0.99"
"""


def test_sections_in_sections_are_all_read(tmp_path):
    (tmp_path / "s.toml").write_text(NESTED, encoding="utf-8")
    made = import_settings(tmp_path / "s.toml")
    options = from_mapping({"name": "n", "images": "i", **made.values}, where="t")
    assert (options.seed, options.epochs, options.resolution, options.batch_size) == (7, 3, 768, 2)
    assert (options.dim, options.rank_dropout, options.optimizer, options.learning_rate) == (32, 0.1, "AdamW8bit", 2e-4)
    assert dict(options.optimizer_args) == {"weight_decay": 0.1, "betas": (0.9, 0.99)}
    assert ["subsets" in note for note in made.notes] == [True]
