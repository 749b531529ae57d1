"""Everything that the program's sources can say to a person: errors, remarks, progress."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tests.ui.literals import PLACE, Frame, Module, OpenError, Package, last_name

ROOT = Path(__file__).resolve().parents[2]
SILENT = ("cli", "demo")
"""Rooms whose sentences go to the terminal or into the demo's own report."""

FIELDS = {"LineProblem": ("line", "what", "cure"), "Problem": ("path", "what", "cure")}
ERROR_FIELDS = ("what",)
REMARKS = ("notes", "notices", "warnings", "said", "reasons")
"""Lists of sentences in the core: what is put into them is said. Panels take their remarks from `texts/`."""
QUOTED = ("lib_lora/formats/header.py",)
"""Files whose ValueErrors are quoted inside an error's sentence."""


@dataclass(frozen=True)
class Said:
    """One sentence: where it is written, what it is for (what, cure, where, remark, progress), its template."""

    place: str
    role: str
    text: str


@dataclass
class Speakers(Package):
    """A package, with the places where something is said."""

    @cached_property
    def errors(self) -> set[str]:
        """The names of the error classes."""
        known, size = {"AtelierError"}, 0
        while len(known) > size:
            size = len(known)
            for module in self.modules:
                for node in ast.walk(module.tree):
                    if isinstance(node, ast.ClassDef) and known & {last_name(base) for base in node.bases}:
                        known.add(node.name)
        return known

    def spoken(self) -> Iterator[tuple[Module, str, ast.expr]]:
        """Yield (file, role, expression) of everything that a person is told."""
        for module in self.modules:
            for node in ast.walk(module.tree):
                for role, said in self._spoken_by(node):
                    if role != "remark" or not module.path.startswith("lib_lora/ui/"):
                        yield module, role, said
                if module.path in QUOTED and isinstance(node, ast.Call) and last_name(node.func) == "ValueError":
                    yield module, "remark", node.args[0]

    def _spoken_by(self, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id in REMARKS for target in targets):
                yield from (("remark", said) for said in _elements(node.value))
        if not isinstance(node, ast.Call):
            return
        name = last_name(node.func)
        if name in self.errors or name in FIELDS:
            fields = FIELDS.get(name, ERROR_FIELDS)
            given = dict(zip(fields, node.args, strict=False)) | {k.arg: k.value for k in node.keywords if k.arg}
            yield from ((role, given[role]) for role in ("what", "cure", "where") if role in given)
        elif isinstance(node.func, ast.Attribute):
            if name == "remark" or (name == "append" and last_name(node.func.value) in REMARKS):
                yield "remark", node.args[0]
            elif name == "__init__":  # of an error class, called by a subclass
                yield from (("where", word.value) for word in node.keywords if word.arg == "where")
            elif name in ("update", "passed") and len(node.args) == 3:
                yield "progress", node.args[2]
        yield from (("remark", said) for word in node.keywords if word.arg in REMARKS for said in _elements(word.value))


def _elements(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return [node.elt]
    if isinstance(node, ast.BinOp):
        return _elements(node.left) + _elements(node.right)
    if isinstance(node, ast.Call) and last_name(node.func) in ("tuple", "list") and node.args:
        return _elements(node.args[0])
    if isinstance(node, ast.List | ast.Tuple):
        return [each for each in node.elts if not isinstance(each, ast.Starred)]
    return []


@lru_cache(maxsize=1)
def collect() -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """Return all that the package says, and the expressions that cannot be read."""
    files = [p for p in sorted((ROOT / "lib_lora").rglob("*.py")) if p.relative_to(ROOT).parts[1] not in SILENT]
    return read([Module(p.relative_to(ROOT).as_posix(), ast.parse(p.read_text(encoding="utf-8"))) for p in files])


def read(modules: list[Module]) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """Return all that some files say, and the expressions that cannot be read (`text` is then the source)."""
    sources = Speakers(modules)
    said, unread = set(), set()
    for module, role, node in sources.spoken():
        place = f"{module.path}:{node.lineno}"
        try:
            texts = sources.texts(node, Frame(module, tuple(module.around(node))))
        except OpenError:
            unread.add(Said(place, role, ast.unparse(node)))
            continue
        if role != "where" and any(text == PLACE for text, _ in texts):
            unread.add(Said(place, role, ast.unparse(node)))
        said |= {Said(origin, role, text) for text, origin in texts if text not in ("", PLACE)}
    return tuple(sorted(said, key=_order)), tuple(sorted(unread, key=_order))


def _order(said: Said) -> tuple[str, int, str, str]:
    path, _, line = said.place.rpartition(":")
    return path, int(line), said.role, said.text
