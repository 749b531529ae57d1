"""The live tests run where people have the host: in Python 3.10 with its own pins and what `install.py` brings."""

from __future__ import annotations

from tests.webui.live import LiveHost
from tests.webui.surroundings import surroundings


def test_the_host_runs_in_its_own_environment(webui: LiveHost) -> None:
    assert surroundings(webui.installed).differences == ()
