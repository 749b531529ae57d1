"""The live tests on an installed WebUI: `python run.py webui-test --webui DIR [--python FILE] [ARGS]`.

DIR is an AUTOMATIC1111 1.10.1 or a Forge that starts by itself (docs/hosts.md says what it must offer); nothing is
written into it. The tests start it headless on a loopback port, on the CPU, with a data folder of their own that holds
this extension, the pocket checkpoint and a few small LoRAs, and stop it at the end. ARGS go to pytest.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import run

TESTS = "tests/webui"


def placed(text: str) -> Path:
    """Return a path; a relative one is meant from where the person stood."""
    return Path(os.environ.get(run.STARTED_IN, ".")) / Path(text).expanduser()


def parsed(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of ours, and the rest for pytest."""
    parser = argparse.ArgumentParser(prog="run.py webui-test", description=__doc__.splitlines()[0])
    parser.add_argument("--webui", type=placed, required=True, metavar="DIR", help="folder of the installed WebUI")
    parser.add_argument("--python", type=placed, metavar="FILE", help="its Python, where DIR has no venv")
    parser.add_argument(
        "--checkpoint", type=placed, metavar="FILE", help="instead of the pocket model (Forge wants a full-size SD1.5)"
    )
    parser.add_argument("--webui-args", default="", metavar="TEXT", help="more arguments for the WebUI, as one text")
    return parser.parse_known_args(arguments)


def variables(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment of the tests; SetupError names a path that is not there."""
    for path, kind in ((options.webui, "folder"), (options.python, "file"), (options.checkpoint, "file")):
        if path is not None and not (path.is_dir() if kind == "folder" else path.is_file()):
            raise run.SetupError(f"There is no such {kind}: {path}")
    named = {
        "WEBUI_DIR": options.webui.absolute(),
        "WEBUI_PYTHON": options.python and options.python.absolute(),  # not resolved: a venv's Python is a link
        "WEBUI_CHECKPOINT": options.checkpoint and options.checkpoint.absolute(),
        "WEBUI_ARGS": options.webui_args,
    }
    return {**run.child_env(), **{name: str(value) for name, value in named.items() if value}}


def pytest_arguments(root: Path, arguments: list[str]) -> list[str]:
    """Return the arguments for pytest: all live tests, unless they name some."""
    named = any((root / argument.split("::")[0]).exists() for argument in arguments if not argument.startswith("-"))
    return arguments if named else [TESTS, *arguments]


def start(root: Path, arguments: list[str]) -> int:
    """Become pytest in this project's .venv."""
    options, rest = parsed(arguments)
    run.become(root / ".venv", ["-m", "pytest", *pytest_arguments(root, rest)], variables(options))


def main(arguments: list[str], root: Path = run.ROOT) -> int:
    """Run the tests and return their exit code."""
    return run.answered(root, lambda: start(root, arguments))


if __name__ == "__main__":
    os.chdir(run.ROOT)
    sys.exit(main(sys.argv[1:]))
