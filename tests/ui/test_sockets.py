"""A page that is closed in the middle of an event keeps no server from ending (gradio 3)."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocketState

from lib_lora.ui import compat, sockets
from lib_lora.ui.compat import gr

SECONDS = 20.0
"""A server that waits for a handler waits for ever; one that does not ends within three seconds."""


class Queue(SimpleNamespace):
    """As much of gradio's queue as is replaced."""

    def __init__(self) -> None:
        super().__init__(stopped=False, event_queue=[], active_jobs=[None], continuous_tasks=[])

    async def send_message(self, event: Any, data: dict[str, Any], timeout: float = 1) -> bool:
        self.timeout = timeout
        return event.there

    async def process_events(self, events: list[Any], batch: bool) -> None:
        if not all(event.there for event in events):
            raise RuntimeError("the page is gone")

    def push(self, event: Any) -> int:
        self.event_queue.append(event)
        return len(self.event_queue) - 1

    def close(self) -> None:
        self.stopped = True


def event(*, there: bool = True) -> Any:
    return SimpleNamespace(there=there, websocket=SimpleNamespace(application_state=WebSocketState.CONNECTED))


def ended(*events: Any) -> list[bool]:
    return [one.websocket.application_state is WebSocketState.DISCONNECTED for one in events]


@pytest.fixture
def queue() -> Queue:
    made = Queue()
    sockets.let_go_of_the_lost(made)
    return made


def test_an_event_whose_page_cannot_be_reached_is_over(queue: Queue) -> None:
    reached, lost = event(), event(there=False)
    assert asyncio.run(queue.send_message(reached, {}))
    assert not asyncio.run(queue.send_message(lost, {}))
    assert ended(reached, lost) == [False, True]
    assert queue.timeout == sockets.PATIENCE  # a busy machine takes longer than gradio's second


def test_an_event_is_over_when_it_was_worked_on_whatever_happened(queue: Queue) -> None:
    good, bad = event(), event(there=False)
    asyncio.run(queue.process_events([good], False))
    with pytest.raises(RuntimeError, match="gone"):
        asyncio.run(queue.process_events([bad], False))
    assert ended(good, bad) == [True, True]


def test_a_closed_queue_ends_what_waits_works_and_comes(queue: Queue) -> None:
    waiting, working, steady, late = event(), event(), event(), event()
    assert queue.push(waiting) == 0
    queue.active_jobs = [None, [working]]
    queue.continuous_tasks.append(steady)
    assert ended(waiting, working, steady) == [False] * 3
    queue.close()
    assert queue.push(late) == 1
    assert ended(waiting, working, steady, late) == [True] * 4


@pytest.mark.skipif(compat.IS_G4, reason="gradio 3 alone has a WebSocket for each event")
@pytest.mark.parametrize("left", ["asked for its values", "waiting", "worked on"])
def test_the_server_ends_after_a_page_left(left: str) -> None:
    from websockets.sync.client import connect

    go_on = threading.Event()
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Button().click(lambda: go_on.wait(SECONDS) and None, None, None)
    blocks.queue(concurrency_count=1)
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, show_error=False)
    compat.let_go_of_the_lost(blocks)
    address = url.replace("http", "ws") + "queue/join"

    def joined(until: str, *, answers: bool) -> Any:
        socket = connect(address)
        socket.recv()
        socket.send(json.dumps({"session_hash": left, "fn_index": 0}))
        while json.loads(socket.recv(timeout=SECONDS))["msg"] != until:
            pass
        if answers:
            socket.send(json.dumps({"session_hash": left, "fn_index": 0, "data": []}))
            assert json.loads(socket.recv(timeout=SECONDS))["msg"] == "process_starts"
        return socket

    pages = [joined("send_data", answers=left != "asked for its values")]
    if left == "waiting":
        pages.append(joined("estimation", answers=False))
    for page in pages:
        page.socket.close()
    closing = threading.Thread(target=blocks.close, kwargs={"verbose": False}, daemon=True)
    closing.start()
    go_on.set()  # a function that runs is waited for
    closing.join(SECONDS)
    assert not closing.is_alive()


def test_a_host_without_a_page_has_no_queue() -> None:
    compat.let_go_of_the_lost(None)
