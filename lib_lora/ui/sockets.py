"""The connections of a page's events (gradio 3), ended with the event and with the server.

Gradio 3 has one WebSocket for each event of a page. Its handler only waits until somebody says that the event is over;
gradio itself says so only where the page is there to the end. A page that is closed while it is sent news, while it is
asked for its values, or while its event still waits, leaves a handler that waits for ever. The server waits for every
handler when it is to end, so a WebUI's *Reload UI* would never come back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.websockets import WebSocketState

PATIENCE = 15.0
"""Seconds that a page has to take news. Gradio gives it one; on a busy machine a page that is there misses it and is
never told anything again; a page that is gone cannot be sent to at once, however long one would wait."""


def let_go_of_the_lost(queue: Any) -> None:
    """Let each handler of gradio's ``queue`` end when its event is over, its page is gone, or the queue is closed.

    Args:
        queue: `gradio.queueing.Queue` of 3.41; its methods are replaced on this object alone.
    """
    queue.send_message = _sending(queue.send_message)
    queue.process_events = _processing(queue.process_events)
    queue.push = _pushing(queue, queue.push)
    queue.close = _closing(queue, queue.close)


def _sending(send_message: Any) -> Any:
    async def sending(event: Any, data: dict[str, Any], timeout: float = 1) -> bool:
        arrived = await send_message(event, data, max(timeout, PATIENCE))
        if not arrived:
            _over([event])
        return arrived

    return sending


def _processing(process_events: Any) -> Any:
    async def processing(events: list[Any], batch: bool) -> None:
        try:
            await process_events(events, batch)
        finally:
            _over(events)

    return processing


def _pushing(queue: Any, push: Any) -> Any:
    def pushing(event: Any) -> int | None:
        rank = push(event)
        if queue.stopped:  # it came in the moment in which the server ends: nobody will work on it
            _over([event])
        return rank

    return pushing


def _closing(queue: Any, close: Any) -> Any:
    def closing() -> None:
        close()
        working = [event for job in queue.active_jobs for event in job or ()]
        _over([*queue.event_queue, *working, *queue.continuous_tasks])

    return closing


def _over(events: Iterable[Any]) -> None:
    """Mark events as over; within a second their handlers look at this mark."""
    for event in events:
        event.websocket.application_state = WebSocketState.DISCONNECTED
