"""Print the gates for review and fail on the hard limits: `python tools/gates.py [--seconds N] [FOLDER]`.

Hard limits: 400 lines a file, 60 lines a function, no bare or silent except, no host or gradio import in the core.
The other numbers are printed for the reviewer; none should get worse.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_LINES, FUNCTION_LINES = 400, 60
PRODUCT = ("lib_lora", "scripts", "tools", "run.py", "install.py", "preload.py")
WEBUI_MODULES = frozenset(
    {"modules", "modules_forge", "backend", "networks", "network", "extra_networks_lora", "ldm", "sgm", "k_diffusion"}
    | {"ldm_patched", "launch"}
)
HOST_MODULES = WEBUI_MODULES | {"gradio"}
ADAPTER = "lib_lora/host/webui/"
PROMISE_WORDS = 3  # test_a_b_c: fewer words name a thing, not a promise

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its path relative to the project (with /), its number of lines and its syntax tree."""

    path: str
    lines: int
    tree: ast.Module


@dataclass(frozen=True)
class Gate:
    """One printed number: what it counts, where, and whether it is more than the hard limit allows."""

    title: str
    value: str
    places: tuple[str, ...] = ()
    broken: bool = False


def read_sources(root: Path, names: tuple[str, ...]) -> list[Source]:
    """Parse the Python files of the named files and folders, those that exist, in path order."""
    paths = [
        file for name in names for file in ([root / name] if name.endswith(".py") else (root / name).rglob("*.py"))
    ]
    sources = []
    for path in sorted(path for path in paths if path.is_file()):
        text = path.read_text(encoding="utf-8")
        sources.append(Source(path.relative_to(root).as_posix(), len(text.splitlines()), ast.parse(text, str(path))))
    return sources


def functions(source: Source) -> Iterator[Function]:
    """Yield every function and method of a file."""
    return (node for node in ast.walk(source.tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Return the lines of a function from `def` to its end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and full module name of every import of a file, relative ones resolved, nested ones included."""
    package = source.path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def is_core(path: str) -> bool:
    """Say whether a file must not know a host or gradio: all of lib_lora but ui/ and the adapter of the WebUIs."""
    return path.startswith("lib_lora/") and not path.startswith(("lib_lora/ui/", ADAPTER))


def host_imports(sources: list[Source]) -> list[str]:
    """Return the places in the core where a host or gradio is imported."""
    return [
        f"{source.path}:{line} {name}"
        for source in sources
        if is_core(source.path)
        for line, name in imported(source)
        if name.split(".")[0] in HOST_MODULES
    ]


def handlers(sources: list[Source]) -> tuple[list[str], list[str]]:
    """Return the places of bare or silent excepts, and of broad ones (`Exception`, `BaseException`)."""
    wrong, broad = [], []
    for source in sources:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            place = f"{source.path}:{node.lineno}"
            names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else set()
            if node.type is None or all(isinstance(step, ast.Pass) or is_ellipsis(step) for step in node.body):
                wrong.append(place)
            if names & {"Exception", "BaseException"}:
                broad.append(place)
    return wrong, broad


def is_ellipsis(step: ast.stmt) -> bool:
    """Say whether a statement is only `...`."""
    return isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant) and step.value.value is Ellipsis


def untyped(sources: list[Source]) -> list[str]:
    """Return the public functions and methods that lack the type of an argument or of the result."""
    places = []
    for source in sources:
        for function in functions(source):
            given = function.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            bare = [arg for arg in named if arg and not arg.annotation and arg.arg not in ("self", "cls")]
            if not function.name.startswith("_") and (bare or function.returns is None):
                places.append(f"{source.path}:{function.lineno} {function.name}")
    return places


def vague_tests(tests: list[Source]) -> list[str]:
    """Return the tests whose name is too short to be a promise."""
    return [
        f"{source.path}:{function.lineno} {function.name}"
        for source in tests
        for function in functions(source)
        if function.name.startswith("test_") and len(function.name.split("_")) - 1 < PROMISE_WORDS
    ]


def longest_file(sources: list[Source]) -> Gate:
    """Measure the longest file against its limit."""
    top = max(sources, key=lambda source: source.lines)
    over = tuple(f"{source.path} {source.lines}" for source in sources if source.lines > FILE_LINES)
    return Gate(f"longest file (limit {FILE_LINES} lines)", f"{top.lines}  {top.path}", over, broken=bool(over))


def longest_function(sources: list[Source]) -> Gate:
    """Measure the longest function against its limit."""
    rows = [(length(f), f"{source.path}:{f.lineno} {f.name}") for source in sources for f in functions(source)]
    lines, place = max(rows, default=(0, ""))
    over = tuple(f"{place} {lines}" for lines, place in rows if lines > FUNCTION_LINES)
    return Gate(f"longest function (limit {FUNCTION_LINES} lines)", f"{lines}  {place}", over, broken=bool(over))


def counted(title: str, places: list[str], *, hard: bool) -> Gate:
    """Build the gate of a count; a hard one is broken by a single place."""
    return Gate(f"{title}{' (limit 0)' if hard else ''}", str(len(places)), tuple(places), broken=hard and bool(places))


def measure(root: Path, *, seconds: float | None = None) -> list[Gate]:
    """Return all gates of a project folder; `seconds` is the duration of its test suite."""
    product, tests = read_sources(root, PRODUCT), read_sources(root, ("tests",))
    wrong, broad = handlers([*product, *tests])
    return [
        longest_file([*product, *tests]),
        longest_function([*product, *tests]),
        counted("bare or silent excepts", wrong, hard=True),
        counted("broad excepts", broad, hard=False),
        counted("host or gradio imports in the core", host_imports(product), hard=True),
        counted("public functions without types", untyped(product), hard=False),
        counted("tests without a promise in the name", vague_tests(tests), hard=False),
        Gate("seconds of the test suite", "not measured" if seconds is None else f"{seconds:.0f}"),
    ]


def render(gates: list[Gate], *, shown: int = 8) -> str:
    """Return the gates as text, with the first places under each number that has some."""
    lines = ["Gates for review"]
    for gate in gates:
        lines.append(f"  {'FAIL' if gate.broken else '    '} {gate.title:<42} {gate.value}")
        lines += [f"         - {place}" for place in gate.places[:shown]]
        lines += [f"         - and {len(gate.places) - shown} more"] if len(gate.places) > shown else []
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the gates of a folder, this project by default; return 1 when a hard limit is broken."""
    parser = argparse.ArgumentParser(description="Print the gates for review; fail on the hard limits.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--seconds", type=float, help="how long the test suite took")
    options = parser.parse_args(arguments)
    gates = measure(options.folder, seconds=options.seconds)
    sys.stdout.write(render(gates) + "\n")
    return int(any(gate.broken for gate in gates))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
