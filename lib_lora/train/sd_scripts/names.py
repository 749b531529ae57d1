"""What sd-scripts and kohya_ss call our options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_lora.architectures.registry import architectures
from lib_lora.train.dataset_keys import DATASET_OPTIONS, SUBSET_OPTIONS

SAME = (
    "clip_skip prior_loss_weight seed weighted_captions max_grad_norm noise_offset noise_offset_random_strength "
    "adaptive_noise_scale multires_noise_iterations multires_noise_discount ip_noise_gamma "
    "ip_noise_gamma_random_strength min_snr_gamma debiased_estimation_loss scale_v_pred_loss_like_noise_pred "
    "v_pred_like_loss loss_type huber_schedule huber_c huber_scale min_timestep max_timestep dataset_config "
    "gradient_accumulation_steps scale_weight_norms network_dropout alpha_mask color_aug random_crop"
)
OTHER: Mapping[str, str] = {
    "train_data_dir": "images",
    "cache_latents_to_disk": "cache_to_disk",
    "reg_data_dir": "reg_images",
    "output_name": "name",
    "network_dim": "dim",
    "network_weights": "continue_from",
    "network_alpha": "alpha",
    "train_batch_size": "batch_size",
    "max_train_epochs": "epochs",
    "max_train_steps": "steps",
    "save_every_n_epochs": "save_every_epochs",
    "save_every_n_steps": "save_every_steps",
    "save_last_n_epochs": "keep_files",
    "sample_every_n_epochs": "sample_every_epochs",
    "sample_every_n_steps": "sample_every_steps",
    "training_comment": "comment",
    "lr_scheduler_num_cycles": "scheduler_cycles",
    "lr_scheduler_power": "scheduler_power",
    "lr_scheduler_min_lr_ratio": "scheduler_lowest",
    "lr_warmup_steps": "warmup",
    "lr_decay_steps": "scheduler_decay",
    "max_token_length": "max_tokens",
}
PLAIN: Mapping[str, str] = {
    **{name: name for name in SAME.split()},
    **OTHER,
    **SUBSET_OPTIONS,
    **{name: option for name, option in DATASET_OPTIONS.items() if name != "bucket_no_upscale"},
}
"""sd-scripts' argument -> our option, where the value is the same."""
OWN = frozenset(
    ["optimizer_type", "learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "network_module", "resolution"]
)
"""Arguments that are read one by one."""
ARGUMENT_LISTS = ("network_args", "optimizer_args", "lr_scheduler_args")
"""Arguments that are lists of ``name=value``."""
NOT_ZERO = frozenset(["max_grad_norm", "prior_loss_weight", "seed", "multires_noise_discount", "token_warmup_min"])
"""Arguments whose 0 is something else than leaving them out."""

GUI: Mapping[str, str] = {
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
    "sample_prompts_path": "sample_prompts",
    "lora_network_weights": "network_weights",
}
"""What the kohya_ss GUI calls an argument otherwise than sd-scripts."""
GUI_ONLY = frozenset([*GUI, "LoRA_type", "lr_warmup", "epoch", "noise_offset_type", "additional_parameters"])
"""Fields that only the GUI has."""
ZERO_IS_NONE = (
    "seed",
    "max_timestep",
    "min_timestep",
    "clip_skip",
    "max_train_steps",
    "max_train_epochs",
    "save_every_n_epochs",
    "save_every_n_steps",
    "save_last_n_epochs",
    "save_last_n_steps",
    "sample_every_n_epochs",
    "sample_every_n_steps",
    "gradient_accumulation_steps",
)
"""Fields whose 0 the GUI does not hand on."""
OFFSET_NOISE = ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength")


@dataclass(frozen=True)
class LoraType:
    """One of the GUI's types of LoRA: the module of sd-scripts, its algorithm, and the fields that it heeds."""

    module: str
    algorithm: str = ""
    fields: tuple[str, ...] = ()


_BLOCKS = ["down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold"]
_BLOCKS += ["block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"]
_CONV = ("conv_dim", "conv_alpha")
_LYCORIS: tuple[str, ...] = (
    *("LyCORIS_preset", *_CONV, "use_tucker", "bypass_mode", "dora_wd", "use_scalar"),
    *("rank_dropout_scale", "train_norm"),
)
EVERY_NETWORK = frozenset(
    ["rank_dropout", "module_dropout", "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"]
)
NETWORK_FIELDS: Mapping[str, str] = {
    **{name: name for name in (*EVERY_NETWORK, *_BLOCKS, *_LYCORIS)},
    **{
        name: name for name in ("factor", "use_cp", "decompose_both", "unit", "train_on_input", "constrain", "rescaled")
    },
    "LyCORIS_preset": "preset",
}
"""The GUI's fields that become arguments of the network, with the argument's name."""
LORA_TYPES: Mapping[str, LoraType] = {
    "standard": LoraType("networks.lora", fields=(*_BLOCKS,)),
    "kohya locon": LoraType("networks.lora", fields=(*_BLOCKS, *_CONV)),
    "kohya loha": LoraType("networks.loha", fields=(*_CONV, "use_tucker")),
    "kohya lokr": LoraType("networks.lokr", fields=(*_CONV, "use_tucker", "factor")),
    "locon": LoraType("lycoris.kohya", "locon", _LYCORIS),
    "lycoris/locon": LoraType("lycoris.kohya", "locon", _LYCORIS),
    "lycoris/loha": LoraType("lycoris.kohya", "loha", _LYCORIS),
    "lycoris/lokr": LoraType("lycoris.kohya", "lokr", (*_LYCORIS, "factor", "use_cp", "decompose_both")),
}
"""The GUI's types that can be trained here, in small letters."""
_SDXL = "sdxl_"
SDXL_BOX = _SDXL.removesuffix("_")
FAMILIES: Mapping[str, str] = {
    _SDXL: SDXL_BOX,
    "sd3_": "sd3_checkbox",
    "flux1_": "flux1_checkbox",
    "hunyuan_": "hunyuan_image_checkbox",
    "anima_": "anima_checkbox",
    "lumina_": "lumina_checkbox",
}
"""What fields of one family begin with -> the field that chooses the family."""
_TRANSFORMERS = (
    "ae clip_l clip_g t5xxl t5xxl_device t5xxl_dtype t5xxl_lr t5xxl_max_token_length apply_t5_attn_mask guidance_scale "
    "discrete_flow_shift model_prediction_type timestep_sampling weighting_scheme logit_mean logit_std mode_scale "
    "pos_emb_random_crop_rate save_clip save_t5xxl clip_g_dropout_rate enable_scaled_pos_embed split_mode split_qkv "
    "train_blocks train_double_block_indices train_single_block_indices cpu_offload_checkpointing blocks_to_swap "
    "single_blocks_to_swap double_blocks_to_swap img_attn_dim img_mlp_dim img_mod_dim txt_attn_dim txt_mlp_dim "
    "txt_mod_dim single_dim single_mod_dim in_dims mem_eff_save fp8_base_unet train_t5xxl show_timesteps "
    "show_timesteps_resolution fused_backward_pass disable_mmap_load_safetensors"
)
TRANSFORMERS = frozenset(_TRANSFORMERS.split())
"""The GUI's fields for families without a UNet."""

MODULES: Mapping[str, str] = {"networks.loha": "loha", "networks.lokr": "lokr"}
"""sd-scripts' own modules of another kind than its LoRA; they train convolutions only where a dim is given for them."""

SCHEDULERS: Mapping[str, str] = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "linear": "linear",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine_with_restarts",
    "cosine_with_min_lr": "cosine",
    "polynomial": "polynomial",
    "inverse_sqrt": "inverse_sqrt",
    "warmup_stable_decay": "wsd",
}
OPTIMIZERS: Mapping[str, str] = {
    "dadaptation": "dadaptation.experimental.DAdaptAdamPreprint",
    "dadaptadampreprint": "dadaptation.experimental.DAdaptAdamPreprint",
    "sgdnesterov": "SGD",
    "prodigyplus.prodigyplusschedulefree": "ProdigyPlusScheduleFree",
    "came_pytorch.came": "CAME",
    "adv_optm.adamw_adv": "AdamW_adv",
}
"""Its spelling in small letters -> our optimizer, where that is not the same word."""
OPTIMIZER_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"sgdnesterov": {"momentum": 0.9, "nesterov": True}}
"""What it gives an optimizer by itself."""
BY_PATH: Mapping[str, str] = {
    "ProdigyPlusScheduleFree": "prodigyplus.ProdigyPlusScheduleFree",
    "CAME": "came_pytorch.CAME",
    "AdamW_adv": "adv_optm.AdamW_adv",
}
"""Our optimizers that it knows by their class alone; others of ours it calls as we do."""
NO_OPTIMIZER = frozenset(["Muon"])
"""Our optimizers that it does not have."""

