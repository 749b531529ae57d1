"""An installed WebUI in a process of its own: headless, on a loopback port, with our extension linked, on the CPU.

    webui = LiveHost(Installed.at(folder), data)     (in tests: the fixture `webui` of conftest.py)
    webui.start()
    made = webui.txt2img(prompt="1girl <lora:plain:1:FACE>", steps=4)
    made.images[0], made.infotexts[0], made.comments

Nothing is written into the installed folder: settings, models, extensions and outputs are in a data folder of the
test's own (`--data-dir`). What the folder must offer is in docs/hosts.md.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tests.webui.answers import Hung, Made, Refused, as_base64, from_base64
from tests.webui.installed import A1111, FLAGS, Installed, environment, free_port

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = "lora-atelier"
STARTED = "Startup time:"
"""What the host says when its start, or a reload of its page, is over."""
RELOAD_BUTTON = "settings_restart_gradio"
START_SECONDS = 420.0
REQUEST_SECONDS = 900.0
PATIENCE = 90.0
"""Seconds in which a host answers something small, whatever it works on and whatever else the machine does."""
STACKS = "SIGUSR1 tells the stacks of process"
"""What the probe in the host says when it can be asked for them (tests/webui/probe)."""
SETTINGS = {
    "show_progress_type": "Approx cheap",  # the finer previews need a model that the host would download
    "auto_launch_browser": "Disable",
    "disabled_extensions": [],
    "disable_all_extensions": "none",
    "samples_save": False,
    "grid_save": False,
}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the machine has no business here


@dataclass
class LiveHost:
    """One WebUI that the tests started.

    Attributes:
        installed: what is started.
        data: its data folder.
        url: where it answers, without a slash at the end; new with every start.
        arguments: more of its command line.
        without: flags of the usual command line that it is started without.
        log: everything that it said, of all starts.
        user: ``name:password`` that requests carry, "" for none.
        side: of an ordered picture in pixels, unless the order says another.
        starts: how many starts and reloads of the page were over before the present one.
    """

    installed: Installed
    data: Path
    arguments: list[str] = field(default_factory=list)
    url: str = ""
    user: str = ""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    without: tuple[str, ...] = ()
    side: int = 128

    @property
    def kind(self) -> str:
        """``a1111``, ``forge``, ``reforge`` or ``classic``."""
        return self.installed.kind

    @property
    def log(self) -> Path:
        """The file with everything that the host said."""
        return self.data / "host.log"

    @property
    def said(self) -> str:
        """Everything that the host said."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def models(self) -> Path:
        """The folder of its models."""
        return self.data / "models"

    @property
    def loras(self) -> Path:
        """The folder of its LoRAs."""
        return self.models / "Lora"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def answers(self, timeout: float = PATIENCE) -> bool:
        """Tell whether it answers something small in time; a refusal is an answer too."""
        try:
            self.get("/internal/ping", timeout=timeout)
        except Refused:
            return True
        except OSError:
            return False
        return True

    def stacks(self, wait: float = 3.0) -> str:
        """Return what each of its threads is doing; "" where it cannot be asked, or has not come so far yet."""
        if not self.alive or f"{STACKS} {self.process.pid}" not in self.said:
            return ""
        before = len(self.said)
        os.kill(self.process.pid, signal.SIGUSR1)
        time.sleep(wait)
        return self.said[before:]

    def look(self) -> None:
        """See that it answers. One that lives and does not is ended, so that the next test gets a new one.

        Raises:
            Hung: it was so; with what each of its threads was doing.
        """
        if self.alive and not self.answers():
            raise self._end_hung(f"the WebUI lived and gave no answer within {PATIENCE:.0f} s")

    def _end_hung(self, what: str) -> Hung:
        stacks = self.stacks()
        self.kill()
        return Hung(f"{what}; it was ended.\n{self.tail()}\n{stacks or 'It could not be asked for its stacks.'}")

    # -- its life -----------------------------------------------------------------------------------------------

    def prepare(self, checkpoint: Path, *, config: str = "", extension: Path | None = ROOT) -> None:
        """Make the data folder: settings, the checkpoint linked, its ``.yaml`` (``config``), our extension linked."""
        places = ("models/Stable-diffusion", "models/Lora", "models/VAE", "models/VAE-approx", "extensions")
        for place in (*places, "embeddings", "outputs"):
            (self.data / place).mkdir(parents=True, exist_ok=True)
        target = self.models / "Stable-diffusion" / checkpoint.name
        if not target.exists():
            target.symlink_to(checkpoint.resolve())
        if config:
            target.with_suffix(".yaml").write_text(config, encoding="utf-8")
        if extension is not None:
            (self.data / "extensions" / EXTENSION).symlink_to(extension, target_is_directory=True)
        probe = Path(__file__).with_name("probe")
        (self.data / "extensions" / "atelier-probe").symlink_to(probe, target_is_directory=True)
        settings = {**SETTINGS, **self.installed.settings, "sd_model_checkpoint": checkpoint.name}
        (self.data / "config.json").write_text(json.dumps(settings), encoding="utf-8")

    def command(self, port: int) -> list[str]:
        """Return the command line of a start on a port."""
        given = shlex.split(os.environ.get("WEBUI_ARGS", "")) + self.arguments
        own = ["--data-dir", str(self.data), "--port", str(port)]
        if self.kind != A1111:  # with a data folder elsewhere it refuses its own page the scripts of its own folder
            own += ["--gradio-allowed-path", str(self.installed.folder)]
        flags = [flag for flag in FLAGS[self.kind].split() if flag not in self.without]
        return [str(self.installed.python), "launch.py", *flags, *own, *given]

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start it, and return once it answers and has said that its start is over.

        Raises:
            RuntimeError: it ended, or was not ready in time; with the end of its log.
        """
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.starts = self.said.count(STARTED)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(port),
                cwd=self.installed.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group of its own: whatever it starts ends with it
            )
        self.wait(self.started, timeout=timeout, what="the WebUI to start")

    def started(self) -> bool:
        """Whether the start is over: routes added, callbacks called.

        Nothing is asked before the host has said so: a request that comes in the middle of its start makes it fail
        (“Cannot add middleware after an application has started”).
        """
        if not self.alive:
            code = self.process.returncode if self.process else None
            raise RuntimeError(f"the WebUI ended with {code} while it started:\n{self.tail()}")
        if self.said.count(STARTED) <= self.starts:
            return False
        with contextlib.suppress(OSError):
            try:
                return bool(self.get("/internal/profile-startup", timeout=5))
            except Refused:
                return True  # it answers: without a page (``--nowebui``) it knows no such address
        return False

    def stop(self) -> None:
        """End it in peace, then with force; everything that it started ends too."""
        self._end(signal.SIGTERM, patience=10)
        self._end(signal.SIGKILL, patience=20)

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        self._end(signal.SIGKILL, patience=20)

    @contextlib.contextmanager
    def running(self) -> Iterator[LiveHost]:
        """Start it, load its model, and end it whatever happens meanwhile."""
        try:
            self.start()
            self.load_model()
            yield self
        finally:
            self.stop()

    def restart(self) -> None:
        """End it and start it again on the same data."""
        self.stop()
        self.start()

    def _end(self, number: int, *, patience: float) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)

    def wait(self, ready: Callable[[], Any], *, timeout: float = 120.0, what: str = "it", pause: float = 0.2) -> Any:
        """Call ``ready`` until it returns something true, and return that.

        Raises:
            Hung: it never did, and the host does not answer either; it was ended.
            RuntimeError: it never did; with the log's end.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = ready()
            if found:
                return found
            time.sleep(pause)
        what = f"waited {timeout:.0f} s in vain for {what}"
        if self.alive and not self.answers(timeout=5):
            raise self._end_hung(what)
        raise RuntimeError(f"{what}:\n{self.tail()}")

    def tail(self, lines: int = 60) -> str:
        """Return the end of the log."""
        return "\n".join(self.said.splitlines()[-lines:])

    # -- its REST -----------------------------------------------------------------------------------------------

    def get(self, path: str, *, timeout: float = 60.0) -> Any:
        """Return what a GET answers, read as JSON; `Refused` for an error."""
        return self._ask(urllib.request.Request(self.url + path), timeout)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = REQUEST_SECONDS) -> Any:
        """Return what a POST of JSON answers, read as JSON; `Refused` for an error."""
        data = json.dumps(body or {}).encode()
        return self._ask(
            urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method="POST"), timeout
        )

    def _ask(self, request: urllib.request.Request, timeout: float) -> Any:
        if self.user:
            request.add_header("Authorization", "Basic " + base64.b64encode(self.user.encode()).decode())
        try:
            with DIRECT.open(request, timeout=timeout) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode("utf-8", "replace")) from error
        except TimeoutError as error:
            if timeout < PATIENCE:
                raise
            raise self._end_hung(f"the WebUI gave no answer to {request.selector} within {timeout:.0f} s") from error

    def txt2img(self, **order: Any) -> Made:
        """Order pictures; unless said otherwise one small one in a few steps, of a fixed seed."""
        return self._make("/sdapi/v1/txt2img", order)

    def img2img(self, image: Image.Image, **order: Any) -> Made:
        """Order pictures that begin with one."""
        return self._make("/sdapi/v1/img2img", {"init_images": [as_base64(image)], **order})

    def _make(self, path: str, order: Mapping[str, Any]) -> Made:
        usual = {"steps": 4, "width": self.side, "height": self.side, "cfg_scale": 3, "seed": 1}
        usual["sampler_name"] = "Euler"
        answer = self.post(path, {**usual, "prompt": "", "negative_prompt": "", **order})
        return Made([from_base64(each) for each in answer["images"]], json.loads(answer["info"]), answer)

    def load_model(self) -> None:
        """Have its model loaded: Forge does it at the first picture, A1111 beside its start."""
        self.txt2img(prompt="", steps=1, width=64, height=64, cfg_scale=1)

    def set_options(self, **options: Any) -> None:
        """Change settings of the host."""
        self.post("/sdapi/v1/options", options)

    def refresh_loras(self) -> list[str]:
        """Let the host look into its folder of LoRAs again, and return the names that it lists."""
        self.post("/sdapi/v1/refresh-loras")
        return [each["name"] for each in self.get("/sdapi/v1/loras")]

    def run(self, code: str, **given: Any) -> Any:
        """Run ``code`` in the host's process (tests/webui/probe), with names ``given``; return its ``result``."""
        answer = self.post("/atelier-test/run", {"code": textwrap.dedent(code), "given": given})
        if answer["failed"]:
            raise AssertionError(answer["failed"])
        return answer["result"]

    def reload_ui(self) -> None:
        """Press “Reload UI”, as a page does, and return once the new page stands."""
        before = self.said.count(STARTED)
        config = self.get("/config")
        button = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == RELOAD_BUTTON)
        pressed = [
            n for n, each in enumerate(config["dependencies"]) if each["targets"] in ([button], [[button, "click"]])
        ]
        with contextlib.suppress(OSError):  # the server that would answer is taken down
            self.post("/run/predict", {"fn_index": pressed[0], "data": [], "session_hash": "reload"}, timeout=30)
        self.starts = before
        self.wait(self.started, timeout=240, what="the page to be built again")


def main(arguments: list[str]) -> int:
    """Start a host and say where it answers, until Ctrl-C: `python -m tests.webui.live DIR DATA [ARGUMENTS]`."""
    from tests.webui.material import prepare_pocket

    folder, data = arguments[:2]
    host = LiveHost(Installed.at(folder, os.environ.get("WEBUI_PYTHON", "")), Path(data), arguments[2:])
    if not host.models.exists():
        prepare_pocket(host)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the host would outlive us
    try:
        host.start()
        sys.stdout.write(f"{host.url}  (log: {host.log})\n")
        sys.stdout.flush()
        while host.alive:
            time.sleep(1)
    except KeyboardInterrupt:
        sys.stdout.write("ending\n")
    finally:
        host.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
