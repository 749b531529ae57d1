"""Whom the WebUI lets in: where it listens, whether its API is on, names and passwords that it was started with."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Doors:
    """What the WebUI's command line says of its visitors; names and passwords as ``name:password``.

    Attributes:
        api: whether the API is on (``--api``, ``--nowebui``).
        api_users: who may use the API (``--api-auth``); empty for everybody.
        page_users: who may log in at the page (``--gradio-auth``, ``--gradio-auth-path``); empty for everybody.
    """

    api: bool
    api_users: tuple[str, ...]
    page_users: tuple[str, ...]


def doors() -> Doors:
    """Return what the running WebUI was started with."""
    from modules import initialize_util, shared

    given = shared.cmd_opts
    api = bool(getattr(given, "api", False) or getattr(given, "nowebui", False))
    users = str(getattr(given, "api_auth", None) or "")
    page = tuple(":".join(pair) for pair in initialize_util.get_gradio_auth_creds())
    return Doors(api, tuple(users.split(",")) if users else (), page)


def confined() -> bool:
    """Whether others can reach the server, and the WebUI was not told to trust them with its files."""
    from modules import shared

    given = shared.cmd_opts
    if getattr(given, "hide_ui_dir_config", False) or getattr(given, "disable_extension_access", False):
        return True
    return not getattr(given, "enable_insecure_extension_access", False) and not _is_loopback(_listens_on(given))


def _listens_on(given: Any) -> str:
    """Return the address that the server listens on, "" for every one of the machine.

    Without ``--listen`` and ``--server-name`` the page's server is on the loopback address, or on that of gradio's own
    variable; ``--nowebui`` hands the API's server no address at all (1.10.1), and it then takes every one.
    """
    if getattr(given, "share", False) or getattr(given, "ngrok", None):
        return ""
    named = getattr(given, "server_name", None) or ("0.0.0.0" if getattr(given, "listen", False) else "")
    if named or getattr(given, "nowebui", False):
        return str(named)
    return os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() == "localhost"
