"""A host that lives and does not answer is noticed, told with its stacks, and ended: tried on a small one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webui import live
from tests.webui.answers import Hung
from tests.webui.installed import A1111, Installed
from tests.webui.live import LiveHost

PROBE = Path(__file__).with_name("probe") / "preload.py"
LAUNCH = """
import runpy, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    hung = threading.Event()

    def do_GET(self):
        if self.path == "/hang" or self.hung.is_set():
            self.never_answered()
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"[1]")

    def never_answered(self):
        self.hung.set()
        threading.Event().wait()

    def log_message(self, *_):
        pass

runpy.run_path(PROBE)["preload"](None)
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler)
print("Startup time: none.", flush=True)
server.serve_forever()
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveHost]:
    """A host of a few lines that hangs when it is asked to."""
    monkeypatch.setattr(live, "PATIENCE", 1.0)
    monkeypatch.setattr(LiveHost.answers, "__defaults__", (1.0,))
    (tmp_path / "launch.py").write_text(LAUNCH.replace("PROBE", repr(str(PROBE))), encoding="utf-8")
    host = LiveHost(Installed(tmp_path, Path(sys.executable), A1111), tmp_path)
    host.start(timeout=60)
    yield host
    host.stop()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no signal to ask for stacks with")
def test_a_host_that_does_not_answer_is_told_with_its_stacks_and_ended(small: LiveHost) -> None:
    small.look()
    assert small.alive
    with pytest.raises(TimeoutError):
        small.get("/hang", timeout=0.5)
    with pytest.raises(Hung, match="never_answered"):
        small.look()
    assert not small.alive
    small.look()  # one that was ended is no news


def test_a_request_that_is_never_answered_ends_the_host(small: LiveHost) -> None:
    with pytest.raises(Hung, match="no answer to /hang within 1 s"):
        small.get("/hang", timeout=1.0)
    assert not small.alive


def test_waiting_in_vain_for_a_host_that_answers_ends_nothing(small: LiveHost) -> None:
    with pytest.raises(RuntimeError, match="in vain for rain"):
        small.wait(lambda: False, timeout=0.3, what="rain")
    assert small.alive
