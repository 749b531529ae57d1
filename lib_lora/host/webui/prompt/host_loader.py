"""What the host's own loader makes of a LoRA: the kinds that it applies, and what it left out.

Of a LoRA that we attach to the UNet it gets the text encoder's part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.formats.adapters import Adapter, BiasAdapter, FullAdapter
from lib_lora.formats.dialects import is_of_a_lora
from lib_lora.formats.header import read_header
from lib_lora.formats.keys import is_module_key
from lib_lora.formats.lora import LoraFile
from lib_lora.host.webui.kind import HostKind, detect
from lib_lora.host.webui.lora_list import host_networks
from lib_lora.host.webui.protocols import Network
from lib_lora.live.targets import misfit
from lib_lora.sentences import say

_APPLIES: Mapping[HostKind, frozenset[str]] = {
    HostKind.A1111: frozenset({"lora", "loha", "lokr", "dora", "ia3", "full", "norm", "diag-oft", "boft"}),
    HostKind.FORGE: frozenset({"lora", "loha", "lokr", "dora", "glora", "full"}),
    HostKind.NEO: frozenset({"lora", "loha", "lokr", "dora", "glora", "full", "norm", "diag-oft", "boft", "oft"}),
}
"""By host, the kinds that its loader applies as their makers do (A1111's `network_*.py`, Forge's `lora.py`, Neo's
`weight_adapter`)."""

_TEXT = "lora_te"
_KEPT = 64


def text_left_out(lora: LoraFile) -> str:
    """Return the sentence that says that the host cannot apply a LoRA's part of the text encoder; mostly nothing.

    A1111 loads nothing of a file that holds a module of a kind that it does not know; other hosts leave out the module.
    """
    host = detect()
    known = _APPLIES.get(host, _APPLIES[HostKind.FORGE])
    asked = [one for key, one in lora.adapters.items() if host is HostKind.A1111 or key.startswith("lora_te")]
    kinds = sorted({one.title for one in asked if not _applied(one, known, host)})
    if not kinds:
        return ""
    return say("The WebUI's own loader does not apply {kinds}, so the text encoder's part is left out.", kinds=kinds)


def _applied(adapter: Adapter, known: frozenset[str], host: HostKind) -> bool:
    if isinstance(adapter, BiasAdapter):  # the loaders know a bias beside a full difference only
        return isinstance(adapter.inner, FullAdapter)
    parts = adapter.tensors()
    on_outputs = "dora_scale" in parts and parts["dora_scale"].shape[1] == 1
    if parts.keys() & {"ia3_l", "boft_R"} or (on_outputs and host is HostKind.A1111):
        return False
    return adapter.kind in known


def misfits(ours: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each file in use of which the host's loader left modules out, after it activated its own.

    Only for A1111: the Forge family's loader does not keep what it placed, but prints what it skipped.

    Args:
        ours: names of the LoRAs whose UNet part we attach ourselves: of these only the text encoder's is the host's.
    """
    for net in getattr(host_networks(), "loaded_networks", None) or ():
        placed = {_module(str(getattr(one, "network_key", ""))) for one in _modules_of(net)}
        path = getattr(getattr(net, "network_on_disk", None), "filename", None)
        if path is None:
            continue
        names = {str(getattr(net, "name", "")), str(getattr(net, "mentioned_name", ""))}
        wanted = _wanted(Path(path))
        keys = [key for key in wanted if names.isdisjoint(ours) or key.startswith(_TEXT)]
        lost = [key for key in keys if key not in placed]
        if lost:
            yield misfit(str(getattr(net, "name", Path(path).stem)), lost, of=len(wanted))


def _modules_of(net: Network) -> Collection[Any]:
    modules = getattr(net, "modules", None)
    return modules.values() if isinstance(modules, dict) else ()


def _wanted(path: Path) -> tuple[str, ...]:
    """Return the modules that a file names, as the host's loader reads names."""
    try:
        status = path.stat()
        return _named(path, status.st_size, status.st_mtime_ns)
    except (OSError, AtelierError):  # a pickle, or gone meanwhile: nothing can be said
        return ()


@lru_cache(maxsize=_KEPT)
def _named(path: Path, size: int, changed: int) -> tuple[str, ...]:
    """Return the modules in a file's header; size and time of change tell one content from another."""
    names = (name for name in read_header(path).tensors if is_module_key(name) or is_of_a_lora(name))
    return tuple(dict.fromkeys(map(_module, names)))


def _module(name: str) -> str:
    """Return the module of a tensor's name, in kohya's spelling or in a dotted one."""
    return name.partition(".")[0] if is_module_key(name) else name.rsplit(".", 2)[0]
