"""``python -m lib_lora``: the terminal."""

from __future__ import annotations

import sys

from lib_lora.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
