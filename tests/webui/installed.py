"""An installed WebUI: its folder, its Python, its kind, and how it is started headless on the CPU."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

A1111, FORGE, NEO, REFORGE, CLASSIC = "a1111", "forge", "neo", "reforge", "classic"
COMMON = (
    "--skip-prepare-environment --skip-torch-cuda-test --skip-version-check --no-download-sd-model "
    "--do-not-download-clip --disable-console-progressbars --api --api-server-stop"
)
FLAGS = {
    A1111: f"{COMMON} --use-cpu all --no-half --precision full --no-hashing",
    FORGE: f"{COMMON} --always-cpu --all-in-fp32 --attention-pytorch --no-hashing",
    NEO: (
        "--skip-prepare-environment --skip-torch-cuda-test --skip-version-check --disable-console-progressbars --api "
        "--api-server-stop --no-hashing --cpu --force-fp32 --use-pytorch-cross-attention"
    ),
    REFORGE: f"{COMMON} --always-cpu --all-in-fp32",
    CLASSIC: f"{COMMON} --always-cpu --all-in-fp32",
}


@dataclass(frozen=True)
class Installed:
    """A WebUI that somebody installed: its folder, the Python that it runs in, and which of the hosts it is."""

    folder: Path
    python: Path
    kind: str

    @classmethod
    def at(cls, folder: str | Path, python: str | Path = "") -> Installed:
        """Look at a folder; FileNotFoundError says what a WebUI's folder would have."""
        folder = Path(folder).expanduser().absolute()
        for needed in ("launch.py", "modules/shared.py"):
            if not (folder / needed).is_file():
                raise FileNotFoundError(f"no installed WebUI: {folder / needed} is missing")
        inside = ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe")
        found = [Path(python)] if python else [folder / each for each in inside if (folder / each).exists()]
        if not found or not found[0].exists():
            raise FileNotFoundError(f"no Python for the WebUI in {folder}: it has no venv; set WEBUI_PYTHON to it")
        return cls(folder, found[0].absolute(), kind_of(folder))

    @property
    def settings(self) -> dict[str, str]:
        """Return what must stand in its settings: Forge Neo asks at the terminal about those of another version."""
        launcher = (self.folder / "modules" / "launch_utils.py").read_text(encoding="utf-8")
        version = re.search(r'^VERSION_UID\b.*= "(\w+)"', launcher, re.MULTILINE)
        return {"VERSION_UID": version[1]} if version else {}


def kind_of(folder: Path) -> str:
    """Return which host lies in a folder, by what only that host has."""
    if not (folder / "modules_forge").is_dir():
        return A1111
    if (folder / "backend" / "memory_management.py").is_file():
        return NEO if (folder / "backend" / "logging.py").is_file() else FORGE
    return REFORGE if (folder / "modules" / "sd_schedulers.py").is_file() else CLASSIC


def free_port() -> int:
    """Return a port of the loopback address that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment() -> dict[str, str]:
    """Return the variables of a host: on the CPU, without any look at the web, nothing of the test's own Python."""
    ours = (
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "VIRTUAL_ENV",
        "COMMANDLINE_ARGS",
        "PYTEST_CURRENT_TEST",
    )
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    quiet = {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}
    # Two processes that both want all cores wait for each other's threads: twenty times slower than one thread each.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))}
    local = {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    return {**kept, **offline, **quiet, **threads, **local}
