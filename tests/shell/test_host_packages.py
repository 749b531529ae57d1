"""In a WebUI we live on what it has: nothing reachable from scripts/ imports a package that the hosts do not bring.

Allowed are the modules of Python 3.10 itself, what the requirements of *both* hosts name (`host_packages.json`), what
those packages require themselves as far as we use it (`brought_by`), the hosts' own modules in their adapter, and:

- the optimizers of `install.py`, inside a function: `train/ratio_optimizer.py` says in a sentence that one is missing;
- any other package inside `try … except ImportError` of a function, where the handler tries another one or raises.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import install
from tools import gates

ROOT = Path(gates.__file__).resolve().parent.parent
KNOWN = json.loads(Path(__file__).with_name("host_packages.json").read_text(encoding="utf-8"))
MISSING = {"ImportError", "ModuleNotFoundError"}


def module_of(package: str) -> str:
    return KNOWN["module_of"].get(package, package)


def of_both_hosts() -> set[str]:
    """The modules that both hosts' requirements bring."""
    both = set.intersection(*(set(names) for names in KNOWN["hosts"].values()))
    assert set(KNOWN["brought_by"].values()) <= both
    return {module_of(package) for package in both | set(KNOWN["brought_by"])}


def file_of(name: str, sources: Mapping[str, gates.Source]) -> list[str]:
    """The files of ours that are run by an import of ``name``: the packages on the way too."""
    parts = name.split(".")
    found = []
    for length in range(1, len(parts) + 1):
        path = "/".join(parts[:length])
        found += [file for file in (f"{path}.py", f"{path}/__init__.py") if file in sources]
    return found


class AsItRuns(ast.NodeTransformer):
    """Leaves out what only a type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def reachable(root: Path) -> list[gates.Source]:
    """Every file that the entry files of the WebUI import, directly or not, at the top or inside a function."""
    read = gates.read_sources(root, ("lib_lora", "scripts", "install.py"))
    sources = {source.path: replace(source, tree=AsItRuns().visit(source.tree)) for source in read}
    todo = [path for path in sources if path.startswith("scripts/") or path == "install.py"]
    seen = set(todo)
    while todo:
        for _, name in gates.imported(sources[todo.pop()]):
            new = set(file_of(name, sources)) - seen
            seen |= new
            todo += new
    return [sources[path] for path in sorted(seen)]


def outside(source: gates.Source) -> Iterator[tuple[int, str, bool, bool]]:
    """Line and module of each import from another package; whether in a function, and whether it may be missing."""
    within = {id(n) for function in gates.functions(source) for n in ast.walk(function)}
    guarded = {id(n) for t in ast.walk(source.tree) if is_guard(t) for step in t.body for n in ast.walk(step)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            alone = gates.Source(source.path, 0, ast.Module(body=[node], type_ignores=[]))
            for line, name in gates.imported(alone):
                if name.split(".")[0] != "lib_lora":
                    yield line, name.split(".")[0], id(node) in within, id(node) in guarded


def is_guard(node: ast.AST) -> bool:
    """Whether a `try` answers a missing package: by another import that is tried, or by an error of its own."""
    return isinstance(node, ast.Try) and any(
        isinstance(handler.type, ast.Name)
        and handler.type.id in MISSING
        and any(isinstance(step, ast.Raise | ast.Try) for step in handler.body)
        for handler in node.handlers
    )


def wrong_imports(root: Path) -> list[str]:
    plain = (set(sys.stdlib_module_names) - set(KNOWN["later_than_3.10"])) | of_both_hosts()
    wrong = []
    for source in reachable(root):
        of_host = gates.WEBUI_MODULES if source.path.startswith((gates.ADAPTER, "scripts/", "install.py")) else set()
        for line, module, in_function, guarded in outside(source):
            optional = in_function and (guarded or module in install.OPTIMIZERS)
            if module not in plain | of_host and not optional:
                wrong.append(f"{source.path}:{line} {module}")
    return wrong


def test_what_a_webui_runs_imports_only_what_the_webui_has() -> None:
    assert len(reachable(ROOT)) > 100
    assert wrong_imports(ROOT) == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 10), reason="what Python 3.10 lacks is told by Python 3.10")
def test_what_came_after_the_hosts_python_is_told_apart() -> None:
    assert not set(KNOWN["later_than_3.10"]) & set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import tomli\n", ["tomli"]),
        ("def f():\n    import tomllib\n", ["tomllib"]),
        ("def f():\n    import yaml\n", ["yaml"]),
        ("def f():\n    import diffusers\n", ["diffusers"]),  # one host has it, the other has not
        ("import lion_pytorch\n", ["lion_pytorch"]),
        ("def f():\n    import lion_pytorch\n", []),
        ("def f():\n    try:\n        import yaml\n    except ImportError:\n        pass\n", ["yaml"]),
        ("def f():\n    try:\n        import yaml\n    except ImportError as e:\n        raise Bad() from e\n", []),
        ("try:\n    import yaml\nexcept ImportError as e:\n    raise Bad() from e\n", ["yaml"]),
        ("if TYPE_CHECKING:\n    import yaml\nelse:\n    import tomli\n", ["tomli"]),
        ("from PIL import Image\nimport torch, starlette.requests\nimport modules.shared\n", ["modules"]),
    ],
)
def test_an_import_of_anything_else_is_found_however_deep_it_lies(tmp_path: Path, text: str, found: list[str]) -> None:
    for name, lines in (
        ("scripts/entry.py", "def late():\n    from lib_lora.room import door\n"),
        ("lib_lora/room/__init__.py", ""),
        ("lib_lora/room/door.py", "from . import cellar\n"),
        ("lib_lora/room/cellar.py", text),
        ("lib_lora/room/unused.py", "import nobody\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(lines, encoding="utf-8")
    assert [place.split()[-1] for place in wrong_imports(tmp_path)] == found
