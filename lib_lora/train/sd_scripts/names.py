"""What sd-scripts and kohya_ss call our options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_lora.architectures.registry import architectures
from lib_lora.train.dataset_keys import DATASET_OPTIONS, SUBSET_OPTIONS
from lib_lora.train.options import TrainOptions

SAME = (
    "clip_skip prior_loss_weight seed weighted_captions max_grad_norm noise_offset noise_offset_random_strength "
    "adaptive_noise_scale multires_noise_iterations multires_noise_discount ip_noise_gamma "
    "ip_noise_gamma_random_strength min_snr_gamma debiased_estimation_loss scale_v_pred_loss_like_noise_pred "
    "v_pred_like_loss loss_type huber_schedule huber_c huber_scale min_timestep max_timestep dataset_config "
    "gradient_accumulation_steps scale_weight_norms network_dropout masked_loss alpha_mask color_aug random_crop "
    "save_every_n_steps save_last_n_epochs sample_every_n_epochs sample_every_n_steps"
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
    "training_comment": "comment",
    "lr_scheduler_num_cycles": "scheduler_cycles",
    "lr_scheduler_power": "scheduler_power",
    "lr_scheduler_min_lr_ratio": "scheduler_lowest",
    "lr_warmup_steps": "warmup",
    "lr_decay_steps": "scheduler_decay",
    "max_token_length": "max_tokens",
}
PLAIN: Mapping[str, str] = {
    name: option
    for name, option in {
        **{name: name for name in SAME.split()},
        **OTHER,
        **SUBSET_OPTIONS,
        **{name: option for name, option in DATASET_OPTIONS.items() if name not in ("batch_size", "bucket_no_upscale")},
    }.items()
    if option in TrainOptions.__dataclass_fields__
}
"""sd-scripts' argument -> our option, where the value is the same."""

GUI: Mapping[str, str] = {
    "epoch": "max_train_epochs",
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
    "sample_prompts_path": "sample_prompts",
}
"""What the kohya_ss GUI calls an argument otherwise than sd-scripts."""

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
    "dadaptation": "DAdaptAdam",
    "dadaptadampreprint": "DAdaptAdam",
    "sgdnesterov": "SGD",
}
"""Its spelling in small letters -> our optimizer, where that is not the same word."""

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
        "save_precision",
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
        "resume",
        "full_fp16",
        "full_bf16",
        "fp8_base",
        "cache_text_encoder_outputs",
        "cache_text_encoder_outputs_to_disk",
        "caption_extension",
        "debug_dataset",
        "LoRA_type",
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
        "lr_scheduler_type",
        "train_text_encoder",
        "huggingface_repo_id",
        "async_upload",
        "logging_enabled",
        "max_train_epochs_shown",
    ]
)
"""What is about how and where that program computes; the host, the run's folder and its queue decide it here."""
