"""How the WebUI is set up: our section of its settings page, its own settings, and whom its command line lets in."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

SECTION = ("lora_atelier", "LoRA Atelier")
PREFIX = "lora_atelier_"
T = TypeVar("T", bool, int, str)


@dataclass(frozen=True)
class Setting:
    """One line of our section on the WebUI's settings page.

    The type of ``default`` never changes once it was released: the WebUI refuses saved values of another type.

    Attributes:
        key: without our prefix.
        choices: what can be chosen; empty for a text or a number.
        most: largest number of a slider.
        info: stands in grey behind the label.
        after: what a change needs: "reload" of the page, or a "restart".
        folder: hidden where the WebUI hides folders, and never set over its API.
    """

    key: str
    default: str | int
    label: str
    choices: Sequence[str] = ()
    most: int = 0
    info: str = ""
    after: str = ""
    folder: bool = False


def host_setting(name: str, default: T) -> T:
    """Return a setting of the WebUI; ``default`` where it is missing or of another type."""
    from modules import shared

    value = getattr(shared.opts, name, default)
    return value if isinstance(value, type(default)) else default


def option(key: str, default: T) -> T:
    """Return one of our own settings by its key without the prefix, likewise."""
    return host_setting(PREFIX + key, default)


def localization() -> str:
    """Return the name of the WebUI's localization file, "None" where it speaks English."""
    return host_setting("localization", "") or "None"


def clip_skip() -> int:
    """Return how many of the text encoder's last layers the WebUI leaves out, counted as the WebUI does: 1 is none."""
    return max(1, host_setting("CLIP_stop_at_last_layers", 1))


def add_settings(settings: Sequence[Setting], *, radio: type, slider: type) -> None:
    """Put our section on the settings page; called from ``on_ui_settings``.

    Args:
        settings: its lines.
        radio: the class of the widget for a choice; the WebUI takes classes.
        slider: the class of the widget for a number.
    """
    from modules import shared

    hidden = bool(getattr(shared.cmd_opts, "hide_ui_dir_config", False))
    for one in settings:
        widget: type | None = None
        more: dict[str, Any] = {}
        if one.choices:
            widget, more = radio, {"choices": list(one.choices)}
        elif one.most:
            widget, more = slider, {"minimum": 0, "maximum": one.most, "step": 1}
        if one.folder:
            more["visible"] = not hidden
        info = shared.OptionInfo(
            one.default,
            one.label,
            widget,
            more or None,
            section=SECTION,
            **_heading(),
            **({"restrict_api": True} if one.folder else {}),
        )
        if one.info:
            info.info(one.info)
        if one.after:
            {"reload": info.needs_reload_ui, "restart": info.needs_restart}[one.after]()
        shared.opts.add_option(PREFIX + one.key, info)


def _heading() -> dict[str, str]:
    """Return what puts our section under a heading of our name; hosts before A1111 1.8 have no headings."""
    from modules import options

    headings = getattr(options, "categories", None)
    if headings is None:
        return {}
    headings.register_category(*SECTION)
    return {"category_id": SECTION[0]}


@dataclass(frozen=True)
class ServerAccess:
    """What the WebUI's command line says of its visitors; names and passwords as ``name:password``.

    Attributes:
        api: whether the API is on (``--api``, ``--nowebui``).
        api_users: who may use the API (``--api-auth``); empty for everybody.
        page_users: who may log in at the page (``--gradio-auth``, ``--gradio-auth-path``); empty for everybody.
    """

    api: bool
    api_users: tuple[str, ...]
    page_users: tuple[str, ...]


def server_access() -> ServerAccess:
    """Return what the running WebUI was started with."""
    from modules import initialize_util, shared

    given = shared.cmd_opts
    api = bool(getattr(given, "api", False) or getattr(given, "nowebui", False))
    users = str(getattr(given, "api_auth", None) or "")
    page = tuple(":".join(pair) for pair in initialize_util.get_gradio_auth_creds())
    return ServerAccess(api, tuple(users.split(",")) if users else (), page)


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
