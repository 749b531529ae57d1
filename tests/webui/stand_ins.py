"""Our stand-ins for a host's objects (`host/webui/protocols.py`), held against a host's sources and our own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.webui.contracts import PLACES, ROOT, Call, Function, Sources, defined, is_static, member_of, refused

FILE = ROOT / "lib_lora/host/webui/protocols.py"
KINDS = {"A1111": "a1111", "Forge": "forge", "Forge Neo": "neo", "reForge": "reforge", "Forge classic": "classic"}


@dataclass(frozen=True)
class StandIn:
    """One of our protocols: what it stands for, by dotted names, in which kinds of hosts (none: in all)."""

    name: str
    stands_for: tuple[str, ...]
    kinds: frozenset[str]
    members: dict[str, ast.stmt]


def stand_ins(path: Path = FILE) -> dict[str, StandIn]:
    """Return our protocols by name."""
    found: dict[str, StandIn] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        said = ast.get_docstring(node) or ""
        of, only = (re.search(rf"^{word}: (.+)$", said, re.MULTILINE) for word in ("Stands for", "Only in"))
        members = {}
        for base in (each.id for each in node.bases if isinstance(each, ast.Name) and each.id in found):
            members |= found[base].members
        members |= {each.target.id: each for each in node.body if isinstance(each, ast.AnnAssign)}
        members |= {each.name: each for each in node.body if isinstance(each, Function)}
        kinds = frozenset(KINDS[kind] for kind in only[1].split(", ")) if only else frozenset()
        found[node.name] = StandIn(node.name, tuple(of[1].split(", ")) if of else (), kinds, members)
    return found


def problems(host: Sources, one: StandIn) -> dict[str, str]:
    """Return what of a stand-in a host lacks, by member; something that the host puts on a model or an order counts."""
    said = {}
    for member, node in one.members.items():
        call = _call(node) if isinstance(node, Function) else None
        wrong = [_problem(host, dotted, member, call) for dotted in one.stands_for]
        if all(wrong) and not re.search(rf"\b(?:p|m|model|sd_model)\.{member} = ", host.text):
            said[f"{one.stands_for[0]}.{member}"] = wrong[0]
    return said


def misused(known: dict[str, StandIn], root: Path = ROOT) -> Iterator[str]:
    """Yield each name that our code takes of a parameter and that the stand-in in its annotation does not have."""
    for path in (path for place in PLACES for path in sorted((root / place).rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
            given = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
            notes = {arg.arg: ast.unparse(arg.annotation).removesuffix(" | None") for arg in given if arg.annotation}
            typed = {name: known[note] for name, note in notes.items() if note in known}
            asked = {pair for node in ast.walk(function) if (pair := _asked_for(node))}
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in typed:
                    name = node.value.id
                    if node.attr not in typed[name].members and (name, node.attr) not in asked:
                        yield f"{path.relative_to(root).as_posix()}:{node.lineno} {name}.{node.attr}"


def _asked_for(node: ast.AST) -> tuple[str, str] | None:
    """Return the variable and the name of ``hasattr(variable, "name")``."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "hasattr"):
        return None
    variable, name = node.args
    return (ast.unparse(variable), name.value) if isinstance(name, ast.Constant) else None


def _call(method: ast.FunctionDef) -> Call:
    """Return the call that a method of a stand-in describes."""
    given = method.args
    return Call(len(given.args) - 1, tuple(arg.arg for arg in given.kwonlyargs), False)


def _problem(host: Sources, dotted: str, member: str, call: Call | None) -> str:
    module, name = (dotted, "") if host.path(dotted) else dotted.rpartition(".")[::2]
    tree = host.module(module)
    if tree is None:
        return f"there is no module {module}"
    owner = defined(tree, name) if name else None
    if name and not isinstance(owner, ast.ClassDef):
        return f"{module} has no class {name}"
    found = _member(host, owner, module, member) if isinstance(owner, ast.ClassDef) else defined(tree, member)
    if found is None:
        return f"{dotted} has no {member}"
    if call is not None and isinstance(found, Function):
        return refused(found, call, bound=bool(name) and not is_static(found), name=member)
    return ""


def _member(host: Sources, owner: ast.ClassDef, module: str, member: str) -> ast.AST | None:
    """Return what gives a class's objects an attribute, in the classes that it builds on too."""
    found = member_of(owner, member)
    if found is not None:
        return found
    for base in owner.bases:
        known = host._class(ast.unparse(base), module)
        if known is not None and (found := _member(host, *known, member)) is not None:
            return found
    return None
