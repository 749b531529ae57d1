"""Imports only point down: the core knows no host, no gradio, and no lower floor knows an upper one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import gates

ROOT = Path(gates.__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def read_floors(page: str) -> dict[str, int]:
    """Return each room's floor as the page draws them, counted from the entry files down."""
    drawn = [line for line in page.partition("## Floors")[2].partition("\n## ")[0].splitlines() if line[:4] == " " * 4]
    named = [re.split(r" {2,}", line.strip())[0].split(" · ") for line in drawn]
    return {room: floor for floor, rooms in enumerate(named) for room in rooms}


FLOORS = read_floors(PAGE)
STUDIO = "lib_lora.host.studio"


def sources() -> list[gates.Source]:
    return gates.read_sources(ROOT, ("lib_lora",))


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "lib_lora" and len(parts) > 1 else ""


def test_core_imports_no_host_and_no_gradio() -> None:
    assert len(sources()) > 5
    assert gates.host_imports(sources()) == []


def is_downward(source: gates.Source, name: str) -> bool:
    """Whether an import stays in its room or goes to a lower floor; what is none of our rooms is another test's."""
    own, other = room(source.path.removesuffix(".py").replace("/", ".")), room(name)
    return other not in FLOORS or own == other or FLOORS[own] < FLOORS[other]


def test_every_room_stands_on_the_page() -> None:
    rooms = {room(source.path.removesuffix(".py").replace("/", ".")) for source in sources()}
    assert rooms | {"scripts", "run.py"} == set(FLOORS)


def test_every_import_points_down_as_the_page_says() -> None:
    assert [
        f"{s.path}:{at} {name}" for s in sources() for at, name in gates.imported(s) if not is_downward(s, name)
    ] == []


@pytest.mark.parametrize(
    ("path", "line", "good"),
    [
        ("lib_lora/web/routes.py", "from lib_lora.ui import compat", False),
        ("lib_lora/cli/studio.py", "from lib_lora.ui.app import build_app", False),
        ("lib_lora/train/loop.py", "from lib_lora.analysis import norms", False),
        ("lib_lora/merge/bake.py", "from lib_lora.host.base import Host", False),
        ("lib_lora/ui/app.py", "from lib_lora.services.atelier import Atelier", True),
        ("lib_lora/errors.py", "import lib_lora.atomic", False),
        ("lib_lora/blocks/tag.py", "from lib_lora.blocks import tokens", True),
    ],
)
def test_import_that_climbs_or_goes_next_door_would_be_found(path: str, line: str, good: bool) -> None:
    source = gates.Source(path, 1, ast.parse(line))
    assert all(is_downward(source, name) for _, name in gates.imported(source)) is good


def root_of(name: str) -> str:
    return name.split(".")[0]


def at_import(source: gates.Source) -> list[tuple[int, str]]:
    """Return what a file imports when it is imported itself: outside of functions, and not for type checkers only."""
    inner = {id(node) for each in gates.functions(source) for node in ast.walk(each)}
    tests = [
        node for node in ast.walk(source.tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    inner |= {id(node) for each in tests for node in ast.walk(each)}
    kept = [n for n in ast.walk(source.tree) if isinstance(n, ast.Import | ast.ImportFrom) and id(n) not in inner]
    tree = ast.Module(body=list(kept), type_ignores=[])
    return list(gates.imported(gates.Source(source.path, 0, tree)))


def test_only_the_adapter_knows_the_webuis_modules() -> None:
    outside = [source for source in sources() if not source.path.startswith(gates.ADAPTER)]
    wrong = [
        f"{source.path}:{line} {name}"
        for source in outside
        for line, name in gates.imported(source)
        if root_of(name) in gates.WEBUI_MODULES
    ]
    assert wrong == []


def test_adapter_is_imported_without_a_webui() -> None:
    adapter = [source for source in sources() if source.path.startswith(gates.ADAPTER)]
    assert len(adapter) > 5
    wrong = [
        f"{s.path}:{line} {name}" for s in adapter for line, name in at_import(s) if root_of(name) in gates.HOST_MODULES
    ]
    assert wrong == []


def test_adapter_needs_nothing_of_the_studios_own_model() -> None:
    adapter = [source for source in sources() if source.path.startswith((gates.ADAPTER, "lib_lora/ui/webui/"))]
    wrong = [f"{s.path}:{line} {name}" for s in adapter for line, name in gates.imported(s) if name.startswith(STUDIO)]
    assert wrong == []


def test_imports_inside_functions_are_told_from_those_at_the_top(tmp_path: Path) -> None:
    folder = tmp_path / "lib_lora"
    folder.mkdir()
    text = (
        "import os\nif TYPE_CHECKING:\n    import a\ntry:\n    import b\nfinally:\n    b = 0\ndef f():\n    import c\n"
    )
    (folder / "one.py").write_text(text, encoding="utf-8")
    (source,) = gates.read_sources(tmp_path, ("lib_lora",))
    assert [name for _, name in at_import(source)] == ["os", "b"]


def test_block_names_and_weights_need_no_torch() -> None:
    blocks = gates.read_sources(ROOT, ("lib_lora/blocks", "lib_lora/architectures"))
    heavy = {"torch", "numpy", "PIL", "safetensors"}
    assert [name for source in blocks for _, name in gates.imported(source) if name.split(".")[0] in heavy] == []


@pytest.mark.parametrize("module", ["lib_lora", "lib_lora.blocks.layouts"])
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
