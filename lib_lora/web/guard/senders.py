"""Where a request comes from: our own page, a program, or a page of somebody else's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lib_lora.i18n.words import LANGUAGES

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
PAGES = frozenset({"/", *(f"/{each}{end}" for each in LANGUAGES for end in ("", "/"))})
"""What a link on another site may open."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s/@:\[\]]+)(?::\d{1,5})?", re.IGNORECASE)


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return a request's headers by their names in lower case; one that is there twice never looks like one of them."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def is_welcome(scope: Mapping[str, Any], headers: Mapping[str, str], *, local_only: bool) -> bool:
    """Whether a request may be answered at all.

    Args:
        scope: of the request, as ASGI has it.
        headers: see `headers_of`.
        local_only: the server listens on the loopback address. Then only its own names are answered: a foreign site
            whose name was pointed at 127.0.0.1 gets nothing (DNS rebinding).
    """
    host = headers.get("host", "")
    name = _HOST.fullmatch(host)
    if name is None or (local_only and name[1].lower() not in LOCAL_NAMES):
        return False
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
        return False
    # Browsers say this of every request to a secure address, which those of the own machine are. Programs do not.
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    return opens_page(scope, headers)


def opens_page(scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a request opens the page itself in a window of its own, as a click on a link does."""
    opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return opened and scope.get("method") == "GET" and scope["path"] in PAGES
