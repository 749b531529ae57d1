"""What a page is sent by gradio 4: answers however close to the end of its stream they were asked, and notices."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from lib_lora.ui import compat

pytestmark = pytest.mark.skipif(not compat.IS_G4, reason="gradio 3 answers each event on a socket of its own")


@pytest.fixture
def address() -> Iterator[str]:
    """A page of one button, served as the studio is.

    Its first function answers at once, its second after 0.6 s, its third has another thread say something first.
    """
    import gradio as gr

    def rendered_elsewhere(task: str) -> str:
        other = threading.Thread(target=compat.warn, args=(f"news of {task}", blocks, task))
        other.start()
        other.join()
        return task

    with gr.Blocks(analytics_enabled=False) as blocks:
        box, button = gr.Textbox(), gr.Button()
        button.click(lambda text: text + "!", box, box)
        button.click(lambda text: time.sleep(0.6) or text + "?", box, box)
        button.click(rendered_elsewhere, box, box)
    app = FastAPI()
    asyncio.run(asyncio.sleep(0))  # leaves this thread without an event loop; gradio makes its locks only where one is
    compat.mount(app, blocks, "/page", upload_limit=1000)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/page"
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "an open stream keeps the server from ending"


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    with httpx.Client(base_url=address, timeout=20) as http:
        yield Page(http)


class Page:
    """What a page does with the server: it sends events and listens to one stream."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def ask(self, text: str, function: int = 0) -> None:
        event = {"data": [text], "fn_index": function, "session_hash": "me"}
        self.http.post(f"{compat.API}/queue/join", json=event).raise_for_status()

    def messages(self) -> Iterator[dict[str, Any]]:
        with self.http.stream("GET", f"{compat.API}/queue/data", params={"session_hash": "me"}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


def next_answer(messages: Iterator[dict[str, Any]]) -> Any:
    """Return the answer that comes next; None if the stream ends before one does."""
    done = (message for message in messages if message["msg"] == "process_completed")
    return next((message["output"]["data"][0] for message in done if message["output"]), None)


def test_what_is_asked_on_the_heels_of_an_answer_is_answered_on_the_same_stream(page: Page) -> None:
    page.ask("one")
    messages = page.messages()
    assert next_answer(messages) == "one!"
    page.ask("two")  # the page has not read yet that its stream is over, or gradio would have ended it by now
    assert next_answer(messages) == "two!"


def test_a_quiet_stream_ends_and_the_next_event_gets_another(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_lora.ui.streams.QUIET", 0.2)
    page.ask("one")
    messages = page.messages()
    assert next_answer(messages) == "one!"
    assert [message["msg"] for message in messages][-1] == "close_stream"
    page.ask("two")
    assert next_answer(page.messages()) == "two!"


def test_work_that_outlasts_the_quiet_is_waited_for(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_lora.ui.streams.QUIET", 0.2)
    page.ask("one", function=1)
    messages = page.messages()
    assert next_answer(messages) == "one?"
    assert [message["msg"] for message in messages][-1] == "close_stream"


@pytest.mark.parametrize(("task", "news"), [("task(abc)", ["news of task(abc)"]), ("abc", [])])
def test_a_notice_from_another_thread_reaches_the_page_whose_task_it_is(page: Page, task: str, news: list[str]) -> None:
    page.ask(task, function=2)
    seen = []
    for message in page.messages():
        seen.append(message)
        if message["msg"] == "process_completed":
            break
    assert [each["log"] for each in seen if each["msg"] == "log"] == news
