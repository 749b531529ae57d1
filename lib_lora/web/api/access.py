"""Who may call: names and passwords of the WebUI's ``--api-auth``, and whoever is logged in at its page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from fastapi import HTTPException, Request

from lib_lora.web.guesses import Guesses, credentials, is_one_of

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
    guesses: Guesses = field(default_factory=Guesses, compare=False)

    async def may_call(self, request: Request) -> int:
        """Return the status for a request to the API: with one of its names, or, where it has none, with the page's.

        It is 200, 401, or 429 where too many wrong passwords are tried at once.
        """
        if self.api:
            return await self._judge(request, self.api)
        if not self.page or logged_in(request):
            return 200
        return await self._judge(request, self.page)

    async def may_look(self, request: Request) -> int:
        """Return the status for a request to what the page shows: pieces, files, reports."""
        if not self.page or logged_in(request):
            return 200
        return await self._judge(request, [*self.page, *self.api])

    async def look(self, request: Request) -> None:
        """Let a request to the page's routes through, or answer 401 or 429; a dependency for FastAPI."""
        status = await self.may_look(request)
        if status != 200:
            said = {401: "Log in at the page first.", 429: "Too many wrong passwords at once."}
            raise HTTPException(status, said[status], headers=CHALLENGE if status == 401 else None)

    async def _judge(self, request: Request, allowed: Collection[str]) -> int:
        given = credentials(request.headers.get("authorization", ""))
        if not given:
            return 401
        address = request.client.host if request.client else ""
        return await self.guesses.judge(address, lambda: is_one_of(given, [each.encode() for each in allowed]))


def logged_in(request: Request) -> bool:
    """Whether the sender has logged in at gradio's page: its cookie holds a token that the app gave out.

    Both gradios keep tokens in ``app.tokens``; the cookie is ``access-token`` with something behind it.
    """
    tokens = getattr(request.app, "tokens", None) or {}
    return any(value in tokens for name, value in request.cookies.items() if name.startswith("access-token"))
