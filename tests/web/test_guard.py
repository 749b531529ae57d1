"""Attacks on a studio that runs: a real server on the loopback address, gradio's own routes behind the door."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.gradio_door import GradioDoor
from lib_lora.web import guesses
from lib_lora.web.guard import Guard
from lib_lora.web.guesses import Guesses

MALFORMED = [
    "http://[::1",
    "http://",
    "null",
    "://",
    "http://127.0.0.1:99999999",
    "javascript:alert(1)",
    "\xff",
    "http:",
]
PAGE = f"/en{compat.API}"
"""Where gradio's own addresses of the page begin."""
NAVIGATE = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


def page() -> Any:
    with compat.page("a page") as made:
        dropped, said = compat.file_input(), gr.Textbox()
        direct = {"queue": False, **compat.event_kw()}
        dropped.upload(lambda file: str([path.name for path in compat.file_paths(file)]), dropped, said, **direct)
    return made


@pytest.fixture(scope="module")
def server(uploads: Path) -> Iterator[httpx.Client]:
    """A client of a server with one gradio page at /en, behind both doors; `client.taken` are bodies that came in."""
    app = FastAPI()
    taken: list[int] = []

    @app.post("/body")
    async def body(request: Request) -> None:
        taken.append(len(await request.body()))

    compat.mount(app, page(), "/en", upload_limit=2**20)
    app.add_middleware(GradioDoor, pages=["/en"], uploads=compat.uploads_folder())
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(Guard(app, field_limit=2**20), log_level="error"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    with httpx.Client(base_url=f"http://127.0.0.1:{door.getsockname()[1]}", timeout=20) as client:
        client.taken = taken  # type: ignore[attr-defined]
        yield client
    running.should_exit = True
    thread.join(10)


def uploaded(server: httpx.Client, name: str, content: bytes) -> str:
    answer = server.post(f"{PAGE}/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0])


def event(file: dict[str, Any]) -> dict[str, Any]:
    return {"data": [file], "fn_index": 0, "session_hash": "abc", "event_data": None}


def dropped(path: str, **more: Any) -> dict[str, Any]:
    """A file as the page of either gradio sends it."""
    if compat.IS_G4:
        return {"path": path, "orig_name": "a.txt", "meta": {"_type": "gradio.FileData"}, **more}
    return {"name": path, "orig_name": "a.txt", "data": None, "is_file": True, **more}


@pytest.mark.parametrize("origin", MALFORMED)
def test_malformed_origin_is_refused_and_never_an_error(server: httpx.Client, origin: str) -> None:
    headers = [(b"origin", origin.encode("latin-1"))]
    assert server.get("/en/", headers=headers).status_code == 403
    assert server.post("/body", content=b"x", headers=headers).status_code == 403
    assert server.get("/en/").status_code == 200


def test_own_origin_twice_is_not_its_own(server: httpx.Client) -> None:
    own = str(server.base_url).rstrip("/")
    assert server.get("/en/", headers=[("origin", own)]).status_code == 200
    assert server.get("/en/", headers=[("origin", own), ("origin", own)]).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "none, none"])
@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/en/theme.css", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "style"}),
        ("/en/config", {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}),
        ("/en/", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}),
        (f"{PAGE}/file=/etc/hostname", NAVIGATE),
        ("/en/config", NAVIGATE),
        (f"{PAGE}/queue/data?session_hash=a", NAVIGATE),
        ("/lora-atelier/v1/files/outputs/a.html", NAVIGATE),
    ],
)
def test_a_foreign_page_reaches_nothing(server: httpx.Client, site: str, path: str, mode: dict[str, str]) -> None:
    assert server.get(path, headers={"sec-fetch-site": site, **mode}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_elsewhere_opens_the_page_and_sends_nothing(server: httpx.Client, site: str) -> None:
    headers = {"sec-fetch-site": site, **NAVIGATE}
    assert server.get("/en/", headers=headers).status_code == 200
    assert server.post("/en/", headers=headers).status_code == 403
    assert server.post("/body", content=b"x", headers=headers).status_code == 403


def test_own_page_and_programs_are_answered(server: httpx.Client) -> None:
    assert server.get("/en/theme.css").status_code == 200
    for site in ("same-origin", "none"):
        assert server.get("/en/theme.css", headers={"sec-fetch-site": site}).status_code == 200


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
        ("a.html", b"<script>alert(1)</script>"),
        ("a.xhtml", b"<script>alert(1)</script>"),
        ("a.js", b"alert(1)"),
        ("a.txt", b"<script>alert(1)</script>"),
        ("a.SVG", b"<svg/>"),
        ("a", b"<script>alert(1)</script>"),
        ("a.pdf", b"%PDF-1.4"),
    ],
)
def test_what_was_dropped_runs_nothing(server: httpx.Client, name: str, content: bytes) -> None:
    path = uploaded(server, name, content)
    for address in (f"{PAGE}/file={path}", f"{PAGE}/file/{path}"):
        answer = server.get(address)
        assert answer.status_code == 200
        assert answer.content == content
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-security-policy"].startswith("sandbox;")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_dropped_picture_is_shown(server: httpx.Client) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    answer = server.get(f"{PAGE}/file={uploaded(server, 'a.png', stream.getvalue())}")
    assert (answer.headers["content-type"], answer.content) == ("image/png", stream.getvalue())
    assert "content-disposition" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("sandbox;")


