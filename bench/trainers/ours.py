"""Our side: the program's own step on the case's model; what it drew is written down for the other side."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import lib_lora.train.step as step_module
from bench.trainers.process import Step, serve
from lib_lora.data.captions import CaptionRules
from lib_lora.data.dataset import Picture
from lib_lora.formats.lora import write_lora
from lib_lora.host.studio.checkpoint import load_checkpoint
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.live.attach import attach
from lib_lora.train import network
from lib_lora.train.batch import draw
from lib_lora.train.captions import rules_of
from lib_lora.train.memory.fit import fitted
from lib_lora.train.options import from_mapping
from lib_lora.train.ratio_optimizer import optimizer_for
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import one_step
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample, TrainingSet


def prepare(folder: Path, case: dict[str, Any]) -> Step:
    """Return the program's own step on the case's model."""
    device = torch.device(case["device"])
    loaded = load_checkpoint(folder / "model.safetensors", tokenizer=Path(case["tokenizer"]))
    model = DiffusersModel(loaded, device=device, dtype=getattr(torch, case["dtype"]))
    options = from_mapping(case["ours"] | {"images": str(folder), "name": "bench"}, where="bench")
    lora = network.new_lora(model, options)
    write_lora(lora, folder / "first.safetensors", dtype=torch.float32, overwrite=True)
    training = Training(
        model,
        options,
        RunFolder.create(folder / "run", options),
        TrainingSet(_samples(folder, case, rules_of(options)), (), ""),
        lora,
        optimizer_for(options, network.groups(lora, options, model.family)),
        total=case["steps"],
    )
    drawn: dict[str, Tensor] = {}

    def seen(*given: Any) -> Any:
        made = draw(*given)  # the whole batch, which a small model computes in parts
        drawn.update(latents=made.clean.cpu(), noise=made.noise.cpu(), timesteps=made.timesteps.cpu())
        return made

    step_module.draw = seen
    held = ExitStack()  # for as long as the process lives
    training.attached = held.enter_context(attach(model, lora, 1.0, strategy="factors"))
    held.enter_context(fitted(training))

    def step(number: int) -> float:
        captions = [item.caption for item in training.next_batches()[0]]
        loss = one_step(training)["loss"]
        save_file({name: value.contiguous() for name, value in drawn.items()}, folder / f"step{number}.safetensors")
        (folder / f"step{number}.json").write_text(json.dumps(captions), encoding="utf-8")
        return loss

    step.held = held  # type: ignore[attr-defined]
    return step


def _samples(folder: Path, case: dict[str, Any], rules: CaptionRules) -> tuple[Sample, ...]:
    generator, side = torch.Generator().manual_seed(7), case["side"]
    pixels, found = 8 * side, []
    for number, caption in enumerate(case["captions"]):
        picture = Picture(folder / f"{number}.png", caption, 1, (pixels, pixels), False, str(number))
        latents = torch.randn(4, side, side, generator=generator)
        found.append(Sample(picture, caption, (latents,), ((pixels, pixels, 0, 0, pixels, pixels),), 1.0, rules))
    return tuple(found)


if __name__ == "__main__":
    serve(prepare)
