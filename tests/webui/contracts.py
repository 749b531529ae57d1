"""Which names of a host our code uses, read from our sources; and whether a host's sources have them.

A use is a chain like ``modules.shared.state.begin(job=…)``. It is followed in the host's files with `ast`, nothing of
the host is run: through modules, classes, and the types that an assignment or an annotation tells. Where none is told
(an option, a model) the chain ends, and what was followed so far has been checked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("lib_lora/host/webui", "lib_lora/ui/webui", "lib_lora/web/api", "scripts")
GIVERS = {"host_networks": "networks"}
"""Functions of ours that return a module of the host."""
HANDED = {("lib_lora/ui/webui/callbacks.py", "host"): "modules.script_callbacks"}
"""Parameters of ours that a module of the host is given to."""
GENERATION = "p"
"""What our functions call the host's processing object."""
KINDS = {"A1111": "a1111", "FORGE": "forge", "NEO": "neo", "REFORGE": "reforge"}
"""Members of our `HostKind`, and what `installed.kind_of` calls them."""
SETTING = "host_setting"
"""Our function that asks for a setting of the host by its name."""
HOST_ROOTS = ("modules", "modules_forge", "backend", "networks", "ldm", "sgm", "ldm_patched", "launch")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Call:
    """How a name is called: positional arguments and keywords; ``open``: with ``*`` or ``**``, so more is not known."""

    positional: int
    keywords: tuple[str, ...]
    open: bool


@dataclass(frozen=True)
class Use:
    """One place where our code speaks of a host's name; ``kinds``: the only hosts it speaks to, empty for all."""

    file: str
    line: int
    module: str
    chain: tuple[str, ...]
    call: Call | None = None
    kinds: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {'.'.join((self.module, *self.chain))}"


# -- what we use ---------------------------------------------------------------------------------------------------


def uses(root: Path = ROOT) -> list[Use]:
    """Return every use of a host's modules in our sources."""
    found: list[Use] = []
    for place in PLACES:
        for path in sorted((root / place).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += _Reader(path.relative_to(root).as_posix()).read(tree)
    return found


class _Reader(ast.NodeVisitor):
    """Collects the uses of one file; names are bound function by function."""

    def __init__(self, file: str) -> None:
        self.file, self.found = file, []
        self.bound: list[dict[str, tuple[str, tuple[str, ...]]]] = [{}]
        self.kinds: frozenset[str] = frozenset()

    def read(self, tree: ast.Module) -> list[Use]:
        self.visit(tree)
        return self.found

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A method that overrides nothing of the host's class would never be called."""
        chains = [self._chain(base) for base in node.bases if isinstance(base, ast.Attribute)]
        for module, chain in (each for each in chains if each and each[0]):
            for method in (each for each in node.body if isinstance(each, Function) and not each.name.startswith("_")):
                self._add(method, module, (*chain, method.name))
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        names = parameters(node)
        handed = {name: (HANDED[self.file, name], ()) for name in names if (self.file, name) in HANDED}
        if GENERATION in names:
            handed[GENERATION] = ("modules.processing", (GENERATION,))
        self.bound.append(handed)
        self.generic_visit(node)
        self.bound.pop()

    def visit_If(self, node: ast.If) -> None:
        """Follow ``if kind is HostKind.FORGE``: what stands under it speaks to that host, the rest to the others."""
        named = frozenset(KINDS[name] for name in KINDS if f"HostKind.{name}" in ast.unparse(node.test))
        self.visit(node.test)
        before = self.kinds
        for branch, kinds in ((node.body, named), (node.orelse, frozenset(KINDS.values()) - named if named else named)):
            negated = named and (" not " in f" {ast.unparse(node.test)} " or "!=" in ast.unparse(node.test))
            self.kinds = (frozenset(KINDS.values()) - kinds if negated else kinds) or before
            for inner in branch:
                self.visit(inner)
        self.kinds = before

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] in HOST_ROOTS:
                self._add(node, alias.name, ())
                self.bound[-1][alias.asname or alias.name.split(".")[0]] = (alias.name if alias.asname else "", ())

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and (node.module or "").split(".")[0] in HOST_ROOTS:
            for alias in node.names:
                self._add(node, node.module or "", (alias.name,))
                self.bound[-1][alias.asname or alias.name] = (node.module or "", (alias.name,))

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        value, target = node.value, node.targets[0]
        if isinstance(target, ast.Name):
            given = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
            if given in GIVERS:
                self.bound[-1][target.id] = (GIVERS[given], ())
            elif isinstance(value, ast.Attribute) and (chain := self._chain(value)):
                self.bound[-1][target.id] = chain
            elif any(target.id in names for names in self.bound):
                self.bound[-1][target.id] = ("", ())  # it is something else from here on

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == SETTING and isinstance(node.args[0], ast.Constant):
            self._add(node, "modules.shared", ("opts", node.args[0].value))
        chain = self._chain(node.func)
        if chain and chain[0] and chain[1]:
            starred = any(isinstance(each, ast.Starred) for each in node.args)
            keywords = tuple(each.arg for each in node.keywords if each.arg)
            more = starred or any(each.arg is None for each in node.keywords)
            self._add(node, chain[0], chain[1], Call(len(node.args), keywords, more))
            for inner in (*node.args, *(each.value for each in node.keywords)):
                self.visit(inner)
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = self._chain(node)
        if chain and chain[0]:
            self._add(node, *chain)
        else:
            self.generic_visit(node)

    def _chain(self, node: ast.expr) -> tuple[str, tuple[str, ...]] | None:
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        for scope in reversed(self.bound):
            if node.id in scope:
                module, before = scope[node.id]
                return module, (*before, *names)
        return None

    def _add(self, node: ast.AST, module: str, chain: tuple[str, ...], call: Call | None = None) -> None:
        self.found.append(Use(self.file, getattr(node, "lineno", 0), module, chain, call, self.kinds))