def test_files_elsewhere_links_and_hidden_ones_are_not_given(
    server: httpx.Client, uploads: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (uploads / "x").mkdir(exist_ok=True)
    (uploads / "x" / "link.png").symlink_to(secret)
    (uploads / "x" / "link").symlink_to(tmp_path)
    (uploads / ".hidden").mkdir(exist_ok=True)
    (uploads / ".hidden" / "a.png").write_bytes(b"secret")
    (uploads / "x" / ".a.png").write_bytes(b"secret")
    inside = [uploads / "x" / "link.png", uploads / "x" / "link" / "secret.png", uploads / ".hidden" / "a.png"]
    inside += [uploads / "x" / ".a.png", uploads / "x" / ".." / ".." / tmp_path.name / "secret.png", uploads]
    for path in [*inside, secret, Path("/etc/passwd"), Path(__file__), Path("pyproject.toml"), Path("http://a/b.png")]:
        for address in (f"{PAGE}/file={path}", f"{PAGE}/file/{path}", f"{PAGE}//file={path}", f"/en//file={path}"):
            assert server.get(address).status_code == 404, address
    assert server.get(f"{PAGE}/file={uploads}/x/a%00.png").status_code == 404


@pytest.mark.parametrize(
    "wanted", ["bytes=4-9", "bytes=4-", "bytes=99999999999999999999-", "bytes=-0", "Bytes = 4 - 4"]
)
def test_a_range_beyond_the_end_is_answered_at_once(server: httpx.Client, wanted: str) -> None:
    path = uploaded(server, "a.txt", b"four")
    answer = server.get(f"{PAGE}/file={path}", headers={"range": wanted}, timeout=5)
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */4")


@pytest.mark.parametrize("wanted", ["bytes=0-1", "bytes=3-1", "bytes=-2", "bytes=-", "bytes=0-1,9-", "lines=9-"])
def test_any_other_range_is_the_whole_file(server: httpx.Client, wanted: str) -> None:
    path = uploaded(server, "a.txt", b"four")
    answer = server.get(f"{PAGE}/file={path}", headers={"range": wanted}, timeout=5)
    assert (answer.status_code, answer.content) == (200, b"four")


@pytest.mark.parametrize(
    "path",
    ["proxy=http://127.0.0.1:1/", "stream/a/1/2", "monitoring", "component_server", "dev/reload"]
    + ["call/predict", "vibe-edit", "process_recording", "run-history/connect", "deep_link", "mcp", "openapi.json"],
)
def test_what_no_panel_uses_is_not_there(server: httpx.Client, path: str) -> None:
    assert server.get(f"/en/{path}").status_code == server.get(f"{PAGE}/{path}").status_code == 404
    assert server.post(f"{PAGE}/{path}", json={}).status_code == 404


def test_no_address_is_fetched_for_a_page(server: httpx.Client) -> None:
    with socket.socket() as inner:
        inner.bind(("127.0.0.1", 0))
        inner.listen()
        inner.settimeout(0.3)
        port = inner.getsockname()[1]
        for start in ("http://", "HTTP://", "https://", "ftp://", "file://", "//"):
            address = f"{start}127.0.0.1:{port}/secret"
            for file in (dropped(address), dropped("/tmp/a", url=address), {"a": [dropped(address)]}):
                for route in ("queue/join", "run/predict", "api/predict", "call/predict"):
                    assert server.post(f"{PAGE}/{route}", json=event(file)).status_code in (403, 404)
        with pytest.raises(TimeoutError):
            inner.accept()


def test_a_page_cannot_name_a_file_of_the_machine(server: httpx.Client, tmp_path: Path) -> None:
    for path in ("/etc/passwd", __file__, "pyproject.toml", str(tmp_path), "../../etc/passwd"):
        assert server.post(f"{PAGE}/run/predict", json=event(dropped(path))).status_code == 403
    deep = b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}"
    headers = {"content-type": "application/json", "connection": "close"}  # an error of the server ends its connection
    assert server.post(f"{PAGE}/run/predict", content=deep, headers=headers).status_code >= 400


