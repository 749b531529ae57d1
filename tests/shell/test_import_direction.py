"""Imports only point down: the core knows no host, no gradio, and no lower floor knows an upper one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import gates

ROOT = Path(gates.__file__).resolve().parent.parent
# A room -> the rooms above it, which it must not know. host/base.py is the protocol that every room may speak of.
ABOVE = {
    "blocks": ("formats", "live", "merge", "data", "train", "analysis", "host", "jobs", "ui", "cli", "api"),
    "formats": ("live", "merge", "data", "train", "analysis", "host", "jobs", "ui", "cli", "api"),
    "live": ("train", "analysis", "host", "jobs", "ui", "cli", "api"),
    "merge": ("train", "analysis", "host", "jobs", "ui", "cli", "api"),
    "data": ("train", "analysis", "host", "jobs", "ui", "cli", "api"),
    "train": ("jobs", "ui", "cli", "api"),
    "analysis": ("jobs", "ui", "cli", "api"),
    "host": ("jobs", "ui", "cli", "api"),
    "jobs": ("ui", "cli", "demo", "api"),
    "ui": ("cli", "demo", "api"),
}


def sources() -> list[gates.Source]:
    return gates.read_sources(ROOT, ("lib_lora",))


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "lib_lora" and len(parts) > 1 else ""


def test_core_imports_no_host_and_no_gradio() -> None:
    assert len(sources()) > 5
    assert gates.host_imports(sources()) == []


def test_no_room_imports_from_a_floor_above_it() -> None:
    wrong = [
        f"{source.path}:{line} {name}"
        for source in sources()
        for line, name in gates.imported(source)
        if room(name) in ABOVE.get(source.path.split("/")[1], ()) and not name.startswith("lib_lora.host.base")
    ]
    assert wrong == []


def test_block_names_and_weights_need_no_torch() -> None:
    blocks = gates.read_sources(ROOT, ("lib_lora/blocks",))
    heavy = {"torch", "numpy", "PIL", "safetensors"}
    assert [name for source in blocks for _, name in gates.imported(source) if name.split(".")[0] in heavy] == []


@pytest.mark.parametrize("module", ["lib_lora", "lib_lora.blocks"])
def test_importing_the_package_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'numpy', 'gradio', 'diffusers', 'PIL'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_relative_import_of_an_upper_floor_would_be_found(tmp_path: Path) -> None:
    folder = tmp_path / "lib_lora" / "blocks"
    folder.mkdir(parents=True)
    (folder / "bad.py").write_text("from ..train import loop\nfrom .. import ui\nfrom . import tag\n", encoding="utf-8")
    (source,) = gates.read_sources(tmp_path, ("lib_lora",))
    assert [room(name) for _, name in gates.imported(source)] == ["train", "ui", "blocks"]
