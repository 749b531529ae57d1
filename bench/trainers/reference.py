"""The reference's side: sd-scripts' own UNet, network module, batch, loss, optimizer and scheduler on what we drew.

Runs under an interpreter that has what sd-scripts needs; of this project it imports only `process`.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bench.trainers.process import Step, serve
from bench.trainers.stand_in import without_torchvision


def prepare(folder: Path, case: dict[str, Any]) -> Step:
    """Return a step as ``train_network.py`` makes it."""
    if case["reference"] not in sys.path:
        sys.path.insert(0, case["reference"])
    without_torchvision()
    train_network = importlib.import_module("train_network")
    train_util = importlib.import_module("library.train_util")
    device, dtype = torch.device(case["device"]), getattr(torch, case["dtype"])
    args = _arguments(train_network, case)
    accelerator = importlib.import_module("accelerate").Accelerator(cpu=device.type == "cpu")
    unet, text = _model(folder, case, device, dtype)
    train_util.replace_unet_modules(unet, args.mem_eff_attn, args.xformers, args.sdpa)
    network = _network(folder, case, text, unet, device)
    trains_text = not args.network_train_unet_only
    groups = network.prepare_optimizer_params(args.text_encoder_lr[0], args.unet_lr, args.learning_rate)
    groups = groups[0] if isinstance(groups, tuple) else groups
    _, _, optimizer = train_util.get_optimizer(args, groups)
    scheduler = train_util.get_scheduler_fix(args, optimizer, 1)
    if args.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()
        text.gradient_checkpointing_enable()
        text.train()
    trainer = train_network.NetworkTrainer()
    noise = trainer.get_noise_scheduler(args, device)
    if case["mended"] == "snr":  # taken before the schedule is changed to end in pure noise
        del noise.all_snr
        train_network.prepare_scheduler_for_custom_training(noise, device)
    tokens = _tokens(case)
    encoding = trainer.get_text_encoding_strategy(args)

    def step(number: int) -> float:
        drawn = load_file(folder / f"step{number}.safetensors")
        captions = json.loads((folder / f"step{number}.json").read_text(encoding="utf-8"))
        train_util.get_timesteps = lambda *_: drawn["timesteps"].to(device)
        plain, torch.randn_like = torch.randn_like, lambda *_, **__: drawn["noise"].to(device)
        batch = {
            "latents": drawn["latents"].to(device) / trainer.vae_scale_factor,
            "captions": captions,
            "input_ids_list": tokens.tokenize(captions),
            "loss_weights": torch.ones(len(captions), device=device),
            "text_encoder_outputs_list": None,
        }
        try:
            loss = trainer.process_batch(
                batch, [text], unet, network, None, noise, dtype, dtype, accelerator, args, encoding, tokens,
                is_train=True, train_text_encoder=trains_text, train_unet=True,
            )  # fmt: skip
        finally:
            torch.randn_like = plain
        accelerator.backward(loss)
        if args.max_grad_norm:
            accelerator.clip_grad_norm_(network.get_trainable_params(), args.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def _arguments(train_network: Any, case: dict[str, Any]) -> Any:
    """Return sd-scripts' arguments: its own defaults, and what the case says."""
    args = train_network.setup_parser().parse_args([])
    for name, value in case["theirs"].items():
        if not hasattr(args, name):
            raise AttributeError(f"sd-scripts has no argument {name}")
        setattr(args, name, value)
    return args


def _model(folder: Path, case: dict[str, Any], device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    original = importlib.import_module("library.original_unet")
    transformers = importlib.import_module("transformers")
    widths = tuple(case["widths"])
    original.BLOCK_OUT_CHANNELS = widths
    original.TIMESTEP_INPUT_DIM, original.TIME_EMBED_DIM = widths[0], widths[0] * 4
    unet = original.UNet2DConditionModel(
        sample_size=case["side"], attention_head_dim=8, cross_attention_dim=case["text"]["hidden_size"]
    )
    unet.load_state_dict(load_file(folder / "unet.safetensors"))
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(**case["text"]))
    text.load_state_dict(load_file(folder / "text.safetensors"), strict=False)
    for part in (unet, text):
        part.to(device, dtype).requires_grad_(False).eval()
    return unet, text


def _network(folder: Path, case: dict[str, Any], text: Any, unet: Any, device: torch.device) -> Any:
    """Return the network of the case, beginning with the numbers that ours begins with."""
    module = importlib.import_module(case["theirs"].get("network_module") or "networks.lora")
    given = {name: str(value) for name, value in case["network_args"].items()}
    dim, alpha = case["theirs"]["network_dim"], case["theirs"]["network_alpha"]
    known = getattr(module, "LoRANetwork", module)  # a network with convolutions adds to the class's own list
    targets = list(getattr(known, "UNET_TARGET_REPLACE_MODULE", ()))
    if hasattr(module, "PRESET"):  # LyCORIS: no layer by its name, for input, output and time layers are not ours
        only = {"enable_conv": True, "unet_target_module": ["Transformer2DModel"], "unet_target_name": []}
        module.PRESET[given["preset"]] = {**module.PRESET[given["preset"]], **only}
    network = module.create_network(1.0, dim, alpha, None, text, unet, neuron_dropout=None, **given)
    if targets:
        known.UNET_TARGET_REPLACE_MODULE = targets
    network.apply_to(text, unet, True, True)
    first = load_file(folder / "first.safetensors")
    missing, unexpected = network.load_state_dict(first, strict=False)
    if missing or unexpected:
        raise RuntimeError(f"the networks differ: missing {missing[:3]}, unexpected {unexpected[:3]}")
    network.to(device)
    network.prepare_grad_etc(text, unet)
    return network


def _tokens(case: dict[str, Any]) -> Any:
    """Return sd-scripts' tokenizing over the shipped vocabulary: its own would be fetched."""
    strategy = importlib.import_module("library.strategy_sd")
    made = object.__new__(strategy.SdTokenizeStrategy)
    made.tokenizer = importlib.import_module("transformers").CLIPTokenizer.from_pretrained(case["tokenizer"])
    made.max_length = made.tokenizer.model_max_length
    return made


if __name__ == "__main__":
    serve(prepare)
