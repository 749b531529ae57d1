"""Whom the WebUI lets in: whether its API is on, and the names and passwords that it was started with."""

from __future__ import annotations

from dataclasses import dataclass


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
