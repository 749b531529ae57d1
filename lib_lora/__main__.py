"""``python -m lib_lora``: the terminal."""

from __future__ import annotations

import os
import sys

from lib_lora.process import unset

os.environ.update(unset())

from lib_lora.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
