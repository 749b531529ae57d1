"""``python -m lib_lora``: the terminal, and the pages that its ``studio`` serves. Neither knows the other."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lib_lora.process import unset

os.environ.update(unset())

from lib_lora.cli.main import main

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lib_lora.services.atelier import Atelier


def build_app(atelier: Atelier, *, language: str = "") -> FastAPI:
    """Return the studio's app; gradio is loaded only now."""
    from lib_lora.ui import app

    return app.build_app(atelier, language=language)


def start() -> int:
    """Run the command that was typed and return its exit code; an installed package is started here."""
    return main(build_app=build_app)


if __name__ == "__main__":
    sys.exit(start())