OWN = {"atelier"}
"""What ours put on `p`."""


# -- what a host has -----------------------------------------------------------------------------------------------


@dataclass
class Sources:
    """The source files of one host."""

    folder: Path
    roots: tuple[Path, ...] = field(init=False)

    def __post_init__(self) -> None:
        built_in = self.folder / "extensions-builtin"
        known = ("Lora", "sd_forge_lora", "xyz")  # Forge classic has the X/Y/Z plot in an extension
        lora = [built_in / name for name in known if (built_in / name).is_dir()]
        repositories = [
            self.folder / "repositories" / n for n in ("stable-diffusion-stability-ai", "generative-models")
        ]
        self.roots = (self.folder, *lora, *(each for each in repositories if each.is_dir()))

    def module(self, name: str) -> ast.Module | None:
        """Return the syntax tree of a module by its dotted name; a package is its ``__init__``."""
        path = self.path(name)
        return None if path is None else parsed(path)

    def path(self, name: str) -> Path | None:
        """Return the file of a module, an empty package's folder as None."""
        for root in self.roots:
            inner = root.joinpath(*name.split("."))
            for path in (inner.with_suffix(".py"), inner / "__init__.py"):
                if path.is_file():
                    return path
        return None

    def is_package(self, name: str) -> bool:
        """Whether there is a folder of this name."""
        return any(root.joinpath(*name.split(".")).is_dir() for root in self.roots)

    def problem(self, use: Use) -> str:
        """Return what of a use this host lacks, "" where it has it all."""
        module, chain = use.module, list(use.chain)
        while chain and (self.path(f"{module}.{chain[0]}") or self.is_package(f"{module}.{chain[0]}")):
            if self.module(module) is not None and defined(self.module(module), chain[0]) is not None:
                break
            module = f"{module}.{chain.pop(0)}"
        if self.path(module) is None and not self.is_package(module):
            return f"there is no module {module}"
        return self._follow(module, chain, use.call) if chain else ""

    def _follow(self, module: str, chain: list[str], call: Call | None) -> str:
        tree = self.module(module)
        if (module, chain[0]) == ("modules.processing", GENERATION) and tree is not None:
            return self._of_generation(tree, chain[1:], call)
        node = defined(tree, chain[0]) if tree is not None else None
        if node is None:
            return f"{module} has no {chain[0]}"
        if len(chain) == 1:
            return self._called(node, module, call, chain[0]) if call else ""
        if (module, chain[0]) in (("modules.shared", "opts"), ("modules.shared", "cmd_opts")):
            return "" if self._has_setting(chain[0], chain[1]) else f"there is no {chain[0]}.{chain[1]}"
        kind = self._type_of(node, module)
        if kind is None:
            return ""
        owner, where = kind
        member = member_of(owner, chain[1])
        if member is None:
            bases = bool(owner.bases) and not all(ast.unparse(base) == "object" for base in owner.bases)
            return "" if bases or dynamic(owner) else f"{where}.{owner.name} has no {chain[1]}"
        if len(chain) == 2 and call and isinstance(member, Function):
            return refused(member, call, bound=not is_static(member), name=".".join(chain))
        return ""

    def _of_generation(self, tree: ast.Module, chain: list[str], call: Call | None) -> str:
        """Follow a name of `p`: a field or method of one of its classes, or what the host itself puts on it."""
        if not chain or chain[0] in OWN:
            return ""
        kinds = [node for node in tree.body if isinstance(node, ast.ClassDef) and "Processing" in node.name]
        member = next((found for found in (member_of(kind, chain[0]) for kind in kinds) if found is not None), None)
        if member is None:
            return "" if f"p.{chain[0]} = " in self.text else f"p has no {chain[0]}"
        if isinstance(member, Function) and call and len(chain) == 1:
            return refused(member, call, bound=True, name=f"p.{chain[0]}")
        return ""

    def _has_setting(self, place: str, name: str) -> bool:
        """Whether a setting is registered, or an argument of the command line, or a name of the object itself."""
        if place == "opts":
            owner = defined(self.module("modules.options") or ast.Module([], []), "Options")
            if isinstance(owner, ast.ClassDef) and member_of(owner, name) is not None:
                return True
            return f'"{name}"' in self.text or f"'{name}'" in self.text
        return (
            f"--{name.replace('_', '-')}" in self.text or f"--{name}" in self.text or f"cmd_opts.{name} =" in self.text
        )

    @cached_property
    def text(self) -> str:
        """The text of all modules and built-in extensions."""
        files = [path for place in ("modules", "extensions-builtin") for path in (self.folder / place).rglob("*.py")]
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)

    def _called(self, node: ast.AST, module: str, call: Call, name: str) -> str:
        if isinstance(node, Function):
            return refused(node, call, bound=False, name=name)
        if isinstance(node, ast.ClassDef):
            made = member_of(node, "__init__")
            return refused(made, call, bound=True, name=name) if isinstance(made, Function) else ""
        return ""

    def _type_of(self, node: ast.AST, module: str) -> tuple[ast.ClassDef, str] | None:
        """Return the class of what a name stands for, where an assignment or an annotation tells."""
        if isinstance(node, ast.ClassDef):
            return node, module
        text = ""
        if isinstance(node, ast.AnnAssign):
            note = node.annotation
            text = note.value if isinstance(note, ast.Constant) and isinstance(note.value, str) else ast.unparse(note)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            text = ast.unparse(node.value.func)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            return None
        return self._class(text, module) if text else None

    def _class(self, text: str, module: str) -> tuple[ast.ClassDef, str] | None:
        package, _, name = text.rpartition(".")
        homes = [module] if not package else [f"{module.rpartition('.')[0]}.{package}", package]
        for home in homes:
            tree = self.module(home)
            node = defined(tree, name) if tree is not None else None
            if isinstance(node, ast.ClassDef):
                return node, home
        return None