ALGORITHMS: Mapping[str, str] = {"lora": "locon", "locon": "locon", "loha": "loha", "lokr": "lokr"}
"""Algorithms of the module ``lycoris.kohya``; its “lora” trains convolutions too."""

DEFAULTS: Mapping[str, Any] = {
    "kind": "style",
    "network": "lora",
    "dim": 4,
    "alpha": 1.0,
    "optimizer": "AdamW",
    "optimizer_args": {},
    "scheduler": "constant",
    "warmup": 0.0,
    "text_encoder_ratio": 1.0,
    "unet_ratio": 1.0,
    "learning_rate": 2e-6,
    "batch_size": 1,
    "repeats": 1,
    "save_every_epochs": 0,
    "min_snr_gamma": 0.0,
    "keep_tokens": 0,
    "max_tokens": 75,
    "shuffle_caption": False,
    "buckets": False,
    "prior_loss_weight": 1.0,
    "prior_from_model": False,
    "as_sd_scripts": True,
}
"""What sd-scripts does where a file says nothing, and a recipe of ours would do something else."""
STEPS = 1600
"""Steps of a run for which it is told neither epochs nor steps."""

NOT_NEEDED = frozenset(
    [
        "pretrained_model_name_or_path",
        "output_dir",
        "logging_dir",
        "log_with",
        "log_prefix",
        "log_tracker_name",
        "mixed_precision",
        "xformers",
        "sdpa",
        "mem_eff_attn",
        "cache_latents",
        "cache_latents_to_disk",
        "vae_batch_size",
        "skip_cache_check",
        "lowram",
        "highvram",
        "gradient_checkpointing",
        "save_model_as",
        "max_data_loader_n_workers",
        "persistent_data_loader_workers",
        "no_metadata",
        "v2",
        "v_parameterization",
        *(one.name for one in architectures()),  # the GUI has a box for the family
        "no_half_vae",
        "vae",
        "tokenizer_cache_dir",
        "save_state",
        "save_state_on_train_end",
        "full_fp16",
        "full_bf16",
        "fp8_base",
        "cache_text_encoder_outputs",
        "cache_text_encoder_outputs_to_disk",
        "debug_dataset",
        "num_cpu_threads_per_process",
        "num_processes",
        "num_machines",
        "multi_gpu",
        "gpu_ids",
        "model_list",
        "main_process_port",
        "dynamo_backend",
        "dynamo_mode",
        "cache_info",
        "wandb_api_key",
        "wandb_run_name",
        "use_wandb",
        "train_text_encoder",
        "huggingface_repo_id",
        "async_upload",
        "logging_enabled",
        "max_train_epochs_shown",
        "masked_loss",  # masks that are there act in any case, here and there
        "dim_from_weights",  # a LoRA that is continued brings its dims
        "sdxl_no_half_vae",
        "sdxl_cache_text_encoder_outputs",
        "learning_rate_te",  # of other trainings than LoRA's, whose tabs share the file
        "learning_rate_te1",
        "learning_rate_te2",
        "wandb",
        "log_config",
    ]
)
"""What is about how and where that program computes; the host, the run's folder and its queue decide it here."""
