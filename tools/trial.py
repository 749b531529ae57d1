"""Make what a new studio has to try (lib_lora/demo/shipped) from a run of the demo.

    python run.py demo --out DIR
    .venv/bin/python -m tools.trial --demo DIR [--size 0.9]

The demo's LoRA is made small by `compress` and described by `label`; with the small one the example pictures are made
and the blocks analyzed. Everything is the project's own: drawn pictures, the pocket model, the recipe of the demo.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.cli.main import main as command
from lib_lora.demo import settings as use
from lib_lora.demo import trial
from lib_lora.demo.story import views_of
from lib_lora.formats.lora import read_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio import StudioHost
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.services.analysis_order import Found, order_of, render_order, save
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.saved_analysis import keep_record
from lib_lora.train.probe import steady_loss

BLOCKS = "BASE,IN01,IN02,IN04,IN05,M00,OUT03,OUT04,OUT05,OUT06,OUT07,OUT08,OUT09,OUT10,OUT11"
"""What is analyzed: where this LoRA does most, and some of the blocks where it does nothing."""
SAYS = (
    "title=krnk",
    f"trigger_words={use.TRIGGER}",
    "author=LoRA Atelier",
    "description=A teal-haired cat girl in an orange scarf, drawn by this project; for its pocket model only.",
    "tags=character, example",
    "preferred_weight=1",
    f"usage_hint={trial.ANALYZED.prompt.partition(' <')[0]}",
)


def make_lora(demo: Path, size: float) -> None:
    """Write the small LoRA: fp16, at most ``size`` MB, with what the training and these commands say of it."""
    with tempfile.TemporaryDirectory() as place:
        small = Path(place, trial.LORA.name)
        source = demo / "run" / trial.LORA.name
        _run("compress", str(source), "--size", str(size), "--precision", "fp16", "--out", str(small))
        _run("label", str(small), "--out", str(trial.LORA), "--overwrite", "--set", *SAYS)


def _run(*arguments: str) -> None:
    if code := command(list(arguments)):
        raise SystemExit(code)


def measure(host: StudioHost, files: list[Path]) -> None:
    """Print what each file learned and changed besides: losses with it as a share of those without."""
    for name, folder in (("subject", use.HELD_OUT), ("drift", use.OTHERS)):
        views = views_of(host, folder)
        without = steady_loss(host.model, views.latents, views.captions)
        for path in files:
            with attach(host.model, read_lora(path)):
                share = steady_loss(host.model, views.latents, views.captions) / without
            print(f"{name} {path}: {share:.3f}", flush=True)


def make_pictures(host: StudioHost) -> None:
    """Make the example pictures."""
    for example in trial.EXAMPLES:
        made = host.generate(GenerateRequest(example.prompt, seed=example.seed))
        made.images[0].save(example.picture, quality=88)


def analyze(host: StudioHost) -> Found:
    """Return the saved analysis: each block switched off once."""
    request = GenerateRequest(trial.ANALYZED.prompt, seed=trial.ANALYZED.seed)
    order = order_of(request, AnalyzeOptions(lora=use.NAME, range="0,1", blocks=BLOCKS), host, FileFacts(host))
    shutil.rmtree(trial.ANALYSIS, ignore_errors=True)
    trial.ANALYSIS.mkdir(parents=True)
    return save(replace(render_order(order, host, Progress()), tiers=()), trial.ANALYSIS)


def keep_small(found: Found, family: str) -> None:
    """Store the grids as WebP, a card's picture of the first, and what opens the analysis again."""
    grids = []
    for path, text, seed, gain in found.grids:
        with Image.open(path) as picture:
            picture.convert("RGB").save(small := Path(path).with_suffix(".webp"), quality=82)
            picture.convert("RGB").crop((0, 50, 330, 380)).resize((128, 128)).save(trial.SHIPPED / "analysis.webp")
        Path(path).unlink()
        grids.append((small, text, seed, gain))
    keep_record(replace(found, grids=tuple(grids)), trial.ANALYSIS, family=family)


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, required=True, metavar="DIR", help="what run.py demo wrote")
    parser.add_argument("--size", type=float, default=0.9, metavar="MB", help="of the LoRA (default: %(default)s)")
    options = parser.parse_args()
    trial.SHIPPED.mkdir(exist_ok=True)
    make_lora(options.demo, options.size)
    host = StudioHost.open(lora_folders=(trial.SHIPPED,))
    measure(host, [options.demo / "run" / trial.LORA.name, trial.LORA])
    make_pictures(host)
    keep_small(analyze(host), host.model.family)


if __name__ == "__main__":
    main()
