"""Names and passwords of HTTP Basic: compared without telling by time, and slower after each wrong one."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

FIRST, LONGEST = 0.1, 8.0
"""Seconds that the first wrong guess of an address waits for its answer; each further one twice as long, up to this."""
WAITING = 8
"""Guesses of one address that may wait for their turn; more are sent away."""
KEPT = 1000
"""Addresses that are remembered."""


def credentials(header: str) -> bytes:
    """Return ``name:password`` of an ``Authorization`` header, empty where it is not of the Basic kind."""
    kind, _, code = header.partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(code.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def is_one_of(given: bytes, allowed: Collection[bytes]) -> bool:
    """Whether ``given`` is among ``allowed``; every one is compared, so that the time tells nothing of a match."""
    matches = [hmac.compare_digest(given, each) for each in allowed]
    return given != b"" and any(matches)


@dataclass
class _Address:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    wrong: int = 0
    waiting: int = 0


class Guesses:
    """Judges guesses. After a wrong one those of its address are judged one at a time, each wrong one slower.

    Many guesses at once are thus no faster than one after the other. Whoever has the right password is let in without
    waiting, except beside a stranger at the same address who is guessing.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._addresses: dict[str, _Address] = {}

    async def judge(self, address: str, right: Callable[[], bool]) -> int:
        """Return the HTTP status for a guess: 200, 401, or 429 where too many wait.

        Args:
            address: where it comes from.
            right: whether the guess is right; asked when its turn has come.
        """
        place = self._addresses.get(address)
        if place is None:
            if right():
                return 200
            place = self._remember(address)
            return await self._wrong(place)
        if place.waiting >= WAITING:
            return 429
        place.waiting += 1
        try:
            async with place.turn:
                if not right():
                    return await self._slow(place)
            self._addresses.pop(address, None)
            return 200
        finally:
            place.waiting -= 1

    async def _wrong(self, place: _Address) -> int:
        async with place.turn:
            return await self._slow(place)

    async def _slow(self, place: _Address) -> int:
        seconds = min(LONGEST, FIRST * 2 ** min(place.wrong, 30))
        place.wrong += 1
        await self._sleep(seconds)
        return 401

    def _remember(self, address: str) -> _Address:
        while len(self._addresses) >= KEPT:
            del self._addresses[next(iter(self._addresses))]
        return self._addresses.setdefault(address, _Address())
