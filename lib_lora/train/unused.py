"""Options that somebody chose and that do nothing beside the others: said in the plan, the terminal and REST."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lib_lora.sentences import say
from lib_lora.train.optimizers import own_rate
from lib_lora.train.options import TrainOptions, usual_values
from lib_lora.train.recipes import ModelFacts
from lib_lora.train.schedulers import WITHOUT_END


def _own_rate(options: TrainOptions) -> bool:
    return own_rate(options.optimizer, options.optimizer_args)


_LORAPLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")

_BROUGHT = (
    *("network", "dim", "alpha", "conv_dim", "conv_alpha", "dora", "lokr_factor", "rslora"),
    *("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"),
)
"""What a file tells of itself."""

IDLE: Mapping[str, tuple[tuple[str, ...], Callable[[TrainOptions], bool]]] = {
    say("AdaFactor makes its own rate"): (("learning_rate", "scheduler", "warmup"), _own_rate),
    say("only cosine_with_restarts has cycles"): (
        ("scheduler_cycles",),
        lambda o: _own_rate(o) or o.scheduler != "cosine_with_restarts",
    ),
    say("only polynomial has a power"): (("scheduler_power",), lambda o: _own_rate(o) or o.scheduler != "polynomial"),
    say("only wsd has a decay of its own"): (("scheduler_decay",), lambda o: _own_rate(o) or o.scheduler != "wsd"),
    say("this scheduler falls to no end"): (
        ("scheduler_lowest",),
        lambda o: _own_rate(o) or o.scheduler in WITHOUT_END,
    ),
    say("the LoRA that is continued brings its own"): (_BROUGHT, lambda o: bool(o.continue_from)),
    say("a lora has no convolutions"): (("conv_dim", "conv_alpha"), lambda o: o.network == "lora"),
    say("only a LoKr is split by it"): (("lokr_factor",), lambda o: o.network != "lokr"),
    say("only a LoRA's halves have something between them"): (
        ("network_dropout", "timestep_rank"),
        lambda o: o.dora or o.network in ("loha", "lokr"),
    ),
    say("only the UNet knows timesteps"): (("timestep_rank",), lambda o: not o.unet_ratio),
    say("all ranks take part in every step"): (("timestep_rank_min",), lambda o: not o.timestep_rank),
    say("only a LoRA has an up half"): (_LORAPLUS, lambda o: o.network in ("loha", "lokr")),
    say("sd-scripts gives AdaFactor no rates"): (
        ("block_lr_weight", "down_lr_weight", "mid_lr_weight", "up_lr_weight", *_LORAPLUS),
        lambda o: o.as_sd_scripts and _own_rate(o),
    ),
    say("no 3×3 convolution is trained"): (
        ("conv_block_dims", "conv_block_alphas"),
        lambda o: not o.trains_conv,
    ),
    say("all blocks learn at one rate"): (
        ("block_lr_zero_threshold",),
        lambda o: not (o.block_lr_weight or o.down_lr_weight or o.mid_lr_weight or o.up_lr_weight),
    ),
    say("no tag is moved or left out"): (
        ("keep_tokens",),
        lambda o: not (o.shuffle_caption or o.tag_dropout or o.token_warmup_steps),
    ),
    say("captions have all tags from the start"): (("token_warmup_min",), lambda o: not o.token_warmup_steps),
    say("tags are neither moved nor left out, so nothing splits them"): (
        ("caption_separator",),
        lambda o: not (o.shuffle_caption or o.tag_dropout or o.token_warmup_steps or o.secondary_separator),
    ),
    say("buckets are not chosen from a list"): (
        ("bucket_min", "bucket_max"),
        lambda o: not (o.buckets and o.bucket_upscale),
    ),
    say("nothing is masked"): (("mask_floor",), lambda o: not (o.alpha_mask or o.masks or o.dataset_config)),
    say("there are no buckets"): (("bucket_upscale",), lambda o: not o.buckets),
    say("compiled blocks cannot have weights that come and go"): (
        ("compile",),
        lambda o: o.memory in ("fp8", "swap"),
    ),
    say("there are no regularization pictures"): (
        ("prior_loss_weight", "prior_from_model"),
        lambda o: not (o.reg_images or o.reg_count or o.dataset_config),
    ),
    say("no regularization pictures are drawn"): (
        ("reg_prompts", "reg_negative", "reg_steps", "reg_cfg", "reg_seed"),
        lambda o: not o.reg_count,
    ),
    say("no file is saved on the way"): (
        ("keep_files",),
        lambda o: not (o.save_every_epochs or o.save_every_steps),
    ),
    say("there are no sample prompts"): (
        ("sample_every_epochs", "sample_every_steps"),
        lambda o: not o.sample_prompts,
    ),
    say("only huber and smooth_l1 have a bound"): (
        ("huber_schedule", "huber_c", "huber_scale"),
        lambda o: o.loss_type not in ("huber", "smooth_l1"),
    ),
    say("the schedule snr has no scale"): (
        ("huber_scale",),
        lambda o: o.loss_type in ("huber", "smooth_l1") and o.huber_schedule == "snr",
    ),
    say("there is no noise offset"): (("noise_offset_random_strength",), lambda o: not o.noise_offset),
    say("there is no multi-resolution noise"): (
        ("multires_noise_discount",),
        lambda o: not o.multires_noise_iterations,
    ),
    say("there is no input perturbation"): (
        ("ip_noise_gamma_random_strength",),
        lambda o: not o.ip_noise_gamma,
    ),
}
"""Why options do nothing -> their names, and whether it is so."""
IDLE_ON_MODEL: Mapping[str, tuple[tuple[str, ...], Callable[[ModelFacts], bool]]] = {
    say("the model predicts noise"): (
        ("scale_v_pred_loss_like_noise_pred",),
        lambda model: model.prediction_type == "epsilon",
    ),
    say("the model predicts velocity already"): (
        ("v_pred_like_loss",),
        lambda model: model.prediction_type != "epsilon",
    ),
}
"""Why options do nothing with a model -> their names, and whether it is so."""


def unused(options: TrainOptions, model: ModelFacts | None = None) -> tuple[str, ...]:
    """Return a sentence for each reason why something that differs from the recipe does nothing."""
    usual = usual_values(options.kind, optimizer=options.optimizer, arguments=options.optimizer_args, model=model)
    said = []
    reasons = [(reason, names, idle(options)) for reason, (names, idle) in IDLE.items()]
    if model is not None:
        reasons += [(reason, names, idle(model)) for reason, (names, idle) in IDLE_ON_MODEL.items()]
    for reason, names, is_idle in reasons:
        chosen = [name for name in names if getattr(options, name) != usual[name]]
        if not options.learning_rate and "learning_rate" in chosen:
            chosen.remove("learning_rate")  # 0 is how a person says that the optimizer makes its own
        if chosen and is_idle:
            said.append(say("not used: {names} ({reason})", names=chosen, reason=reason))
    return tuple(said)
