"""Gradio 3.41 (A1111), 4.40 (the Forge family) and 6 (the studio): every difference between them, and nothing else."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
from fastapi import FastAPI

if not hasattr(huggingface_hub, "HfFolder"):
    # Gradio 4.40 imports this name for its log-in button, which nothing here uses; huggingface_hub 1.0 took it away.
    huggingface_hub.HfFolder = type("HfFolder", (), {})

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported: nobody is told of a start

import gradio as gr
from gradio import routes
from jinja2 import FunctionLoader

_MAJOR = int(gr.__version__.split(".")[0])
IS_G4 = _MAJOR >= 4
IS_G6 = _MAJOR >= 6

API = "/gradio_api" if IS_G6 else ""
"""What stands between a page's address and those of gradio's own that belong to it."""

HIDDEN: Any = "hidden" if IS_G6 else False
"""As ``visible``: not seen, but in the page, where its scripts find it. Gradio 6 leaves out what is not visible."""

COPYABLE: dict[str, Any] = {"buttons": ["copy"]} if IS_G6 else {"show_copy_button": True}
"""Keywords of a textbox whose text can be copied with a button."""

if IS_G4:
    from lib_lora.ui import fanout, streams
else:
    from lib_lora.ui import sockets

update = gr.update


def dropdown(choices: list[Any], **settings: Any) -> gr.Dropdown:
    """Return a Dropdown whose choices come and go.

    Another value is taken, too: what was chosen a moment before its choice went is on its way still. Gradio would
    refuse it in English; a handler says what it does not know.
    """
    return gr.Dropdown(choices, allow_custom_value=True, **settings)


FONTS = ("system-ui", "Hiragino Sans", "Yu Gothic UI", "Noto Sans CJK JP", "sans-serif")
"""Fonts that a machine has: gradio's own would be fetched from a server at every start."""


def page(title: str) -> gr.Blocks:
    """Return the Blocks of a whole page of the studio; a WebUI brings its own."""
    wide = {"fill_width": True, "delete_cache": (3600, 86400)} if IS_G4 else {}
    look = {} if IS_G6 else {"theme": _theme()}  # gradio 6 takes it when the page is mounted
    return gr.Blocks(title=title, analytics_enabled=False, **wide, **look)


def _theme() -> Any:
    theme = gr.themes.Default(font=FONTS, font_mono=("ui-monospace", "Consolas", "monospace"))
    # Its own gray has 2.6 : 1 on white; what explains a field must be read (WCAG 2.2, 1.4.3 wants 4.5 : 1).
    # White on its own orange has 2.8 : 1, in the dark theme 3.6 : 1.
    strong = {"button_primary_background_fill": "*primary_700", "button_primary_background_fill_hover": "*primary_800"}
    dark = {f"{name}_dark": color for name, color in strong.items()}
    return theme.set(body_text_color_subdued="*neutral_500", **strong, **dark)


def page_being_built() -> gr.Blocks:
    """Return the outermost Blocks whose ``with`` is open; only asked while one is."""
    return gr.context.Context.root_block


@contextmanager
def again_in(blocks: gr.Blocks) -> Iterator[None]:
    """Open a Blocks again whose ``with`` is over, to add events to it; a WebUI renders it into its page later."""
    context = gr.context.Context
    before = context.root_block, context.block
    context.root_block = context.block = blocks
    try:
        yield
    finally:
        context.root_block, context.block = before


FOREIGN = re.compile(r'<(?:script|link)\b[^>]*="https?://[^>]*>(?:\s*</script>)?')
"""What a page of gradio's loads from other servers, or tells that it will: fonts, and a script for foreign frames."""


def keep_local() -> None:
    """Let gradio's pages name no other server; for a server of our own, because it holds for the whole process."""
    pages = routes.templates.env
    plain = pages.loader
    if plain is not None:
        pages.loader = FunctionLoader(lambda name: FOREIGN.sub("", plain.get_source(pages, name)[0]))


