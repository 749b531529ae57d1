"""What the accordion must know of a LoRA file: its blocks, their layout, their shares of the change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.analysis.norms import delta_shares
from lib_lora.blocks.layouts import OTHER, Layout, attention_layout, full_layout
from lib_lora.host.base import Host
from lib_lora.live.targets import find_targets

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

_KEPT = 64
"""Files whose facts are remembered; a few hundred bytes each."""


@dataclass(frozen=True)
class Facts:
    """A LoRA file on the loaded model.

    Attributes:
        layout: the shortest layout that names all its blocks; vectors are shown in it.
        family: the loaded model's family, the file's own while no model is loaded.
        shares: block → share of the whole change, blocks with modules only, in the layout's order.
    """

    layout: Layout
    family: str
    shares: dict[str, float]

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks that a weight can act on."""
        return tuple(self.shares)


def lora_path(atelier: Atelier, name: str) -> Path:
    """Return the file of a tag's name; a tag may also write a path, which must lie where this server may look.

    Raises:
        InputError: there is none, or it lies elsewhere.
    """
    listed = atelier.host.list_loras().get(name)
    return listed or atelier.folders.allowed(atelier.host.find_lora(name), where=name)


class FileFacts:
    """The facts of files by their name in a tag; measured once for each content of a file.

    Args:
        host: whose model the files are for.
        path_of: finds a name's file, or refuses it; without it every file that the host finds.
    """

    @classmethod
    def confined(cls, atelier: Atelier) -> FileFacts:
        """Return the facts of those files that a server may use."""
        return cls(atelier.host, partial(lora_path, atelier))

    def __init__(self, host: Host, path_of: Callable[[str], Path] | None = None) -> None:
        self._host, self._path_of = host, path_of or host.find_lora
        self._known: OrderedDict[tuple[object, ...], Facts] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, name: str) -> Facts:
        """Return the facts of a LoRA.

        Raises:
            AtelierError: there is no such file, it is broken, or made for another family of models.
        """
        path = self._path_of(name)
        status = path.stat()
        model = self._host.model
        key = (str(path), status.st_size, status.st_mtime_ns, model.family, bool(model.layers))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        facts = self._measure(name)
        with self._lock:
            self._known[key] = facts
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return facts

    def _measure(self, name: str) -> Facts:
        lora, model = self._host.read_lora(name), self._host.model
        shares = delta_shares(lora, model if model.layers else None)
        if model.layers:
            targets, _ = find_targets(model, lora)
            found, family = {target.block for target in targets}, model.family
        else:  # a WebUI has not loaded its model yet: the file itself says what it was made for
            found, family = set(shares), lora.family
        attention, full = attention_layout(family), full_layout(family)
        layout = attention if found <= {*attention.names, OTHER} else full
        return Facts(layout, family, {block: shares.get(block, 0.0) for block in layout.names if block in found})
