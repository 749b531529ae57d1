"""The studio's outermost door: every request passes here, whichever route it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from lib_lora.web.guard.bodies import BodyCount, Limits
from lib_lora.web.guard.senders import headers_of, is_welcome
from lib_lora.web.guesses import Guesses, credentials, is_one_of

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

REASONS = {
    401: b"Name and password, please",
    403: b"Not from this address",
    413: b"Too much at once",
    429: b"Too many guesses at once",
}
CHALLENGE = (b"www-authenticate", b'Basic realm="LoRA Atelier", charset="UTF-8"')
# The page lives from its own server alone: nothing is fetched from, or told to, anybody else.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' ws: data: blob:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"same-origin",
}
"""What stands in every answer that does not say otherwise."""


class Guard:
    """Wraps the whole app, so that no route, of gradio's or ours, is reached around it.

    Args:
        app: the ASGI app.
        user: name that is asked for (HTTP Basic), "" for none.
        password: its password.
        local_only: the server listens on the loopback address and answers its own names only.
        body_limit, field_limit: bytes that one request may bring, see `Limits`.
        guesses: who judges passwords.
    """

    def __init__(
        self,
        app: Any,
        *,
        user: str = "",
        password: str = "",
        local_only: bool = True,
        body_limit: int = Limits.whole,
        field_limit: int = Limits.fields,
        guesses: Guesses | None = None,
    ) -> None:
        self.app, self.local_only = app, local_only
        self.limits, self.guesses = Limits(body_limit, field_limit), guesses or Guesses()
        self.secret = f"{user}:{password}".encode() if user else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = headers_of(scope)
        count = BodyCount(headers, self.limits)
        status = await self.verdict(scope, headers)
        if status == 200 and count.too_much:
            status = 413
        if status != 200:
            await refuse(scope, send, status)
            return
        passing = _Passing(scope, receive, send, count)
        try:
            await self.app(scope, passing.receive, passing.send)
        except Exception:
            if not passing.over:  # else the app only complains that the request ended
                raise

    async def verdict(self, scope: Scope, headers: Mapping[str, str]) -> int:
        """Return the status for a request, 200 to let it pass."""
        if not is_welcome(scope, headers, local_only=self.local_only):
            return 403
        if not self.secret:
            return 200
        given = credentials(headers.get("authorization", ""))
        if not given:
            return 401
        address = (scope.get("client") or ("",))[0]
        return await self.guesses.judge(address, lambda: is_one_of(given, [self.secret]))


async def refuse(scope: Scope, send: Send, status: int) -> None:
    """Answer a request with one of the `REASONS`."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain"), *HEADERS.items(), *([CHALLENGE] if status == 401 else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": REASONS[status]})


class _Passing:
    """One request on its way in and its answer on the way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, count: BodyCount) -> None:
        self._scope, self._receive, self._send, self._count = scope, receive, send, count
        self._answering = False
        self.over = False
        """Whether the request was ended because it brought more than it may."""

    async def receive(self) -> Any:
        """Return the next part of the request; the end where more comes than may."""
        if self.over:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._count.add(message.get("body") or b"")
        if not self._count.too_much:
            return message
        self.over = True
        if not self._answering:
            await refuse(self._scope, self._send, 413)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Send a part of the answer, with the headers that every answer has."""
        if self.over:
            return
        if message["type"] == "http.response.start":
            self._answering = True
            given = list(message["headers"])
            names = {name.lower() for name, _ in given}
            message = {**message, "headers": [*given, *(one for one in HEADERS.items() if one[0] not in names)]}
        await self._send(message)
