"""The family tree of a LoRA file: what made it of which files, what made those, and which of them are at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import AtelierError
from lib_lora.formats.files import is_pickle
from lib_lora.formats.hashes import file_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import describe
from lib_lora.formats.names import ENDING
from lib_lora.merge.provenance import CHECKPOINT, Order, Parent, hash_of, read_order
from lib_lora.services import checkpoints

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

HERE, OTHER, MISSING = "here", "other", "missing"
"""Whether a file's parent is at hand: the same tensors; only another file of its name; neither."""
_MOST = 200
"""Files of one tree."""


@dataclass(frozen=True)
class Ancestor:
    """A file of a family tree.

    Attributes:
        name: without folder and ending.
        hash: by which it is known.
        state: `HERE`, `OTHER`, `MISSING`.
        path: where it is; None where it is missing.
        order: what made it; None where it was trained, or nobody noted it.
        row: how strongly it counts in the file that was made of it.
        facts: of its training, of a file at hand that nothing was noted of.
        parents: the files that it was made of.
    """

    name: str
    hash: str
    state: str
    path: Path | None = None
    order: Order | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[Ancestor, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        made = {"made_by": self.order.verb, "options": dict(self.order.options)} if self.order else {}
        more = {"error": self.order.error, "base": self.order.base} if self.order else {}
        told = {"name": self.name, "hash": self.hash, "state": self.state, "row": dict(self.row), **made, **more}
        return {**told, "facts": dict(self.facts), "parents": [one.as_dict() for one in self.parents]}


class Files:
    """The files among which parents are looked for.

    Args:
        loras: LoRA files by name.
        checkpoints: checkpoints by name.
    """

    def __init__(self, loras: Mapping[str, Path], checkpoints: Mapping[str, Path] | None = None) -> None:
        self._loras, self._checkpoints = loras, checkpoints or {}
        self._left = _MOST

    @classmethod
    def of(cls, atelier: Atelier) -> Files:
        """Return those that a server lists."""
        return cls(atelier.host.list_loras(), checkpoints.listed(atelier))

    def tree(self, path: Path) -> Ancestor:
        """Return the family tree of a file.

        Raises:
            FileError: it cannot be read.
        """
        metadata = {} if is_pickle(path) else read_header(path).metadata
        order = read_order(metadata)
        facts = {} if order else describe(metadata).facts
        parents = self._parents(order, path)
        return Ancestor(path.stem, hash_of(path), HERE, path, order, facts=facts, parents=parents)

    def _parents(self, order: Order | None, child: Path) -> tuple[Ancestor, ...]:
        found = []
        for parent in order.parents if order else ():
            self._left -= 1
            if self._left < 0:  # as only a hostile file has
                break
            found.append(self._ancestor(parent, child))
        return tuple(found)

    def _ancestor(self, parent: Parent, child: Path) -> Ancestor:
        path, state = self.find(parent, child)
        if path is None or state != HERE or parent.kind == CHECKPOINT:
            parents = self._parents(parent.made, child)
            return Ancestor(parent.name, parent.hash, state, path, parent.made, parent.row, parents=parents)
        metadata = {} if is_pickle(path) else read_header(path).metadata
        order = read_order(metadata) or parent.made
        facts = {} if order else describe(metadata).facts
        parents = self._parents(order, path)
        return Ancestor(parent.name, parent.hash, state, path, order, parent.row, facts, parents)

    def find(self, parent: Parent, child: Path, *, sure: bool = False) -> tuple[Path | None, str]:
        """Return where a parent is, and whether it is the very one; ``sure`` hashes checkpoints as well.

        A file may have the name of what it was made of; itself, or a copy of it, is not taken for that.
        """
        known = self._checkpoints if parent.kind == CHECKPOINT else self._loras
        named = [*_beside(child, parent.name), *(p for n, p in known.items() if parent.name in (n, p.stem))]
        named = [*dict.fromkeys(named)]
        if parent.kind == CHECKPOINT:
            right = [path for path in named if not sure or file_hash(path) == parent.hash]
        else:
            right = [path for path in named if _is(path, parent.hash)]
            right = right or [path for path in known.values() if _says(path, parent.hash) and _is(path, parent.hash)]
        if right:
            return right[0], HERE
        digest = hash_of(child) if named else ""
        others = [path for path in named if not _is(path, digest)]  # a file and its copies are not what it was made of
        return (others[0], OTHER) if others else (None, MISSING)


def _beside(child: Path, name: str) -> list[Path]:
    """Return the file of a name beside another one; a name that is none, as in a hostile file, has none."""
    try:
        path = child.with_name(f"{name}{ENDING}")
        return [path] if path.is_file() else []
    except (OSError, ValueError):
        return []


def _is(path: Path, digest: str) -> bool:
    try:
        return hash_of(path) == digest
    except (AtelierError, OSError):
        return False


def _says(path: Path, digest: str) -> bool:
    """Whether a renamed file's header says this hash; only headers are read."""
    try:
        return not is_pickle(path) and read_header(path).metadata.get("sshs_model_hash") == digest
    except (AtelierError, OSError):
        return False
