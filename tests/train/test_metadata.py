"""A trained file carries the fields of sd-scripts, true ones, and no path of the machine that it was made on."""

from __future__ import annotations

import hashlib
import json

import pytest

from lib_lora.formats.header import read_header
from lib_lora.progress import Progress, Stoppable
from lib_lora.train.loop import run
from lib_lora.train.origin import _known, checkpoint_hashes
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start

FIELDS = """
ss_session_id ss_training_started_at ss_training_finished_at ss_output_name ss_learning_rate ss_unet_lr
ss_text_encoder_lr ss_num_train_images ss_num_reg_images ss_num_batches_per_epoch ss_num_epochs ss_epoch
ss_steps ss_batch_size_per_device ss_total_batch_size ss_gradient_checkpointing ss_gradient_accumulation_steps
ss_max_train_steps ss_lr_warmup_steps ss_lr_scheduler ss_network_module ss_network_dim ss_network_alpha
ss_network_args ss_mixed_precision ss_full_fp16 ss_v2 ss_base_model_version ss_cache_latents ss_seed ss_lowram
ss_noise_offset ss_optimizer ss_max_grad_norm ss_caption_dropout_rate ss_caption_tag_dropout_rate
ss_prior_loss_weight ss_min_snr_gamma ss_loss_type ss_datasets ss_dataset_dirs ss_reg_dataset_dirs
ss_tag_frequency ss_bucket_info ss_enable_bucket ss_bucket_no_upscale ss_min_bucket_reso ss_max_bucket_reso
ss_keep_tokens ss_shuffle_caption ss_flip_aug ss_color_aug ss_random_crop ss_resolution ss_sd_model_name
ss_sd_model_hash ss_new_sd_model_hash
"""


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A run of one step on two kinds of pictures, stopped never."""
    from PIL import Image

    from lib_lora.train.options import from_mapping

    base = tmp_path_factory.mktemp("metadata")
    for name, count in (("set/2_krnk girl", 2), ("keep/1_girl", 1)):
        (base / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (128, 96), (number * 50, 9, 9)).save(base / name / f"{number}.png")
    values = {"images": str(base / "set"), "reg_images": str(base / "keep"), "name": "test", "steps": 1, "dim": 1}
    options = from_mapping(values | {"trigger": "krnk", "network": "lora", "batch_size": 2}, where="test")
    run(start(model, options, RunFolder(base / "run"), Progress()), Progress())
    return RunFolder(base / "run")


@pytest.fixture(scope="module")
def metadata(folder):
    return read_header(folder.path / "test.safetensors").metadata


def test_every_field_of_sd_scripts_that_has_a_meaning_here_is_there(metadata):
    assert [name for name in FIELDS.split() if name not in metadata] == []


def test_the_fields_are_true(metadata, model):
    data = model.path.read_bytes()
    assert metadata["ss_new_sd_model_hash"] == hashlib.sha256(data).hexdigest()
    assert metadata["ss_sd_model_hash"] == hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
    assert float(metadata["ss_training_started_at"]) <= float(metadata["ss_training_finished_at"])
    assert metadata["ss_mixed_precision"] == "no"  # the pocket model runs in fp32 here
    assert json.loads(metadata["ss_dataset_dirs"]) == {"2_krnk girl": {"n_repeats": 2, "img_count": 2}}
    assert json.loads(metadata["ss_reg_dataset_dirs"]) == {"1_girl": {"n_repeats": 4, "img_count": 1}}
    (dataset,) = json.loads(metadata["ss_datasets"])
    assert [subset["image_dir"] for subset in dataset["subsets"]] == ["2_krnk girl", "1_girl"]
    assert (dataset["num_train_images"], dataset["num_reg_images"]) == (4, 4)
    buckets = json.loads(metadata["ss_bucket_info"])
    assert sum(row["count"] for row in buckets["buckets"].values()) == 8
    assert buckets["mean_img_ar_error"] >= 0


def test_no_path_of_this_machine_is_in_it(metadata, folder):
    assert not [name for name, value in metadata.items() if str(folder.path.parent) in value]
    options = json.loads(metadata["atelier_options"])
    assert (options["images"], options["reg_images"]) == ("set", "keep")


def test_session_and_beginning_survive_a_pause(folder, model):
    training = start(model, folder.options(), folder, Progress())
    assert training.origin.to_json() == folder.read_json("data.json")["origin"]


def test_reading_a_checkpoint_can_be_stopped(model):
    _known.clear()
    stopped = Stoppable()
    stopped.stop()
    assert checkpoint_hashes(model, stopped) == ("", "")
    assert len(checkpoint_hashes(model, Progress())[0]) == 64
