"""What the host's own loader makes of a LoRA: it gets the text encoder's part of those that we attach to the UNet."""

from __future__ import annotations

from collections.abc import Mapping

from lib_lora.formats.adapters import Adapter, BiasAdapter, FullAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.host.webui.kind import HostKind, detect

_APPLIES: Mapping[HostKind, frozenset[str]] = {
    HostKind.A1111: frozenset({"lora", "loha", "lokr", "dora", "ia3", "full", "norm", "diag-oft", "boft"}),
    HostKind.FORGE: frozenset({"lora", "loha", "lokr", "dora", "glora", "full"}),
}
"""By host, the kinds that its loader applies as their makers do (A1111's `network_*.py`, Forge's `lora.py`)."""


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
    return f"The WebUI's own loader does not apply {', '.join(kinds)}, so the text encoder's part is left out."


def _applied(adapter: Adapter, known: frozenset[str], host: HostKind) -> bool:
    if isinstance(adapter, BiasAdapter):  # the loaders know a bias beside a full difference only
        return isinstance(adapter.inner, FullAdapter)
    parts = adapter.tensors()
    on_outputs = "dora_scale" in parts and parts["dora_scale"].shape[1] == 1
    if "ia3_l" in parts or (on_outputs and host is HostKind.A1111):
        return False
    return adapter.kind in known
