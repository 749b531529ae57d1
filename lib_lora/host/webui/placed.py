"""What the host's own loader could not place of the files that it loaded: it says so in a debug log only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.formats.dialects import is_of_a_lora
from lib_lora.formats.header import read_header
from lib_lora.formats.keys import is_module_key
from lib_lora.host.webui.lora_list import host_networks
from lib_lora.live.targets import misfit

_TEXT = "lora_te"
_KEPT = 64


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


def _modules_of(net: Any) -> Collection[Any]:
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
