"""Who may call: names and passwords of the WebUI's ``--api-auth``, and whoever is logged in at its page."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Collection
from dataclasses import dataclass

from fastapi import HTTPException, Request

CHALLENGE = {"WWW-Authenticate": 'Basic realm="LoRA Atelier", charset="UTF-8"'}


@dataclass(frozen=True)
class Access:
    """What a WebUI asks for. Nothing is asked where both are empty.

    Attributes:
        api: ``name:password`` of those who may use the API (``--api-auth``).
        page: ``name:password`` of those who may log in at the page (``--gradio-auth``).
    """

    api: Collection[str] = ()
    page: Collection[str] = ()

    def may_call(self, request: Request) -> bool:
        """Whether a request may use the API: with a name of the API; without such names, with one of the page."""
        if self.api:
            return self._knows(request, self.api)
        return not self.page or self._knows(request, self.page) or logged_in(request)

    def may_look(self, request: Request) -> bool:
        """Whether a request may have what the page shows: pieces, files, reports."""
        if not self.page:
            return True
        return logged_in(request) or self._knows(request, [*self.page, *self.api])

    def look(self, request: Request) -> None:
        """Let a request to the page's routes through, or answer 401; a dependency for FastAPI."""
        if not self.may_look(request):
            raise HTTPException(401, "Log in at the page first.", headers=CHALLENGE)

    @staticmethod
    def _knows(request: Request, allowed: Collection[str]) -> bool:
        given = credentials(request.headers.get("authorization", ""))
        # Every one is compared, so that the time tells nothing of where a match was.
        matches = [hmac.compare_digest(given, each.encode()) for each in allowed]
        return given != b"" and any(matches)


def credentials(header: str) -> bytes:
    """Return ``name:password`` of an ``Authorization`` header, empty where it is not of the Basic kind."""
    kind, _, code = header.partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(code.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def logged_in(request: Request) -> bool:
    """Whether the sender has logged in at gradio's page: its cookie holds a token that the app gave out.

    Both gradios keep tokens in ``app.tokens``; the cookie is ``access-token`` with something behind it.
    """
    tokens = getattr(request.app, "tokens", None) or {}
    return any(value in tokens for name, value in request.cookies.items() if name.startswith("access-token"))
