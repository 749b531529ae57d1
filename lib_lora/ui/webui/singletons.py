"""What the whole process has one of: the Atelier, and the page that is being built.

Both must outlive the scripts: *Reload UI* runs ``scripts/*.py`` again, while a training goes on and its queues and
its files must stay the same ones. The WebUI keeps imported packages, so here is where they survive.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import AtelierError
from lib_lora.host.webui import folders
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.jobs.folder_lock import hold
from lib_lora.ui.webui.host_page import HostPage

if TYPE_CHECKING:
    from lib_lora.host.webui.host import WebuiHost

logger = logging.getLogger("lora_atelier")

_LOCK = threading.RLock()
_ONE: dict[str, Any] = {}


def atelier() -> Atelier:
    """Return the process's Atelier; the first call makes it, with its folders.

    Raises:
        FileError: a folder cannot be made.
    """
    with _LOCK:
        if "atelier" not in _ONE:
            _ONE["atelier"] = _make()
        return _ONE["atelier"]


def host() -> WebuiHost:
    """Return the host of the process's Atelier, as what it is.

    Raises:
        FileError: a folder cannot be made.
    """
    with _LOCK:
        atelier()
        return _ONE["host"]


def new_page() -> HostPage:
    """Begin with a new page; called before the WebUI builds one."""
    with _LOCK:
        _ONE["page"] = HostPage()
        return _ONE["page"]


def page() -> HostPage | None:
    """Return the page that was begun last, None where the WebUI builds none (``--nowebui``)."""
    return _ONE.get("page")


def _make() -> Atelier:
    from lib_lora.host.webui.host import WebuiHost

    found = folders.places()
    own = Folders.of_host(
        found.data,
        loras=found.loras,
        outputs=found.outputs,
        more=found.more,
        confined=found.confined,
        address=found.address,
        models=found.checkpoints,
    )
    _ONE["host"] = WebuiHost()
    _keep(own.data)
    return Atelier(_ONE["host"], own, changing_model=True)


def _keep(data: Path) -> None:
    """Hold the data folder as long as the process lives; where another one has it, that is kept to be said."""
    holding = ExitStack()
    try:
        holding.enter_context(hold(data, address="WebUI"))
    except AtelierError as error:
        logger.warning("%s", error)
        _ONE["shared"] = error
    _ONE["holding"] = holding


def shared_with() -> AtelierError | None:
    """Return what is to be said where another process works on the same data folder, None where none does."""
    atelier()
    return _ONE.get("shared")
