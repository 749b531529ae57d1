"""What the tests that click share: a running studio.

A test that asks for `visitor` carries the mark `browser` of itself. Where Chromium or Playwright is missing it is
skipped, and the summary says why. Under an older gradio (`python run.py gradio3`, `gradio4`) only those marked
`each_gradio` click.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import NO_PLAYWRIGHT

if TYPE_CHECKING:
    from tests.ui.browser import Studio, Visitor


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "visitor" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="module")
def studio_server(visitor: Visitor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio in a process of its own, with an empty data folder; one for all tests of a file."""
    browser = pytest.importorskip("tests.ui.browser", reason=NO_PLAYWRIGHT)
    with browser.running_studio(tmp_path_factory.mktemp("studio") / "data") as running:
        yield running


@pytest.fixture(autouse=True)
def _leaves(request: pytest.FixtureRequest) -> Iterator[None]:
    """Close what a test opened: a page that is left goes on asking its server, and complains in a later test."""
    if "visitor" not in request.fixturenames:
        yield
        return
    visitor: Visitor = request.getfixturevalue("visitor")
    shared = list(visitor.browser.contexts)  # of fixtures that last for a whole file
    visitor.complaints.clear()
    yield
    for one in visitor.browser.contexts:
        if one not in shared:
            one.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where a studio that a test starts itself may keep its data."""
    return tmp_path / "data"