@lru_cache(maxsize=512)
def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8", errors="replace"))


def defined(tree: ast.Module, name: str) -> ast.AST | None:
    """Return what binds a name at the top of a module, in conditions and tries too; the last one counts."""
    found: ast.AST | None = None
    for node in _top(tree.body):
        if name in _bound(node):
            # What a module imports it may define again below; the definition tells more.
            found = found if isinstance(node, ast.ImportFrom | ast.Import) and found is not None else node
    if found is None:
        stated = (node for node in ast.walk(tree) if isinstance(node, ast.Global) and name in node.names)
        found = next(stated, None)
    return found


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _top(getattr(node, inner, []))
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _top(handler.body)


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds."""
    if isinstance(node, Function | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.ImportFrom | ast.Import):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [*targets, node.target] if isinstance(node, ast.AnnAssign) else targets
    return {name for target in targets for name in _names(target)}


def _names(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def member_of(owner: ast.ClassDef, name: str) -> ast.AST | None:
    """Return what gives a class's objects an attribute: a method, a field, or an assignment to ``self``."""
    for node in owner.body:
        if name in _bound(node):
            return node
    for node in ast.walk(owner):
        stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr == name
        if stored and isinstance(node.value, ast.Name) and node.value.id == "self":
            return node
    return None


def dynamic(owner: ast.ClassDef) -> bool:
    """Whether a class makes attributes up, as options do."""
    return member_of(owner, "__getattr__") is not None


def is_static(function: Function) -> bool:
    """Whether a method takes no self."""
    return any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)


def parameters(function: Function, *, bound: bool = False) -> list[str]:
    """Return the names of a function's parameters in their order; of a bound method without ``self``."""
    given = function.args
    names = [arg.arg for arg in (*given.posonlyargs, *given.args)]
    return names[1:] if bound and names else names


def refused(function: Function, call: Call, *, bound: bool, name: str) -> str:
    """Return why a function would not take a call, "" where it does."""
    names, given = parameters(function, bound=bound), function.args
    keyword_only = [arg.arg for arg in given.kwonlyargs]
    if call.positional > len(names) and given.vararg is None:
        return f"{name} takes {len(names)} arguments, not {call.positional}"
    unknown = [word for word in call.keywords if word not in (*names, *keyword_only)]
    if unknown and given.kwarg is None:
        return f"{name} takes no {', '.join(unknown)}"
    if call.open:
        return ""
    needed = names[: len(names) - len(given.defaults)][call.positional :]
    needed += [arg for arg, default in zip(keyword_only, given.kw_defaults, strict=True) if default is None]
    missing = [word for word in needed if word not in call.keywords]
    return f"{name} needs {', '.join(missing)}" if missing else ""