def test_an_upload_is_taken_by_its_event(server: httpx.Client) -> None:
    path = uploaded(server, "a.txt", b"four")
    file = dropped(path, **({"url": f"{server.base_url}{PAGE}/file={path}"} if compat.IS_G4 else {}))
    answer = server.post(f"{PAGE}/run/predict", json=event(file))
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == ["['a.txt']"]


def test_fields_are_limited_and_files_are_not_taken_for_them(server: httpx.Client) -> None:
    server.taken.clear()  # type: ignore[attr-defined]
    text, kind = b"x" * 2**20, {"content-type": "application/json"}
    assert server.post("/body", content=text, headers=kind).status_code == 200
    assert server.post("/body", content=text + b"x", headers=kind).status_code == 413
    assert server.post("/body", content=iter([text, b"x"]), headers=kind).status_code == 413
    for field in ("a", "filename", "files"):
        assert (
            server.post(f"{PAGE}/upload", data={field: "x" * 2**20}, files={"files": ("a.txt", b"x")}).status_code
            == 413
        )
    assert server.taken == [2**20]  # type: ignore[attr-defined]
    form = b'--b\r\nContent-Disposition: form-data; name="filename"\r\n\r\n' + text + b"\r\n--b--\r\n"
    parts = {"content-type": "multipart/form-data; boundary=b"}
    assert server.post(f"{PAGE}/upload", content=iter([form]), headers=parts).status_code == 413
    assert uploaded(server, "a.bin", b"x" * (2**20 - 1))


def judged(order: list[bool], *, together: bool = False) -> tuple[list[int], list[float]]:
    """Return the statuses of guesses from one address, and the seconds that they waited."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    async def play() -> list[int]:
        judge = Guesses(sleep=sleep).judge
        if together:
            return list(await asyncio.gather(*(judge("a", lambda right=right: right) for right in order)))
        return [await judge("a", lambda right=right: right) for right in order]

    return asyncio.run(play()), waited


def test_each_wrong_password_waits_longer_and_the_right_one_not_at_all() -> None:
    statuses, waited = judged([True, *[False] * 9, True, False])
    assert statuses == [200, *[401] * 9, 200, 401]
    assert waited[:3] == [guesses.FIRST, 2 * guesses.FIRST, 4 * guesses.FIRST]
    assert waited[8] == guesses.LONGEST
    assert waited[9] == guesses.FIRST  # whoever knows it begins anew


def test_many_guesses_at_once_gain_nothing() -> None:
    statuses, waited = judged([*[False] * 50, True], together=True)
    assert statuses.count(401) == guesses.WAITING + 1
    assert statuses.count(429) == 50 - guesses.WAITING
    assert len(waited) == guesses.WAITING + 1


def test_addresses_do_not_wait_for_each_other_and_are_forgotten() -> None:
    async def play() -> int:
        judge = Guesses(sleep=lambda _: asyncio.sleep(0))
        for number in range(guesses.KEPT + 10):
            await judge.judge(str(number), lambda: False)
        return len(judge._addresses)

    assert asyncio.run(play()) == guesses.KEPT


def test_no_picture_widget_of_gradios_takes_what_a_page_sends(studio: Any, tmp_path: Path) -> None:
    """Such a widget decodes a page's picture before we see it; pages take files, and look at them first."""
    from lib_lora.i18n.words import Words
    from lib_lora.services.atelier import Atelier, Folders
    from lib_lora.ui.app import build_page

    made = build_page(Atelier(studio, Folders.under(tmp_path)), Words("en"))
    config = made.get_config_file()
    kinds = {one["id"]: one["type"] for one in config["components"]}
    taken = {kinds[number] for event in config["dependencies"] for number in event["inputs"]}
    assert "file" in taken
    assert not taken & {"image", "gallery", "imageeditor", "annotatedimage", "video", "audio", "multimodaltextbox"}


@pytest.mark.parametrize("file", [{"name": "http://127.0.0.1:1/a", "is_file": True}, {"path": "/etc/passwd"}])
def test_an_event_over_a_websocket_is_held_to_the_same(tmp_path: Path, file: dict[str, Any]) -> None:
    """Gradio 3 sends its events so."""
    heard = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.extend([await receive(), await receive()])

    given = [json.dumps({"data": ["http://in.a/text", None]}), json.dumps({"data": [{"deep": [file]}]})]

    async def receive() -> Any:
        return {"type": "websocket.receive", "text": given.pop(0)}

    door = GradioDoor(app, pages=["/en"], uploads=tmp_path)
    scope = {"type": "websocket", "path": "/en/queue/join", "headers": [(b"host", b"127.0.0.1")]}
    asyncio.run(door(scope, receive, None))
    assert [message["type"] for message in heard] == ["websocket.receive", "websocket.disconnect"]
