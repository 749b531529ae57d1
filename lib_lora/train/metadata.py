"""What a trained file says about itself: the ``ss_*`` keys that other tools read, and the model spec."""

from __future__ import annotations

import time
from typing import Any

import torch

from lib_lora import __version__
from lib_lora.host.base import LoadedModel
from lib_lora.host.noise_schedule import VELOCITY
from lib_lora.train.data_metadata import data_metadata
from lib_lora.train.loss import gamma_of, schedule_for
from lib_lora.train.option_files import to_json
from lib_lora.train.options import TrainOptions, with_names_only
from lib_lora.train.origin import Origin
from lib_lora.train.pictures import options_for
from lib_lora.train.rates import reference_name, warmup_steps
from lib_lora.train.training_set import TrainingSet, training_size
from lib_lora.train.varied import varies

_ALWAYS = {
    "ss_gradient_checkpointing": False,
    "ss_full_fp16": False,
    "ss_lowram": False,
}
"""What other trainers let a person choose and a run of ours does always or never."""


def training_metadata(
    model: LoadedModel,
    options: TrainOptions,
    training_set: TrainingSet,
    origin: Origin,
    *,
    step: int,
    total: int,
    per_epoch: int,
) -> dict[str, str]:
    """Return the metadata of a file saved after ``step`` of ``total`` steps; every value is a string.

    What follows from the tensors themselves (network, family, hashes) is added where the file is written.
    """
    arguments = "".join(f"{key}={value}," for key, value in options.optimizer_args.items()).rstrip(",")
    values = {
        "ss_output_name": options.name,
        "ss_sd_model_name": model.name,
        "ss_sd_model_hash": origin.old_hash,
        "ss_new_sd_model_hash": origin.sha256,
        "ss_session_id": origin.session,
        "ss_training_started_at": f"{origin.started:.3f}",
        "ss_training_finished_at": f"{time.time():.3f}",
        "ss_training_comment": options.comment or None,
        "ss_steps": step,
        "ss_max_train_steps": total,
        "ss_epoch": -(-step // per_epoch),
        "ss_num_epochs": -(-total // per_epoch),
        "ss_num_batches_per_epoch": per_epoch,
        "ss_learning_rate": options.learning_rate,
        "ss_unet_lr": options.learning_rate * options.unet_ratio,
        "ss_text_encoder_lr": options.learning_rate * options.text_encoder_ratio,
        "ss_optimizer": f"{options.optimizer}({arguments})",
        "ss_lr_scheduler": reference_name(options),
        "ss_lr_warmup_steps": warmup_steps(options, total),
        "ss_max_grad_norm": options.max_grad_norm,
        "ss_network_dropout": options.network_dropout or "None",
        "ss_scale_weight_norms": options.scale_weight_norms or "None",
        "ss_v_parameterization": model.prediction_type == VELOCITY,
        "ss_zero_terminal_snr": schedule_for(model, options.zero_terminal_snr).zero_terminal,
        "ss_prior_loss_weight": options.prior_loss_weight,
        "ss_clip_skip": options.clip_skip if options.clip_skip > 1 else None,
        "ss_gradient_accumulation_steps": options.gradient_accumulation_steps,
        "ss_batch_size_per_device": options.batch_size,
        "ss_total_batch_size": options.batch_size,
        "ss_seed": options.seed,
        "ss_mixed_precision": _precision(model),
        **_ALWAYS,
        **_data(options, training_set),
        **_objective(model, options),
        **data_metadata(model, options, training_set),
        **_modelspec(model, options),
        "atelier_version": __version__,
        "atelier_options": to_json(with_names_only(options)),
    }
    return {key: str(value) for key, value in values.items() if value is not None and value != ""}


def _data(options: TrainOptions, training_set: TrainingSet) -> dict[str, Any]:
    """Return what becomes of captions and pictures, in sd-scripts' words: the most that becomes of any of them.

    A dataset file may say other things of each of its folders; those stand with the folders.
    """
    every = [options_for(item.picture, options) for item in training_set.samples]

    def most(name: str) -> Any:
        return max(getattr(one, name) for one in every)

    return {
        "ss_caption_dropout_rate": most("caption_dropout"),
        "ss_caption_tag_dropout_rate": most("tag_dropout"),
        "ss_shuffle_caption": most("shuffle_caption"),
        "ss_keep_tokens": most("keep_tokens"),
        "ss_flip_aug": any(len(item.latents) > 1 for item in training_set.samples),
        "ss_color_aug": most("color_aug"),
        "ss_random_crop": most("random_crop"),
        "ss_cache_latents": not any(map(varies, every)),
    }


def _objective(model: LoadedModel, options: TrainOptions) -> dict[str, Any]:
    """Return loss and noise in sd-scripts' words: what is off is None there."""
    bounded = options.loss_type in ("huber", "smooth_l1")
    values = {
        "ss_min_snr_gamma": gamma_of(options, model.prediction_type),
        "ss_noise_offset": options.noise_offset,
        "ss_adaptive_noise_scale": options.adaptive_noise_scale,
        "ss_multires_noise_iterations": options.multires_noise_iterations,
        "ss_multires_noise_discount": options.multires_noise_discount if options.multires_noise_iterations else None,
        "ss_ip_noise_gamma": options.ip_noise_gamma,
        "ss_huber_schedule": options.huber_schedule if bounded else None,
        "ss_huber_c": options.huber_c if bounded else None,
        "ss_huber_scale": options.huber_scale if bounded else None,
    }
    return {key: value or "None" for key, value in values.items()} | {
        "ss_loss_type": options.loss_type,
        "ss_debiased_estimation": options.debiased_estimation_loss,
        "ss_noise_offset_random_strength": options.noise_offset_random_strength,
        "ss_ip_noise_gamma_random_strength": options.ip_noise_gamma_random_strength,
    }


def _modelspec(model: LoadedModel, options: TrainOptions) -> dict[str, str]:
    (width, height), velocity = training_size(model, options), model.prediction_type == VELOCITY
    return {
        "modelspec.title": options.name,
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.trigger_phrase": options.trigger,
        "modelspec.prediction_type": "v" if velocity else "epsilon",
        "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _precision(model: LoadedModel) -> str:
    """Return the precision of the weights that the run stood on, in sd-scripts' words; the LoRA itself is fp32."""
    layer = next(iter(model.layers.values()))
    return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(layer.weight.dtype, "no")
