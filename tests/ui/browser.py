"""A running studio and a headless Chromium for the tests that click.

    from tests.ui.browser import open_browser, running_studio          (or the fixtures of conftest.py)
    with running_studio(folder) as studio, open_browser() as browser:
        page = browser.visit(studio.url, language="ja")
        page.get_by_role("tab", name="LoRA 学習").click()

`python -m tests.ui.browser URL PICTURE [--language ja] [--dark] [--tab train] [--width 1280]` takes a screenshot.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.forked import CAN_FORK, Forked, Spawned, forked, spawned

ROOT = Path(__file__).resolve().parents[2]
LOCALES = {"en": "en-US", "ja": "ja-JP"}
TABS = ("generate", "train", "workshop", "report")
PATIENCE_MS = 30_000
SETTLED = "document.querySelector('.atelier-theme')?.textContent && !document.querySelector('.wrap.generating')"


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
"""Where more than one is there the first is taken: without windows, a page costs 0.6 of Chromium's processor time."""


def chromium() -> str | None:
    """Return the path of Chromium or Chrome on this machine, None where there is none."""
    named = os.environ.get("CHROMIUM")
    found = (shutil.which(name) for name in BROWSERS)
    return named or next((path for path in found if path), None)


@dataclass
class Studio:
    """A studio in a process of its own; `said` is what it printed for people."""

    url: str
    data: Path
    program: Forked | Spawned

    @property
    def said(self) -> str:
        """What it printed for people."""
        return self.program.errors.read_text(encoding="utf-8")

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does (or with another signal) and return its exit code."""
        return self.program.stop(number)


def start_studio(data: Path, *arguments: str, port: int = 0, program: str = "lib_lora", anew: bool = False) -> Studio:
    """Start a studio on a free port with its own data folder, and return once it has an address.

    Args:
        data: its data folder.
        arguments: more of the command line.
        port: 0 takes a free one.
        program: the module that is started; one of the tests may change amounts before the studio begins.
        anew: by a Python of its own, as people start it; else forked from one that has imported what it needs.
    """
    given = ["studio", "--json", "--no-browser", "--data", str(data), "--port", str(port), *arguments]
    said = data.with_name(f"{data.name}.said")
    begin = spawned if anew or not CAN_FORK else forked
    running = begin(program, given, cwd=data.parent, said=said)
    line = running.first_line()
    if not line:
        running.stop()
        raise RuntimeError(f"the studio did not start:\n{running.errors.read_text(encoding='utf-8')}")
    return Studio(json.loads(line)["url"], data, running)


@contextlib.contextmanager
def running_studio(
    data: Path, *arguments: str, port: int = 0, program: str = "lib_lora", anew: bool = False
) -> Iterator[Studio]:
    """Give a studio that ends with the block."""
    studio = start_studio(data, *arguments, port=port, program=program, anew=anew)
    try:
        yield studio
    finally:
        studio.stop()


@dataclass
class Visitor:
    """Headless Chromium; what a page complains about gathers in `complaints`."""

    browser: Browser
    complaints: list[str] = field(default_factory=list)

    def visit(
        self,
        url: str,
        *,
        language: str = "en",
        dark: bool = False,
        size: tuple[int, int] = (1280, 1600),
        tab: str = "",
        heard: list[str] | None = None,
        **context: Any,
    ) -> Page:
        """Open ``url`` as a new person with a browser of that language, and return once the panels stand there.

        ``heard`` gathers the address of everything that was fetched.
        """
        theme = "dark" if dark else "light"
        own = self.browser.new_context(
            locale=LOCALES[language],
            color_scheme=theme,
            viewport={"width": size[0], "height": size[1]},
            **context,
        )
        page = own.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"error in the page: {error}"))
        if heard is not None:
            page.on("response", lambda response: heard.append(response.url))
        page.goto(url)
        settle(page)
        if tab:
            open_tab(page, tab)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        # Gradio's page names a script of a content network; the studio does not let it go there.
        if message.type == "error" and "iframe-resizer" not in message.text:
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")


def settle(page: Page) -> None:
    """Wait until the page is built and its scripts have run."""
    page.wait_for_function(SETTLED)
    page.wait_for_timeout(300)


def open_tab(page: Page, name: str) -> None:
    """Open a tab by its name in the program (generate, train, workshop, report), whatever the language."""
    bar = page.locator("#atelier_app_tabs :is(.tab-nav, [role=tablist])").first
    bar.locator("button").nth(TABS.index(name)).click()
    page.wait_for_timeout(300)


def sideways(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@contextlib.contextmanager
def open_browser() -> Iterator[Visitor]:
    """Give a headless Chromium that ends with the block."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield Visitor(browser)
        finally:
            browser.close()


def main(arguments: Sequence[str]) -> None:
    """Take a screenshot of a running studio."""
    parser = argparse.ArgumentParser(description="Take a screenshot of a running studio.")
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--language", choices=sorted(LOCALES), default="en")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--tab", default="")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1600)
    options = parser.parse_args(arguments)
    with open_browser() as visitor:
        size = (options.width, options.height)
        page = visitor.visit(options.url, language=options.language, dark=options.dark, size=size, tab=options.tab)
        page.screenshot(path=options.picture, full_page=True)
        sys.stdout.write(f"wider than the window by {sideways(page)} px\n" + "\n".join(visitor.complaints) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