def uploads_folder() -> Path:
    """Return where gradio keeps what was dropped into a page, and copies of what a page shows."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def mount(app: FastAPI, blocks: gr.Blocks, path: str, *, upload_limit: int) -> None:
    """Put a page under ``path``, with its queue on."""
    if IS_G4:
        with _event_loop():
            blocks.queue(api_open=False)
            streams.keep_streams(blocks._queue)
            if IS_G6:
                with again_in(blocks):
                    fanout.fan_out(blocks, event_kw())
            gr.mount_gradio_app(app, blocks, path, max_file_size=upload_limit, **_plain_page())
    else:
        blocks.queue(concurrency_count=16, api_open=False)
        let_go_of_the_lost(blocks)
        gr.mount_gradio_app(app, blocks, path)


def _plain_page() -> dict[str, Any]:
    """Return what a page of gradio 6 is without: a server of its own for drawing it, a log of runs, links below it."""
    if not IS_G6:
        return {}
    off = ("ssr_mode", "run_history", "enable_monitoring", "pwa", "mcp_server")
    return {"theme": _theme(), "footer_links": [], **dict.fromkeys(off, False)}


@contextmanager
def _event_loop() -> Iterator[None]:
    """Give this thread an event loop for the moment, if it has none.

    Gradio 4 leaves its locks out where there is none (in a thread of its own, after any `asyncio.run`), and answers
    every event with an error then. A lock belongs to no loop before it is first used.
    """
    try:
        asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    else:
        yield


def let_go_of_the_lost(blocks: gr.Blocks | None) -> None:
    """Let the server of ``blocks`` end whatever pages did before (gradio 3); called when it runs."""
    queue = getattr(blocks, "_queue", None)
    if queue is not None and not IS_G4:
        sockets.let_go_of_the_lost(queue)


def js_kw(code: str) -> dict[str, str]:
    """Return the keyword under which an event takes JavaScript. The code returns exactly one value for each input."""
    return {"js" if IS_G4 else "_js": code}


def event_kw(*, side_by_side: bool = False) -> dict[str, Any]:
    """Return the common keywords of an event; ``side_by_side``: several calls of one function may run at once."""
    # Gradio 4.40 cannot describe files in its API page with the pydantic of today, and answers the page with an error.
    quiet: dict[str, Any] = {"show_progress": False, "api_name": False}
    if IS_G6:
        # On nothing: though it is hidden, the page looks through all its components for each that an event might show a
        # progress on, after every event and every part of an answer.
        quiet = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
    return quiet | ({"concurrency_limit": None} if IS_G4 and side_by_side else {})


def on_any(events: Iterable[Any], fn: Any, inputs: Any, outputs: Any, **more: Any) -> None:
    """Call ``fn`` on any of several events (methods such as ``box.change``), none of which has another handler.

    Gradio 4 and 6 take one handler for them all, of which one call runs at a time, so that what shows the newest values
    is not overwritten by what began before (Gradio 3 keeps to that unless it is very busy). A handler each, in a form
    of n fields that all see each other, is a page with n · n connections: a megabyte of text for 130 fields, and most
    of the time in which the page opens.
    """
    if IS_G4:
        with_many(partial(gr.on, list(events)), fn, inputs, outputs, trigger_mode="always_last", **more)
        return
    for event in events:
        event(fn, inputs, outputs, **more)


def with_many(event: Any, fn: Any, inputs: Any, outputs: Any, **more: Any) -> Any:
    """Call ``fn`` after ``event`` (a method such as ``box.change``) with the values of many widgets; return the event.

    The page of gradio 6 looks through all its components for every one that was the input of an event before, after
    every later event: with a form of 130 fields, everything costs a quarter of a second more from then on. There the
    page writes the values into one hidden box first, which is the event's input.

    Args:
        event: what is listened to.
        fn: a function or generator, which takes no `gr.Request`.
        inputs: widgets of plain values, and states.
        outputs: as gradio takes them.
        more: further keywords of the event.
    """
    if not IS_G6 or not fn:
        return event(fn, inputs, outputs, **more)
    states = [one for one in inputs if isinstance(one, gr.State)]
    widgets = [one for one in inputs if not isinstance(one, gr.State)]
    box = gr.Textbox("", visible=HIDDEN, show_label=False)
    told = event(None, widgets, box, queue=False, **js_kw("(...now) => JSON.stringify(now)"), **event_kw())

    def read(text: str, *kept: Any) -> list[Any]:
        rest, values = iter(kept), iter(zip(widgets, json.loads(text), strict=True))
        return [next(rest) if isinstance(one, gr.State) else _preprocessed(*next(values)) for one in inputs]

    def stream(text: str, *kept: Any) -> Iterator[Any]:
        yield from fn(*read(text, *kept))

    def call(text: str, *kept: Any) -> Any:
        return fn(*read(text, *kept))

    handler = stream if inspect.isgeneratorfunction(fn) else call
    handler.__name__ = getattr(fn, "__name__", handler.__name__)  # by which gradio names it when it fails
    return told.then(handler, [box, *states], outputs, **more)


def nudge(event: Any, box: gr.Textbox) -> None:
    """Give a hidden box another value after ``event``, or its ``then``: what listens to the box follows many events."""
    event(None, None, box, queue=False, **js_kw("() => String(performance.now())"), **event_kw())


def _preprocessed(widget: Any, value: Any) -> Any:
    """Return a value of the page as a handler knows it: only numbers are written otherwise (rounded, within limits)."""
    return widget.preprocess(value) if isinstance(widget, gr.Number | gr.Slider) else value


def warn(text: str, page: gr.Blocks | None, task: str) -> None:
    """Show a notice where somebody waits for what runs now; nothing is shown where no page does.

    Args:
        text: the notice.
        page: whose events are looked through where this thread serves none: the Forge family renders in its main one.
        task: the first value of the event that is meant, such as ``task(abc)``.
    """
    if _serves_an_event():
        gr.Warning(text)
    elif IS_G4 and task.startswith("task("):
        queue: Any = getattr(page, "_queue", None)
        events = [event for job in getattr(queue, "active_jobs", ()) for event in job or ()]
        for event in events:
            if event.data is not None and event.data.data[:1] == [task]:
                title = {"title": "Warning"} if IS_G6 else {}
                queue.log_message(event_id=event._id, log=text, level="warning", **title)


def _serves_an_event() -> bool:
    local = getattr(gr.context, "LocalContext", None)  # gradio 4; before, gradio kept it with the thread
    return (local.blocks.get(None) if local else getattr(gr.context.thread_data, "blocks", None)) is not None


def visitor_of(request: gr.Request) -> str:
    """Return what tells one opened page from another; "" where gradio does not say."""
    return getattr(request, "session_hash", "") or ""


def file_input(**more: Any) -> gr.File:
    """Return a file widget whose value `file_paths` reads."""
    return gr.File(type="filepath" if IS_G4 else "file", **more)


def file_paths(value: Any) -> list[Path]:
    """Return the paths in a file widget's value: a path, an object with a name, a list of them, or nothing."""
    if not value:
        return []
    many = value if isinstance(value, list | tuple) else [value]
    return [Path(one if isinstance(one, str) else one.name) for one in many]


def picture_input(**more: Any) -> gr.File:
    """Return a widget for dropping a picture, whose value `file_paths` reads.

    It is a file to gradio: an image widget would decode whatever comes before anybody could look at it, and write it
    anew, without what the file carries besides its pixels.
    """
    return file_input(file_types=["image"], **more)


def typed(field: gr.Textbox) -> Any:
    """Return the event of a text field, which has an element id, in which somebody typed, pasted or deleted.

    Gradio 6 tells of keys alone: there the page's script counts up a hidden box beside the field.
    """
    if not IS_G6:
        return field.input
    return gr.Textbox("", visible=HIDDEN, label="typed", elem_id=f"{field.elem_id}_typed").change


def number(value: Any, default: float, kind: Callable[[Any], Any] = float) -> Any:
    """Return what a number widget holds, as ``kind``; ``default`` where it is empty or no number."""
    try:
        return kind(value)
    except (TypeError, ValueError):
        return kind(default)
