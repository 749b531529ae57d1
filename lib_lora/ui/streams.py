"""The stream of answers from the studio to a page, kept open for a while after the last answer (gradio 4).

Gradio ends a page's stream as soon as nothing is pending. A page that sends an event in that very moment still believes
its stream to be open, opens no other, and waits for ever. Kept open until nothing was asked for a while, the stream is
there for whatever a person does next. It is not kept for good, because a browser opens only six connections to a
server, for all its tabs together.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gradio.server_messages import ProcessCompletedMessage

QUIET = 20.0
"""Seconds without a new event after which a stream may end."""

STAY = "lora-atelier-stay"
"""Stands among the pending events of a page as long as its stream is to be kept open."""


def keep_streams(queue: Any) -> None:
    """Let the streams of gradio's ``queue`` end only when their page was quiet for `QUIET` seconds."""
    queue.pending_event_ids_session = _Pages(queue)


class _Pages(dict[str, set[str]]):
    """Pending events by the session of a page; gradio puts a plain set in for each."""

    def __init__(self, queue: Any) -> None:
        super().__init__()
        self._queue = queue

    def __setitem__(self, session: str, pending: set[str]) -> None:
        super().__setitem__(session, _Pending(self._queue, session))


class _Pending(set[str]):
    """The pending events of one page, and `STAY` until it was quiet for long enough."""

    def __init__(self, queue: Any, session: str) -> None:
        super().__init__()
        self._queue, self._session = queue, session
        self._timer: asyncio.TimerHandle | None = None

    def add(self, event: str) -> None:
        """Note an event that was sent; called by gradio within its event loop."""
        super().add(event)
        super().add(STAY)
        self._wait()

    def remove(self, event: str) -> None:
        """Take away an event that was answered; a second farewell of a stream is none."""
        if event == STAY:
            self.discard(STAY)
        else:
            super().remove(event)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(QUIET, self._let_go)

    def _let_go(self) -> None:
        """Let the stream end in gradio's own way: by the answer to the last event that was pending."""
        if len(self) > 1:
            self._wait()
            return
        messages = self._queue.pending_messages_per_session.get(self._session)
        if messages is None:  # the page is gone
            self.discard(STAY)
        else:
            messages.put_nowait(ProcessCompletedMessage(event_id=STAY, output={}, success=True))
