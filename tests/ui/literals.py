"""The texts that an expression of a source file can be, read from its syntax tree.

An expression is followed to the literals that it is made of: through variables, conditions, sums of texts, parameters
(to every call) and functions that return texts. What stays open becomes a place, written ``{}``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

PLACE = "{}"
_DEPTH = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


class OpenError(Exception):
    """The expression is no text that can be read from the sources."""


@dataclass(eq=False)
class Module:
    """One source file with what its names mean."""

    path: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node

    @cached_property
    def functions(self) -> dict[str, Function]:
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, Function)}

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        return {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    def around(self, node: ast.AST) -> list[Function]:
        """Return the functions that a node stands in, the inmost first."""
        found = []
        while (node := self.parents.get(node)) is not None:
            if isinstance(node, Function):
                found.append(node)
        return found


@dataclass(frozen=True, eq=False)
class Frame:
    """Where an expression is read: its file, the functions around it, and what their parameters are bound to."""

    module: Module
    functions: tuple[Function, ...] = ()
    bound: dict[str, tuple[ast.expr, Frame]] = field(default_factory=dict)
    depth: int = 0


Texts = frozenset[tuple[str, str]]
"""(template, file:line of the literal)"""


@dataclass
class Package:
    """All files of a package."""

    modules: list[Module]

    @cached_property
    def by_name(self) -> dict[str, Module]:
        return {m.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): m for m in self.modules}

    def texts(self, node: ast.expr, frame: Frame) -> Texts:
        """Return the texts that an expression can be; OpenError where it can be anything."""
        if frame.depth > _DEPTH:
            raise OpenError(ast.unparse(node))
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, str):
                raise OpenError(ast.unparse(node))
            return frozenset({(node.value, f"{frame.module.path}:{node.lineno}")})
        if isinstance(node, ast.JoinedStr):
            return self._joined([self._part(part, frame) for part in node.values])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [self._or_place(side, frame) for side in (node.left, node.right)]
            if all({text for text, _ in side} == {PLACE} for side in sides):
                raise OpenError(ast.unparse(node))  # a sum of numbers
            return self._joined(sides)
        if isinstance(node, ast.IfExp):
            return self.texts(node.body, frame) | self.texts(node.orelse, frame)
        if isinstance(node, ast.BoolOp):
            return frozenset().union(*(self._or_place(value, frame, empty=True) for value in node.values))
        if isinstance(node, ast.Dict):
            return frozenset().union(*(self.texts(value, frame) for value in node.values))
        if isinstance(node, ast.Attribute):
            return self._attribute(node, frame)
        if isinstance(node, ast.Name):
            return self._name(node.id, frame)
        if isinstance(node, ast.Call):
            return self._call(node, frame)
        raise OpenError(ast.unparse(node))

    def _attribute(self, node: ast.Attribute, frame: Frame) -> Texts:
        if node.attr in ("what", "cure"):
            return frozenset()  # of an error or problem that is read where it is made
        if ast.unparse(node.value) == "self":
            classes = [n for n in ast.walk(frame.module.tree) if isinstance(n, ast.ClassDef)]
            values = [v for one in classes for line in one.body for v in _values(line, node.attr) if v is not None]
            if values:
                return frozenset().union(*(self.texts(value, _deeper(frame)) for value in values))
        raise OpenError(ast.unparse(node))

    def _part(self, part: ast.expr, frame: Frame) -> Texts:
        if isinstance(part, ast.FormattedValue):
            plain = part.conversion == -1 and part.format_spec is None
            return self._or_place(part.value, frame) if plain else self._place(part, frame)
        return self.texts(part, frame)

    def _or_place(self, node: ast.expr, frame: Frame, *, empty: bool = False) -> Texts:
        """Return the texts of a part, or a place; a part that is read elsewhere is a place too, unless ``empty``."""
        try:
            found = self.texts(node, frame)
            return found if found or empty else self._place(node, frame)
        except OpenError:
            return self._place(node, frame)

    @staticmethod
    def _place(node: ast.expr, frame: Frame) -> Texts:
        return frozenset({(PLACE, f"{frame.module.path}:{node.lineno}")})

    @staticmethod
    def _joined(parts: list[Texts]) -> Texts:
        return frozenset(("".join(text for text, _ in row), row[0][1]) for row in product(*parts) if row)

    def _name(self, name: str, frame: Frame) -> Texts:
        if name in frame.bound:
            node, outer = frame.bound[name]
            return self.texts(node, _deeper(outer, frame.depth))
        for index, function in enumerate(frame.functions):
            inner = Frame(frame.module, frame.functions[index:], frame.bound, frame.depth + 1)
            values = list(_assigned(function, name))
            if values:
                return frozenset().union(*(self._value(value, name, inner) for value in values))
            if name in _parameters(function):
                return self._parameter(function, name, inner)
        values = [v for node in frame.module.tree.body for v in _values(node, name)]
        if values:
            top = Frame(frame.module, depth=frame.depth + 1)
            return frozenset().union(*(self._value(value, name, top) for value in values))
        if name in frame.module.imports:
            module, original = frame.module.imports[name]
            if module in self.by_name:
                return self._name(original, Frame(self.by_name[module], depth=frame.depth + 1))
        raise OpenError(name)

    def _value(self, value: ast.expr | None, name: str, frame: Frame) -> Texts:
        if value is None:
            raise OpenError(name)
        return self.texts(value, frame)

    def _parameter(self, function: Function, name: str, frame: Frame) -> Texts:
        """Return what all calls of a function give to one parameter."""
        found: Texts = frozenset()
        for module, call in self._calls(function, frame.module):
            node = _argument(function, call, name)
            if node is not None:
                found |= self.texts(node, Frame(module, tuple(module.around(call)), depth=frame.depth + 1))
        if not found:
            raise OpenError(name)
        return found

    def _calls(self, function: Function, home: Module) -> Iterator[tuple[Module, ast.Call]]:
        for module in self.modules:
            known = module is home or module.imports.get(function.name, ("", ""))[1] == function.name
            for node in ast.walk(module.tree) if known else ():
                if isinstance(node, ast.Call) and last_name(node.func) == function.name:
                    yield module, node

    def _call(self, node: ast.Call, frame: Frame) -> Texts:
        """Return what a function of the package returns as texts."""
        name = last_name(node.func)
        home = frame.module
        if name in ("words", "_words"):
            return frozenset()  # in the page's language already
        if name == "get" and isinstance(node.func.value, ast.Dict):
            return frozenset().union(*(self.texts(each, frame) for each in (node.func.value, *node.args[1:])))
        if isinstance(node.func, ast.Name) and name in home.imports:
            module, name = home.imports[name]
            home = self.by_name.get(module, home)
        function = home.functions.get(name)
        if function is None or (isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) != "self"):
            raise OpenError(ast.unparse(node))
        bound = {}
        for parameter in _parameters(function):
            given = _argument(function, node, parameter)
            if given is not None:
                bound[parameter] = (given, frame)
        inner = Frame(home, (function,), bound, frame.depth + 1)
        returns = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]
        return frozenset().union(*(self.texts(value, inner) for value in returns))


def _deeper(frame: Frame, depth: int = 0) -> Frame:
    return Frame(frame.module, frame.functions, frame.bound, max(frame.depth, depth) + 1)


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _parameters(function: Function) -> list[str]:
    spec = function.args
    return [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]


def _argument(function: Function, call: ast.Call, name: str) -> ast.expr | None:
    """Return what a call gives to a parameter, or its default."""
    for word in call.keywords:
        if word.arg == name:
            return word.value
    spec = function.args
    order = [a.arg for a in (*spec.posonlyargs, *spec.args)]
    places = order[1:] if order[:1] in (["self"], ["cls"]) else order
    if name in places and places.index(name) < len(call.args):
        return call.args[places.index(name)]
    defaults = dict(zip(reversed(order), reversed(spec.defaults), strict=False))
    defaults |= {a.arg: d for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if d is not None}
    return defaults.get(name)


def _assigned(function: Function, name: str) -> Iterator[ast.expr | None]:
    for node in ast.walk(function):
        yield from _values(node, name)


def _values(node: ast.AST, name: str) -> Iterator[ast.expr | None]:
    """Yield what a statement assigns to a name; None where that cannot be told."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value
            elif isinstance(target, ast.Tuple):
                names = [last_name(each) for each in target.elts]
                if name in names:
                    same = isinstance(node.value, ast.Tuple) and len(node.value.elts) == len(names)
                    yield node.value.elts[names.index(name)] if same else None
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        if isinstance(node.target, ast.Name) and node.target.id == name:
            yield node.value
    elif isinstance(node, ast.For | ast.comprehension | ast.AugAssign):
        names = [each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)]
        if name in names:
            yield from _drawn(node, names.index(name), len(names))


def _drawn(node: ast.AST, index: int, count: int) -> list[ast.expr | None]:
    """Return what a loop over a written-out table gives to one of its names."""
    rows = node.iter.elts if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple | ast.List) else []
    if count == 1:
        return list(rows) or [None]
    whole = rows and all(isinstance(row, ast.Tuple) and len(row.elts) == count for row in rows)
    return [row.elts[index] for row in rows] if whole else [None]
