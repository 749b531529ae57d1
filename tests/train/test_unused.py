from __future__ import annotations

import pytest

from lib_lora.train.options import from_mapping
from lib_lora.train.recipes import KINDS, ModelFacts
from lib_lora.train.unused import IDLE, unused

MODELS = [ModelFacts(512, "epsilon"), ModelFacts(128, "v_prediction")]
GOOD = {"images": "p", "name": "n", "network": "lora"}

BROUGHT = {
    "network": "lokr",
    "dim": 8,
    "alpha": 2,
    "conv_dim": 16,
    "conv_alpha": 2,
    "dora": True,
    "lokr_factor": 8,
    "rslora": True,
    "block_dims": "4",
    "block_alphas": "2",
    "conv_block_dims": "4",
    "conv_block_alphas": "1",
}
PLUS = {"loraplus_lr_ratio": 2, "loraplus_unet_lr_ratio": 2, "loraplus_text_encoder_lr_ratio": 2}
ROWS = {"down_lr_weight": "sine", "mid_lr_weight": "1", "up_lr_weight": "cosine"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_recipe_that_nobody_changed_has_nothing_to_say(kind, model):
    assert unused(from_mapping({"images": "p", "name": "n", "kind": kind}, where="t", model=model), model) == ()


@pytest.mark.parametrize(
    ("chosen", "said", "instead"),
    [
        ({"optimizer": "AdaFactor", "learning_rate": 0, "warmup": 100}, "warmup", {"optimizer": "AdamW"}),
        ({"optimizer": "AdaFactor", "learning_rate": 1e-3}, "learning_rate", {"optimizer": "AdamW"}),
        (
            {"optimizer": "AdaFactor", "learning_rate": 0, "scheduler": "rex"},
            "scheduler",
            {"optimizer_args": {"relative_step": False}, "learning_rate": 1e-4},
        ),
        ({"scheduler": "cosine", "scheduler_cycles": 3}, "scheduler_cycles", {"scheduler": "cosine_with_restarts"}),
        ({"scheduler": "rex", "scheduler_power": 2}, "scheduler_power", {"scheduler": "polynomial"}),
        ({"scheduler": "rex", "scheduler_decay": 9}, "scheduler_decay", {"scheduler": "wsd"}),
        ({"scheduler": "constant", "scheduler_lowest": 0.1}, "scheduler_lowest", {"scheduler": "rex"}),
        ({"conv_dim": 32, "conv_alpha": 2}, "conv_dim, conv_alpha", {"network": "locon"}),
        ({"continue_from": "f", **BROUGHT}, ", ".join(BROUGHT), {"continue_from": ""}),
        ({"compile": True, "memory": "swap"}, "compile", {"memory": "auto"}),
        ({"lokr_factor": 8}, "lokr_factor", {"network": "lokr"}),
        ({"network": "loha", "network_dropout": 0.1}, "network_dropout", {"network": "lora"}),
        ({"dora": True, "timestep_rank": True}, "timestep_rank", {"dora": False}),
        ({"unet_ratio": 0, "timestep_rank": True}, "timestep_rank", {"unet_ratio": 1}),
        ({"timestep_rank_min": 2}, "timestep_rank_min", {"timestep_rank": True}),
        ({"network": "lokr", **PLUS}, ", ".join(PLUS), {"network": "lora"}),
        (
            {"optimizer": "AdaFactor", "learning_rate": 0, "as_sd_scripts": True, "block_lr_weight": "C186"},
            "block_lr_weight",
            {"optimizer": "AdamW"},
        ),
        (
            {"optimizer": "AdaFactor", "learning_rate": 0, "as_sd_scripts": True, **ROWS},
            ", ".join(ROWS),
            {"optimizer": "AdamW"},
        ),
        (
            {"conv_block_dims": "4", "conv_block_alphas": "1"},
            "conv_block_dims, conv_block_alphas",
            {"network": "locon"},
        ),
        ({"block_lr_zero_threshold": 0.1}, "block_lr_zero_threshold", {"block_lr_weight": "C186"}),
        ({"keep_tokens": 3}, "keep_tokens", {"tag_dropout": 0.1}),
        ({"token_warmup_min": 3}, "token_warmup_min", {"token_warmup_steps": 9}),
        ({"caption_separator": ";"}, "caption_separator", {"tag_dropout": 0.1}),
        ({"bucket_min": 64, "buckets": False}, "bucket_min", {"buckets": True}),
        ({"bucket_max": 512, "bucket_upscale": False}, "bucket_max", {"bucket_upscale": True}),
        ({"bucket_upscale": False, "buckets": False}, "bucket_upscale", {"buckets": True}),
        ({"mask_floor": 0.5}, "mask_floor", {"alpha_mask": True}),
        ({"prior_loss_weight": 7}, "prior_loss_weight", {"reg_images": "r"}),
        ({"prior_from_model": False}, "prior_from_model", {"reg_images": "r"}),
        (
            {"reg_prompts": ("a",), "reg_negative": "b", "reg_steps": 9, "reg_cfg": 3, "reg_seed": 1},
            "reg_prompts, reg_negative, reg_steps, reg_cfg, reg_seed",
            {"reg_count": 1},
        ),
        ({"save_every_epochs": 0, "keep_files": 3}, "keep_files", {"save_every_steps": 100}),
        (
            {"sample_every_epochs": 1, "sample_every_steps": 5},
            "sample_every_epochs, sample_every_steps",
            {"sample_prompts": ("a",)},
        ),
        ({"huber_c": 0.2, "huber_schedule": "constant"}, "huber_schedule, huber_c", {"loss_type": "huber"}),
        ({"loss_type": "huber", "huber_scale": 2}, "huber_scale", {"huber_schedule": "constant"}),
        ({"noise_offset_random_strength": True}, "noise_offset_random_strength", {"noise_offset": 0.1}),
        ({"multires_noise_discount": 0.5}, "multires_noise_discount", {"multires_noise_iterations": 6}),
        ({"ip_noise_gamma_random_strength": True}, "ip_noise_gamma_random_strength", {"ip_noise_gamma": 0.1}),
    ],
)
def test_what_does_nothing_beside_the_others_is_said_and_only_there(chosen, said, instead):
    (sentence,) = unused(from_mapping({**GOOD, **chosen}, where="t"))
    assert sentence.startswith(f"not used: {said} (")
    both = {**GOOD, **chosen, **instead}
    both["learning_rate"] = both.get("learning_rate") or (1e-4 if both.get("optimizer") == "AdamW" else 1.0)
    if both.get("optimizer_args"):
        both["learning_rate"] = 1e-4
    assert unused(from_mapping(both, where="t")) == ()


def test_encodings_are_kept_where_pictures_vary_too():
    """Those of captions, and of the pictures as they are at the start."""
    assert (
        unused(from_mapping({**GOOD, "cache_to_disk": True, "random_crop": True, "color_aug": True}, where="t")) == ()
    )


def test_every_reason_is_tried_above():
    (marks,) = test_what_does_nothing_beside_the_others_is_said_and_only_there.pytestmark
    tried = {name for chosen, _, _ in marks.args[1] for name in chosen}
    assert tried >= {name for names, _ in IDLE.values() for name in names}
