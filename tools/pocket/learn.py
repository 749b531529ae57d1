"""Make the whole pocket model in a given time: autoencoder, text encoder and UNet, the file with everything beside it.

python tools/pocket/learn.py --work WORK --out OUT --minutes 9

On one large GPU ten minutes are enough. On a CPU it is hours: it stops and goes on at any time, also in its parts
(`train_vae`, `train_model`, `export`). It needs torch, diffusers, transformers and Noto Color Emoji; POCKET_FONT names
the file where that is not installed. The tokenizer is the shipped one, so that captions stay the same tokens.
``--go-on`` begins with the shipped model: its autoencoder stays, UNet and text encoder learn on.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import export
import shipped
import torch
import train_model
import train_vae

VAE_SHARE, MODEL_SHARE = 0.4, 0.5
"""Of the time; the rest is for drawing, encoding and writing."""


def main() -> None:
    """Run every part that is not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batches", type=int, nargs=2, metavar=("PICTURES", "LATENTS"))
    parser.add_argument("--pairs", type=int, help="pictures of two things")
    parser.add_argument("--go-on", action="store_true", help="begin with the shipped model")
    options = parser.parse_args()
    device, began = torch.device(options.device), time.monotonic()
    fast = device.type == "cuda"
    pictures, latents = options.batches or ((64, 512) if fast else (2, 32))
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "tokenizer").exists():
        names = shutil.ignore_patterns("config.json")
        shutil.copytree(shipped.SHIPPED / "text", options.work / "tokenizer", ignore=names)
    if options.go_on and not (options.work / "vae.pt").exists():
        shipped.unpack(options.work)
    if not (options.work / "vae.pt").exists():
        train_vae.train(options.work, options.minutes * VAE_SHARE, device, pictures)
    if not (options.work / "model.pt").exists():
        pairs = options.pairs or (24000 if fast else 3000)
        share = 1.0 if options.go_on else MODEL_SHARE
        train_model.train(options.work, options.minutes * share, device, latents, pairs)
    export.write(options.work, options.out)
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
