"""What a training costs on this GPU, and whether every way to save memory is what it promises: at most ten minutes.

    python bench/gpu.py --json                       on a GPU: random models at the shapes of SD1.5 and SDXL
    python bench/gpu.py --shapes tiny --steps 2      a smoke run anywhere

For each shape and rung (plain, checkpointing, fp8, swap): the seconds of a step, the most memory that it holds, and how
far its first loss is from the plain one's. The marks: SD1.5 at 512 px in 6 GB, SDXL at 1024 px in 8 GB, and a step in
which nothing waits for the GPU but once. What the time does not suffice for is listed as left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.trainers.model import TOKENIZER
from lib_lora.data.captions import CaptionRules
from lib_lora.data.dataset import Picture
from lib_lora.host.noise_schedule import NOISE, Marks
from lib_lora.host.studio.checkpoint import Checkpoint
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.host.studio.tokenizer import find_tokenizer
from lib_lora.live.attach import attach
from lib_lora.train import network
from lib_lora.train.memory.fit import fitted
from lib_lora.train.options import from_mapping
from lib_lora.train.options.memory import RUNGS
from lib_lora.train.ratio_optimizer import optimizer_for
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import one_step
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample, TrainingSet

SECONDS = 540.0
"""When it is over, nothing new is begun: ten minutes with what is under way."""
GIGA = 2**30
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"family": "sd1", "side": 8, "widths": (32, 32, 64, 64), "text": (32, 64, 2, 1), "mark": None},
    "sd15": {"family": "sd1", "side": 64, "widths": (320, 640, 1280, 1280), "text": (768, 3072, 12, 12), "mark": 6},
    "sdxl": {"family": "sdxl", "side": 128, "widths": (320, 640, 1280), "text": (768, 3072, 12, 12), "mark": 8},
}
"""Latent side, widths of the UNet, the first text encoder, and the mark in GB."""


def unet_of(shape: dict[str, Any]) -> UNet2DConditionModel:
    """Return a UNet of random numbers."""
    common = {"sample_size": shape["side"], "layers_per_block": 2, "block_out_channels": shape["widths"]}
    if shape["family"] == "sd1":
        return UNet2DConditionModel(**common, attention_head_dim=8, cross_attention_dim=shape["text"][0])
    return UNet2DConditionModel(
        **common,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 10],
        attention_head_dim=[5, 10, 20],
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def texts_of(shape: dict[str, Any], words: int) -> tuple[torch.nn.Module, ...]:
    """Return the text encoders."""
    width, inner, layers, heads = shape["text"]
    common = {"vocab_size": words, "max_position_embeddings": 77, "bos_token_id": words - 2, "eos_token_id": words - 1}
    first = CLIPTextConfig(
        **common, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads
    )
    if shape["family"] == "sd1":
        return (CLIPTextModel(first),)
    second = CLIPTextConfig(
        **common, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
        projection_dim=1280, hidden_act="gelu",
    )  # fmt: skip
    return CLIPTextModel(first), CLIPTextModelWithProjection(second)


def model_of(shape: dict[str, Any], device: torch.device) -> DiffusersModel:
    """Return a random model of a shape, in fp16 on a GPU; its autoencoder is a small one that nothing here uses."""
    torch.manual_seed(4)
    words = find_tokenizer(TOKENIZER, family=shape["family"])
    tiny = {"block_out_channels": (32,) * 4, "norm_num_groups": 32, "layers_per_block": 1}
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    made = Checkpoint(
        Path("random.safetensors"), shape["family"], unet_of(shape), AutoencoderKL(**tiny, **kinds),
        texts_of(shape, len(words)), words, NOISE, 0.18215, (0.00085, 0.012), Marks(False, False),
    )  # fmt: skip
    for part in (made.unet, made.vae, *made.text_encoders):
        part.requires_grad_(False).eval()
    return DiffusersModel(made, device=device, dtype=torch.float16 if device.type == "cuda" else torch.float32)


def measured(model: DiffusersModel, shape: dict[str, Any], rung: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the steps of one rung cost."""
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        training = _training(model, shape, rung, Path(place), options)
        training.attached = stack.enter_context(attach(model, training.lora, 1.0, strategy="factors"))
        stack.enter_context(fitted(training))
        times, losses = [], []
        for _ in range(options.steps):
            began = time.perf_counter()
            losses.append(one_step(training)["loss"])
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    row = {"rung": rung, "seconds": statistics.median(times[1:] or times), "loss": losses[0]}
    return row | ({"gb": torch.cuda.max_memory_allocated() / GIGA} if cuda else {})


def _training(
    model: DiffusersModel, shape: dict[str, Any], rung: str, place: Path, options: argparse.Namespace
) -> Training:
    values = {"images": str(place), "name": "gpu", "kind": "concept", "optimizer": "AdamW", "learning_rate": 1e-4}
    values |= {"dim": 16, "alpha": 8.0, "text_encoder_ratio": 0, "batch_size": options.batch, "memory": rung}
    chosen = from_mapping(values | {"steps": options.steps, "repeats": 1}, where="gpu")
    generator, side = torch.Generator().manual_seed(1), shape["side"]
    pixels, samples = 8 * side, []
    for number in range(options.batch):
        picture = Picture(place / f"{number}.png", "a cat", ".txt", 1, (pixels, pixels), False, str(number))
        latents = (torch.randn(4, side, side, generator=generator),)
        sizes = ((pixels, pixels, 0, 0, pixels, pixels),)
        samples.append(Sample(picture, "a cat", latents, sizes, 1.0, CaptionRules()))
    lora = network.new_lora(model, chosen)
    optimizer = optimizer_for(chosen, network.groups(lora, chosen, model.family))
    folder, data = RunFolder.create(place / "run", chosen), TrainingSet(tuple(samples), (), "")
    return Training(model, chosen, folder, data, lora, optimizer, total=options.steps)


def main() -> None:
    """Measure the shapes and rungs that there is time for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", choices=tuple(SHAPES), default=["sd15", "sdxl"])
    parser.add_argument("--rungs", nargs="*", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began, found, left_out = time.monotonic(), {}, []
    for name in options.shapes:
        model, rows = model_of(SHAPES[name], torch.device(options.device)), []
        for rung in options.rungs:
            if time.monotonic() - began > options.seconds:
                left_out.append(f"{name} {rung}")
                continue
            rows.append(measured(model, SHAPES[name], rung, options))
            rows[-1]["from_plain"] = abs(rows[-1]["loss"] / rows[0]["loss"] - 1)
            print(json.dumps({"shape": name, **rows[-1]}), file=sys.stderr, flush=True)
        mark = SHAPES[name]["mark"]
        held = [row["rung"] for row in rows if mark and row.get("gb", mark) < mark]
        found[name] = {"mark_gb": mark, "held_by": held, "rungs": rows}
        del model
    result = {"device": options.device, "torch": torch.__version__, "shapes": found, "left_out": left_out}
    if options.device.startswith("cuda"):
        result["gpu"] = torch.cuda.get_device_name()
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
