"""The demo's steps, one after another; each leaves files and numbers in the demo's folder."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_lora.analysis.effective_block import Analysis
from lib_lora.analysis.grid import draw_grid
from lib_lora.analysis.norms import BlockNorm, block_norms
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.data.captions import read_caption
from lib_lora.data.images import load_picture
from lib_lora.data.tags import tags_for, write_captions
from lib_lora.demo import settings as use
from lib_lora.demo.settings import Size
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.infotext import png_info
from lib_lora.host.studio import StudioHost
from lib_lora.live.attach import attach
from lib_lora.merge.bake import bake
from lib_lora.merge.compress import compress
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.report import MergeReport
from lib_lora.progress import Progress
from lib_lora.services import labels
from lib_lora.services.analysis_order import order_of, render_order
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.labels import LabelOptions
from lib_lora.services.make.captions_used import KEPT
from lib_lora.services.regularization import draw_missing
from lib_lora.train.loop import run as run_training
from lib_lora.train.options import from_mapping
from lib_lora.train.probe import steady_loss
from lib_lora.train.recipes import facts_of
from lib_lora.train.regularization import ClassPictures
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start


@dataclass
class Story:
    """Everything that the demo finds out, filled step by step."""

    host: StudioHost
    folder: Path
    size: Size
    progress: Progress
    began: float = field(default_factory=time.monotonic)
    numbers: dict[str, float] = field(default_factory=dict)
    losses: list[tuple[int, float]] = field(default_factory=list)
    pictures: dict[tuple[str, str], Image.Image] = field(default_factory=dict)
    analysis: Analysis | None = None
    norms: tuple[BlockNorm, ...] = ()
    compression: MergeReport | None = None
    files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Views:
    """Pictures as latents with their captions."""

    latents: list[Tensor]
    captions: list[str]


def gather(story: Story) -> None:
    """Copy the bundled pictures and tag them by the rules for file names."""
    root = story.folder / "pictures"
    story.files["pictures"], story.numbers["pictures"] = root, 0
    pictures = sorted(use.PICTURES.glob("*.png"))
    for repeats in sorted({*use.REPEATS.values(), use.OTHER_REPEATS}):
        target = root / f"{repeats}_{use.TRIGGER} girl"
        target.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            if use.REPEATS.get(picture.stem, use.OTHER_REPEATS) == repeats:
                shutil.copyfile(picture, target / picture.name)
        report = write_captions(target, keyword=use.TRIGGER, lists=use.lists(), overwrite=True)
        story.numbers["pictures"] += len(report.written) + len(report.unchanged)


def keep_in_mind(story: Story, *, anew: bool = True) -> None:
    """Let the model draw pictures of other things: with these beside the character it forgets less.

    ``anew`` takes away what lies there, which may be another model's.
    """
    target = story.folder / "regularization"
    if anew:
        shutil.rmtree(target, ignore_errors=True)
    captions = tuple(KEPT.read_text(encoding="utf-8").splitlines()[: story.size.regularization])
    request = GenerateRequest(captions[0], seed=0, steps=use.REGULARIZATION_STEPS, cfg_scale=use.CFG)
    draw_missing(story.host, ClassPictures(target, captions, len(captions), request), story.progress)
    story.files["regularization"] = target


def views_of(host: StudioHost, folder: Path) -> Views:
    """Return the pictures of a folder as latents, with captions from files beside them or from their names."""
    latents, captions = [], []
    for path in sorted(folder.glob("*.png")):
        pixels = np.asarray(load_picture(path), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1
        latents.append(host.model.encode_images(torch.from_numpy(pixels.copy())[None])[0])
        text = path.with_suffix(".txt")
        tags = tags_for(path.name, use.TRIGGER, lists=use.lists()) or []
        captions.append(read_caption(text).text.strip() if text.is_file() else ", ".join(tags))
    return Views(latents, captions)


def train(story: Story) -> None:
    """Train the LoRA with the recipe for characters and measure what it learned and what it forgot."""
    size = story.size
    options = from_mapping(
        {
            "images": str(story.files["pictures"].resolve()),
            "reg_images": str(story.files["regularization"].resolve()),
            "name": use.NAME,
            "trigger": use.TRIGGER,
            "kind": "character",
            "steps": size.train_steps,
            "epochs": size.epochs,
            "repeats": use.RUN_REPEATS,
            "batch_size": size.batch_size,
            "prior_loss_weight": use.PRIOR_WEIGHT,
            "steady_loss": "off",  # the demo measures for itself, on pictures that no step sees
            "comment": "LoRA Atelier demo",
        },
        where="demo",
        model=facts_of(story.host.model),
    )
    run_path = story.folder / "run"
    if run_path.exists():
        shutil.rmtree(run_path)
    folder = RunFolder.create(run_path, options)
    training = start(story.host.model, options, folder, story.progress)
    result = run_training(training, story.progress)
    if result.lora is None:
        raise KeyboardInterrupt
    story.losses = [(row["step"], row["loss"]) for row in folder.read_log() if row["loss"] is not None]
    story.files["lora"] = result.lora
    story.host.lora_folders = (run_path, story.folder)
    story.numbers["train_steps"] = result.steps


def measure(story: Story) -> None:
    """Compare losses with and without the LoRA on fixed noise: held-out views, and captions of other things."""
    model, lora = story.host.model, read_lora(story.files["lora"])
    for name, folder in (("subject", use.HELD_OUT), ("drift", use.OTHERS)):
        views = views_of(story.host, folder)
        without = steady_loss(model, views.latents, views.captions)
        with attach(model, lora):
            with_lora = steady_loss(model, views.latents, views.captions)
        story.numbers[f"{name}_loss_without"], story.numbers[f"{name}_loss_with"] = without, with_lora
        story.numbers[f"{name}_loss_ratio" if name == "subject" else "drift_ratio"] = with_lora / without


def tag_for(variant: str) -> str:
    """Return the LoRA tag of a variant: none, plain, or with block weights."""
    return {"without": "", "with": f" <lora:{use.NAME}:1>", "blocks": f" <lora:{use.NAME}:1:{use.PRESET}>"}[variant]


def _request(story: Story, prompt: str, seed: int) -> GenerateRequest:
    return GenerateRequest(prompt, seed=seed, steps=story.size.sampling_steps, cfg_scale=use.CFG)


def render(story: Story) -> None:
    """Render every prompt and seed without, with, and with the block-weighted LoRA."""
    target = story.folder / "pictures_made"
    target.mkdir(exist_ok=True)
    for name, prompt in use.PROMPTS:
        for variant in ("without", "with", "blocks"):
            for number, seed in enumerate(use.SEEDS[: story.size.seeds]):
                request = _request(story, prompt + tag_for(variant), seed)
                result = story.host.generate(request, story.progress)
                key = f"{name}-{number + 1}"
                story.pictures[key, variant] = result.images[0]
                result.images[0].save(target / f"{key}-{variant}.png", pnginfo=png_info(result.infotexts[0]))


def look_at_blocks(story: Story) -> None:
    """Run the Effective Block Analyzer over all blocks; save grid, table and exact norms."""
    prompt = f"{use.PROMPTS[0][1]} <lora:{use.NAME}:1:XYZ>"
    request = _request(story, prompt, use.SEEDS[0])
    every = AnalyzeOptions(blocks=f"{full_layout(story.host.model.family).length}ALL")
    order = order_of(request, every, story.host, FileFacts(story.host))
    (found,) = render_order(order, story.host, story.progress).analyses
    story.analysis = found
    story.numbers["noise_floor"] = found.noise_floor
    story.files["grid"], story.files["table"] = story.folder / "blocks.png", story.folder / "blocks.csv"
    draw_grid(found, title="Effective Block Analyzer: krnk, front view").save(story.files["grid"])
    story.files["table"].write_text(found.to_csv(), encoding="utf-8")
    story.norms = block_norms(story.host.model, read_lora(story.files["lora"]))


def finish(story: Story) -> None:
    """Bake the block weights, check them against live ones, compress and label."""
    family = story.host.model.family
    lora = read_lora(story.files["lora"])
    weights = story.host.presets.resolve(use.PRESET, family)
    multipliers = ResolvedTag(use.NAME, weights=weights).multipliers(family)
    baked, _ = bake(lora, multipliers)
    story.files["baked"] = write_lora(baked, story.folder / f"{use.NAME}_{use.PRESET}.safetensors", overwrite=True)
    story.numbers["bake_max_abs_diff"] = _prediction_difference(
        story, lora, multipliers, read_lora(story.files["baked"])
    )
    story.numbers["bake_picture_levels"] = _picture_difference(story)
    small, report = compress(lora, RankRule("energy", 0.99))
    story.compression = report
    compressed = write_lora(small, story.folder / f"{use.NAME}_small_unlabeled.safetensors", overwrite=True)
    label = LabelOptions(
        title="krnk (demo)",
        trigger_words=use.TRIGGER,
        author="LoRA Atelier demo",
        description="A teal-haired cat girl in an orange scarf, trained on twelve drawn pictures.",
    )
    small_file = story.folder / f"{use.NAME}_small.safetensors"
    story.files["small"] = labels.write(compressed, label.order(), target=small_file, overwrite=True).path
    compressed.unlink()
    story.numbers["compress_largest_error"] = max(row.relative_error for row in report.rows)
    for name in ("lora", "baked", "small"):
        story.numbers[f"bytes_{name}"] = story.files[name].stat().st_size


def _prediction_difference(story: Story, lora: LoraFile, multipliers: dict[str, float], baked: LoraFile) -> float:
    """Return how far live block weights and the baked file are apart in the UNet's output."""
    model = story.host.model
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5)).to(model.device)
    steps = torch.tensor([200, 800], device=model.device)
    outputs = []
    for file, weights in ((lora, multipliers), (baked, 1.0)):
        with torch.no_grad(), attach(model, file, weights):
            outputs.append(model.predict(latents, steps, model.encode_text([use.TRIGGER, "red apple"])))
    return float((outputs[0] - outputs[1]).abs().max())


def _picture_difference(story: Story) -> float:
    """Return the largest difference in levels (0 to 255) between a live picture and the baked file's."""
    (name, prompt), tag = use.PROMPTS[0], f" <lora:{story.files['baked'].stem}:1>"
    live = story.pictures[f"{name}-1", "blocks"]  # of the same prompt and seed
    other = story.host.generate(_request(story, prompt + tag, use.SEEDS[0]), story.progress).images[0]
    story.pictures["baked", "live"], story.pictures["baked", "baked"] = live, other
    return float(np.abs(np.asarray(live, dtype=np.int16) - np.asarray(other, dtype=np.int16)).max())


STEPS = (
    ("tagging the pictures", gather),
    ("drawing regularization pictures", keep_in_mind),
    ("training", train),
    ("measuring", measure),
    ("rendering", render),
    ("analyzing the blocks", look_at_blocks),
    ("baking, compressing, labeling", finish),
)
"""What the demo does, in order."""
