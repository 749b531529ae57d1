"""Called by the WebUI before it reads its command line: LoRA Atelier has no launch options of its own."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add nothing: every choice is made in the panels, in a run's options, or in the terminal."""
