"""What the sources say to people, read from their syntax trees: every call of `say` and every error that is made."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from lib_lora.sentences import places_of

ROOT = Path(__file__).resolve().parents[2]
SIGNATURE = frozenset({"where", "cure", "option", "text", "position"})
"""What the errors take beside the values of their templates."""
LISTS = frozenset({"notes", "notices", "warnings", "said", "reasons", "problems", "remarks"})
"""Lists of sentences: what is put into them is said."""
CHANNEL = frozenset({"passed"})
"""Methods of a `Progress` that nothing else has; `update` is that of dictionaries as well."""
HOMEMADE = re.compile(r"Callable\[\[int, int(, str)?\], (None|Any)\]")
"""A function that is told how far a work is, as a parameter's type."""
NAME = re.compile(r"[\w.\-/]+(, [\w.\-/]+)*")
"""A literal place that is a name (of an option, a field, a file), the same in every language."""


@dataclass(frozen=True)
class Said:
    """A literal template with its places, or what is wrong with the way a text is made."""

    place: str
    role: str
    template: str
    wrong: str = ""


def last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@dataclass
class Sources:
    """Source files by path, read for what they say."""

    files: dict[str, str]

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        return {path: ast.parse(text) for path, text in self.files.items()}

    @cached_property
    def errors(self) -> set[str]:
        """The names of the error classes."""
        classes = [n for tree in self.trees.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
        known, size = {"AtelierError"}, 0
        while len(known) > size:
            size = len(known)
            known |= {one.name for one in classes if known & {last_name(base) for base in one.bases}}
        return known

    @cached_property
    def makers(self) -> set[str]:
        """The functions, properties and fields that are declared to give sentences."""
        found = {"say", "quoted", "reason_of", "what", "cure", "sentence"}
        for tree in self.trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and node.returns and "Sentence" in ast.unparse(node.returns):
                    found.add(node.name)
        return found

    def said(self) -> Iterator[Said]:
        """Yield every template, and everything that is wrong."""
        for path, tree in self.trees.items():
            yield from _Reader(path, tree, self).said()


class _Reader:
    def __init__(self, path: str, tree: ast.Module, sources: Sources) -> None:
        self._path, self._tree, self._sources = path, tree, sources
        imported = [
            node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "lib_lora.sentences"
        ]
        self._imports_say = any(name.name == "say" for node in imported for name in node.names)
        self._parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def said(self) -> Iterator[Said]:
        for node in ast.walk(self._tree):
            yield from self._lists(node)
            if isinstance(node, ast.Call):
                name = last_name(node.func)
                if name == "say" and self._imports_say and not self._hands_on(node):
                    yield from self._say(node)
                elif name in self._sources.errors and node.args:
                    yield from self._error(node)
                elif name in ("Problem", "LineProblem", "remark", "grouped"):
                    texts = [*node.args, *(word.value for word in node.keywords)]
                    yield from (self._wrong(each, "remark", why) for each in texts if (why := put_together(each)))
                elif name in ("append", "update", "passed") and not self._path.startswith(SILENT):
                    yield from self._told(node, name)
            elif isinstance(node, ast.Attribute) and node.attr in CHANNEL and not self._is_called(node):
                yield self._wrong(
                    node, "remark", "hand on the Progress itself, else what its method is told is not read"
                )
            elif isinstance(node, ast.arg) and node.annotation and HOMEMADE.search(ast.unparse(node.annotation)):
                yield self._wrong(node, "remark", "a Progress tells how far it is, and its words are read")

    def _told(self, call: ast.Call, name: str) -> Iterator[Said]:
        """Yield what is put by hand into a list of sentences, or told of a work's progress."""
        if name == "append":
            texts = call.args if last_name(getattr(call.func, "value", None)) in LISTS else []
        else:
            texts = [*call.args[2:3], *(word.value for word in call.keywords if word.arg == "text")]
        for text in texts:
            for each in _branches(text):
                if why := put_together(each, also_literals=True):
                    yield self._wrong(each, "remark", why)

    def _is_called(self, method: ast.Attribute) -> bool:
        above = self._parents[method]
        return isinstance(above, ast.Call) and above.func is method

    def _hands_on(self, call: ast.Call) -> bool:
        """Whether an error makes a sentence of the template that it was given: the caller's literal."""
        return self._path == "lib_lora/errors.py" and isinstance(call.args[0], ast.Name)

    def _lists(self, node: ast.AST) -> Iterator[Said]:
        """Yield what is put by hand into a list of sentences, where it is made or handed on."""
        given = []
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            given = [node.value] if any(last_name(target) in LISTS for target in targets) else []
        elif isinstance(node, ast.Call):
            given = [word.value for word in node.keywords if word.arg in LISTS]
        if self._path.startswith((*SILENT, "lib_lora/ui/", "lib_lora/web/")):
            return
        for text in (text for value in given for text in _elements(value)):
            if why := put_together(text, also_literals=True):
                yield self._wrong(text, "remark", why)

    def _say(self, call: ast.Call) -> Iterator[Said]:
        if not (len(call.args) == 1 and isinstance(call.args[0], ast.Constant)):
            yield self._wrong(call, "say", "the template is no literal")
            return
        yield self._template(call.args[0], "say")
        yield from self._values(call, call.keywords, set(places_of(call.args[0].value)))

    def _error(self, call: ast.Call) -> Iterator[Said]:
        given = {word.arg: word.value for word in call.keywords}
        needed: set[str] = set()
        for role, node in (("what", call.args[0]), ("cure", given.get("cure"))):
            for text in _branches(node):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    needed |= set(places_of(text.value))
                    if text.value:
                        yield self._template(text, role)
                elif why := put_together(text) or self._no_sentence(text):
                    yield self._wrong(text, role, why)
        for text in self._read(given.get("where")):
            if isinstance(text, ast.Constant):
                if not NAME.fullmatch(str(text.value)):
                    yield self._wrong(text, "where", "a place in words needs say()")
            elif why := put_together(text):
                yield self._wrong(text, "where", why)
        yield from self._values(call, [word for word in call.keywords if word.arg not in SIGNATURE], needed)

    def _read(self, node: ast.expr | None) -> list[ast.expr]:
        """Return what an expression can be, a module's own constant as what it is."""
        texts = _branches(node)
        own = [value for text in texts if isinstance(text, ast.Name) for value in _constants(self._tree, text.id)]
        return [*texts, *own]

    def _values(self, call: ast.Call, words: list[ast.keyword], needed: set[str]) -> Iterator[Said]:
        if {word.arg for word in words} != needed:
            yield self._wrong(call, "values", f"{sorted(str(w.arg) for w in words)} for {sorted(needed)}")
        for word in words:
            for value in _branches(word.value):
                if why := put_together(value):
                    yield self._wrong(value, "value", why)

    def _no_sentence(self, node: ast.expr) -> str:
        """Return why an expression may be something else than a sentence, which would be taken for a template."""
        if isinstance(node, ast.Call | ast.Attribute):
            name = last_name(node.func if isinstance(node, ast.Call) else node)
            return "" if name in self._sources.makers else f"{ast.unparse(node)} is not declared as a sentence"
        if not isinstance(node, ast.Name):
            return f"{ast.unparse(node)} is no sentence"
        for scope in self._around(node):
            values = list(_assigned(scope, node.id))
            if values:
                texts = [text for value in values for text in _branches(value)]
                return next((why for text in texts if (why := put_together(text) or self._plain(text))), "")
            if isinstance(scope, ast.FunctionDef):
                for one in (*scope.args.args, *scope.args.kwonlyargs):
                    if one.arg == node.id:
                        declared = "Sentence" in ast.unparse(one.annotation) if one.annotation else False
                        return "" if declared else f"the parameter {node.id} is not declared as a Sentence"
        imported = {a.asname or a.name for n in self._tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        return "" if node.id in imported else f"{node.id} cannot be read"

    def _plain(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return f"“{node.value}” needs say()" if node.value else ""
        return self._no_sentence(node)

    def _around(self, node: ast.AST) -> Iterator[ast.AST]:
        while (node := self._parents.get(node)) is not None:
            if isinstance(node, ast.FunctionDef | ast.Module):
                yield node

    def _template(self, node: ast.Constant, role: str) -> Said:
        return Said(f"{self._path}:{node.lineno}", role, node.value)

    def _wrong(self, node: ast.expr, role: str, why: str) -> Said:
        return Said(f"{self._path}:{node.lineno}", role, ast.unparse(node), why)


def _branches(node: ast.expr | None) -> list[ast.expr]:
    """Return what an expression can be: both sides of a condition, every side of an “or”."""
    if isinstance(node, ast.IfExp):
        return _branches(node.body) + _branches(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [each for value in node.values for each in _branches(value)]
    return [] if node is None else [node]


def _elements(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return [node.elt]
    if isinstance(node, ast.BinOp):
        return _elements(node.left) + _elements(node.right)
    if isinstance(node, ast.Call) and last_name(node.func) in ("tuple", "list") and node.args:
        return _elements(node.args[0])
    return list(node.elts) if isinstance(node, ast.List | ast.Tuple) else []


def put_together(node: ast.expr, *, also_literals: bool = False) -> str:
    """Return how a text was put together by hand, or nothing where it was not."""
    if isinstance(node, ast.JoinedStr):
        fixed = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        return "an f-string with words" if re.search(r"[A-Za-z]{2}| ", fixed) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        texts = [side for side in (node.left, node.right) if isinstance(side, ast.Constant | ast.JoinedStr)]
        if any(isinstance(side, ast.JoinedStr) or isinstance(side.value, str) for side in texts):
            return "a sum of texts"
    if isinstance(node, ast.Call) and last_name(node.func) == "format" and isinstance(node.func, ast.Attribute):
        return "str.format" if isinstance(node.func.value, ast.Constant) else ""
    if also_literals and isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        return "a literal without say()"
    return ""


def _constants(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [last_name(target) for target in node.targets] == [name]:
            yield node.value


def _assigned(scope: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if _sets(node) else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id == name and node.value is not None:
                yield node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                names = [last_name(each) for each in target.elts]
                if name in names:
                    yield node.value.elts[names.index(name)]


def _sets(node: ast.AST) -> bool:
    return isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign)


SILENT = ("lib_lora/cli/", "lib_lora/demo/")
"""Rooms that speak to the terminal, or into the demo's own report, in English."""


@lru_cache(maxsize=1)
def collect() -> tuple[Said, ...]:
    """Return all that the package says."""
    paths = sorted((ROOT / "lib_lora").rglob("*.py"))
    return tuple(Sources({p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in paths}).said())
