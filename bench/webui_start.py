"""What our extension costs a WebUI's start: `WEBUI_DIR=… python bench/webui_start.py [--times 3] [--json]`.

The host is started in turns with and without the extension, on the same data folder, and the medians are compared. The
whole start (on the clock, and the processor time of its process) differs from try to try by more than we cost, mostly
in the import of torch. So the host's own account is taken too, of just those steps of its start in which our code runs.
The first start of each kind only fills the caches and does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.webui.installed import Installed
from tests.webui.live import EXTENSION, ROOT, LiveHost
from tests.webui.material import checkpoint, config_of

OURS = ("lora_block_weight", "lora_atelier")
OUR_STEPS = ("create ui", "scripts before_ui_callback", "app_started_callback")
"""Steps of the host's start, besides the import of our scripts, in which our callbacks are called."""
ALLOWED = 0.3
"""Seconds that our extension may cost."""


def processor_seconds(process: int) -> float:
    """Return the processor time of a process so far (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_start(host: LiveHost, *, with_ours: bool) -> dict[str, float]:
    """Start and stop the host once; return its own total, its processor time, and what it says of our scripts."""
    link = host.data / "extensions" / EXTENSION
    link.unlink(missing_ok=True)
    if with_ours:
        link.symlink_to(ROOT, target_is_directory=True)
    try:
        host.start()
        used = processor_seconds(host.process.pid) if host.process else 0.0
        profile = host.get("/internal/profile-startup")
    finally:
        host.stop()
    records = profile["records"]
    ours = sum(seconds for name, seconds in records.items() if any(word in name for word in OURS))
    steps = {"our scripts": ours} | {step: records.get(step, 0.0) for step in OUR_STEPS}
    return {"total": profile["total"], "processor": used, **steps, "our steps": sum(steps.values())}


def measure(host: LiveHost, times: int) -> dict[str, dict[str, float]]:
    """Return the medians of ``times`` starts with and without our extension, taken in turns."""
    rows: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for number in range(times + 1):
        for with_ours in (True, False):
            row = one_start(host, with_ours=with_ours)
            if number:
                rows[with_ours].append(row)
                sys.stderr.write(f"{'with' if with_ours else 'without'}: {row}\n")
    names = {True: "with", False: "without"}
    return {names[k]: {key: statistics.median(row[key] for row in v) for key in v[0]} for k, v in rows.items()}


def report(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the medians with their differences and ratios."""
    ours, bare = found["with"], found["without"]
    more = {key: round(ours[key] - bare[key], 3) for key in ours}
    ratios = {key: round(ours[key] / bare[key], 3) for key in ("total", "processor")}
    return {**found, "more": more, "ratio": ratios, "allowed": ALLOWED}


def main(arguments: list[str]) -> int:
    """Measure and print; the exit code says nothing about the numbers, which depend on the machine."""
    parser = argparse.ArgumentParser(description="What our extension costs a WebUI's start.")
    parser.add_argument("--times", type=int, default=3, help="starts of each kind that count (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        installed = Installed.at(os.environ["WEBUI_DIR"], os.environ.get("WEBUI_PYTHON", ""))
        # Without a model: it is loaded beside the start, in a thread that takes as much as it gets.
        host = LiveHost(installed, Path(folder) / "data", ["--ui-debug-mode"])
        host.prepare(checkpoint(), config=config_of(checkpoint()), extension=None)
        found = report(measure(host, options.times))
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for name, row in found.items():
            sys.stdout.write(f"{name:>8}  {row}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
