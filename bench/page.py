"""What the studio's page costs a browser: `python bench/page.py [--visits 5] [--json]`.

Each visit is a new person: the page is opened and left alone for four seconds, then three tabs are opened, then a word
is typed into the training form (another one each time: the studio remembers it); two seconds are waited after each.
Counted is the time in which the page's own thread worked (Chromium's TaskDuration), the median of the visits. Compare
two versions in one sitting, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.ui.browser import Visitor, open_browser, open_tab, running_studio, settle

REST_MS = 2000


def one_visit(visitor: Visitor, url: str, word: str) -> dict[str, float]:
    """Return the seconds in which the page worked, for each thing that a person did."""
    context = visitor.browser.new_context(viewport={"width": 1280, "height": 1600})
    page = context.new_page()
    inside = context.new_cdp_session(page)
    inside.send("Performance.enable")
    found: dict[str, float] = {}

    def worked() -> float:
        return {one["name"]: one["value"] for one in inside.send("Performance.getMetrics")["metrics"]}["TaskDuration"]

    def measure(name: str, act: Callable[[], Any], rest: int = REST_MS) -> None:
        before = worked()
        act()
        page.wait_for_timeout(rest)
        found[name] = worked() - before

    measure("open", lambda: (page.goto(url), settle(page)), 2 * REST_MS)
    for tab in ("train", "workshop", "report"):
        measure(tab, lambda tab=tab: open_tab(page, tab))
    open_tab(page, "train")
    field = page.locator("#atelier_train_trigger :is(input, textarea)").first
    measure("type a word", lambda: field.fill(word))
    context.close()
    return found


def main(arguments: list[str]) -> int:
    """Measure and print; the exit code says nothing about the numbers, which depend on the machine."""
    parser = argparse.ArgumentParser(description="What the studio's page costs a browser.")
    parser.add_argument("--visits", type=int, default=5, help="how many people come (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_studio(Path(folder) / "data") as studio,
        open_browser() as visitor,
    ):
        visits = [one_visit(visitor, studio.url, f"someone{n}") for n in range(options.visits)]
    found = {name: round(statistics.median(one[name] for one in visits), 2) for name in visits[0]}
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.writelines(f"{seconds:6.2f} s  {name}\n" for name, seconds in found.items())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
