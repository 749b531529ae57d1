"""What the tests of the WebUI share.

`webui` is a real host: an installed AUTOMATIC1111 or Forge whose folder is in WEBUI_DIR, started once for all tests.
Without WEBUI_DIR the tests that ask for it are skipped, and the summary says so. Also read: WEBUI_PYTHON (the host's
Python, where its folder has no venv), WEBUI_CHECKPOINT (instead of the pocket model; Forge wants a full-size one) and
WEBUI_ARGS (more of the host's command line). docs/hosts.md says what an installed host must offer.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageDraw

from tests.webui.installed import Installed
from tests.webui.live import LiveHost
from tests.webui.surroundings import surroundings

if TYPE_CHECKING:
    from playwright.sync_api import Page


NOT_STARTED = (
    "NO WEBUI WAS STARTED: set WEBUI_DIR to an installed AUTOMATIC1111 1.10.1 or Forge, "
    "or: python run.py webui-test --webui DIR (docs/hosts.md)"
)
LOG_LINES = 80


@pytest.fixture(scope="session")
def webui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHost]:
    """A running WebUI with our extension, its model loaded; one for all tests, alive again after one that killed it."""
    with prepared_host(tmp_path_factory.mktemp("webui") / "data").running() as host:
        yield host


def prepared_host(data: Path, *arguments: str) -> LiveHost:
    """Return the WebUI of WEBUI_DIR with a data folder of its own and our extension, not started yet."""
    if not os.environ.get("WEBUI_DIR"):
        pytest.skip(NOT_STARTED)
    from tests.webui.material import prepare_pocket

    host = LiveHost(installed(), data, list(arguments))
    prepare_pocket(host)
    return host


def installed() -> Installed:
    """Return the WebUI of WEBUI_DIR and WEBUI_PYTHON."""
    return Installed.at(os.environ["WEBUI_DIR"], os.environ.get("WEBUI_PYTHON", ""))


@pytest.fixture(autouse=True)
def _alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start the host again where the test before killed it; afterwards see that it still answers."""
    if "webui" not in request.fixturenames:
        yield
        return
    host = request.getfixturevalue("webui")
    if not host.alive:
        host.start()
        host.load_model()
    yield
    host.look()


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in which environment the host ran."""
    if "WEBUI_DIR" in os.environ:
        terminalreporter.section("the WebUI's environment")
        terminalreporter.line(str(surroundings(installed())))


@pytest.fixture(scope="session")
def live_layers() -> Any:
    """The layers of the host's checkpoint, to make LoRAs of (`material.add_lora(webui, name, live_layers, seed=4)`)."""
    from tests.webui.material import checkpoint, layers_of

    return layers_of(checkpoint())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put the end of the host's log under the report of a failed test, and say where all of it is."""
    report = yield
    host = getattr(item, "funcargs", {}).get("webui")
    if report.failed and isinstance(host, LiveHost):
        report.sections.append((f"the host's log ({host.log})", host.tail(LOG_LINES)))
    return report


@pytest.fixture(scope="session")
def circles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four pictures with captions, enough to train on."""
    folder = tmp_path_factory.mktemp("circles")
    for number, color in enumerate(("red", "green", "blue", "orange")):
        picture = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(picture).ellipse((10 + 4 * number, 10, 50, 50), fill=color)
        picture.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"{color} circle", encoding="utf-8")
    return folder


@pytest.fixture
def open_page(webui: LiveHost, open_page_of: Callable[..., Page]) -> Callable[..., Page]:
    """Opens the host's page as a new person: ``open_page()``; what it complains about is in ``page.complaints``."""
    return functools.partial(open_page_of, webui)


@pytest.fixture
def open_page_of(request: pytest.FixtureRequest) -> Callable[..., Page]:
    """As `open_page`, of a WebUI that a test started itself (``address``: of a proxy before it)."""
    visitor = request.getfixturevalue("visitor")

    def opened(
        webui: LiveHost,
        *,
        language: str = "en",
        size: tuple[int, int] = (1280, 1600),
        dark: bool = False,
        address: str = "",
    ) -> Page:
        from tests.ui.browser import LOCALES, PATIENCE_MS

        theme = "dark" if dark else "light"
        own = visitor.browser.new_context(
            locale=LOCALES[language], color_scheme=theme, viewport={"width": size[0], "height": size[1]}
        )
        request.addfinalizer(own.close)
        page = own.new_page()
        page.complaints = complaints = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(f"error in the page: {error}"))
        page.goto(f"{address or webui.url}/?__theme={theme}", wait_until="domcontentloaded")
        page.wait_for_function("window.gradioApp && gradioApp().querySelector('#txt2img_prompt textarea')")
        page.wait_for_timeout(1500)  # the host's own scripts run when the page has been quiet for a while
        return page

    return opened


@pytest.fixture
def data_of(webui: LiveHost) -> Path:
    """The data folder that our extension has in the host."""
    return webui.data / EXTENSION_DATA


EXTENSION_DATA = "lora-atelier"


@pytest.fixture
def a1111(tmp_path: Path) -> Iterator[Any]:
    """A fake AUTOMATIC1111 with its model loaded."""
    from tests.webui.fakes.a1111 import A1111

    with A1111(tmp_path).installed() as host:
        yield host


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Any]:
    """A fake Forge; it loads its model at the first picture."""
    from tests.webui.fakes.forge import Forge

    with Forge(tmp_path).installed() as host:
        yield host


@pytest.fixture
def neo(tmp_path: Path) -> Iterator[Any]:
    """A fake Forge Neo; it loads its model at the first picture."""
    from tests.webui.fakes.forge import Neo

    with Neo(tmp_path).installed() as host:
        yield host


@pytest.fixture
def reforge(tmp_path: Path) -> Iterator[Any]:
    """A fake reForge; it loads its model at the first look at `shared.sd_model`."""
    from tests.webui.fakes.older_forges import ReForge

    with ReForge(tmp_path).installed() as host:
        yield host


@pytest.fixture
def classic(tmp_path: Path) -> Iterator[Any]:
    """A fake Forge-classic; it loads its model at the first look at `shared.sd_model`."""
    from tests.webui.fakes.older_forges import Classic

    with Classic(tmp_path).installed() as host:
        yield host
