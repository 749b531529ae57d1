"""What waiting threads cost beside other work: `python bench/threads.py [--load 4] [--times 3] [--json]`.

The pocket model draws in processes of its own, in turns: with OpenMP's threads spinning (ACTIVE) or asleep while they
wait (PASSIVE), with one thread and with all, beside `--load` other processes. Ratios within one run are what counts:
PASSIVE with all threads is 1; our own processes give the pocket model half of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lib_lora.process import cores  # noqa: E402

DRAW = """
import time
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio import StudioHost
host = StudioHost.open(device="cpu")
host.generate(GenerateRequest("red apple", steps=1))
began = time.monotonic()
host.generate(GenerateRequest("red apple", steps=4))
print(time.monotonic() - began)
"""


def seconds(policy: str, threads: int) -> float:
    """Return the seconds of a picture of four steps in a process of its own."""
    more = {"OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    made = subprocess.run([sys.executable, "-c", DRAW], env={**os.environ, **more}, capture_output=True, check=True)
    return float(made.stdout)


def measure(times: int) -> dict[str, float]:
    """Return the median seconds of each kind, measured in turns so that a busy minute meets all of them."""
    kinds = [(policy, threads) for policy in ("PASSIVE", "ACTIVE") for threads in sorted({1, cores()})]
    rows: dict[tuple[str, int], list[float]] = {kind: [] for kind in kinds}
    for _ in range(times):
        for kind in kinds:
            rows[kind].append(seconds(*kind))
    return {f"{policy} {threads}": statistics.median(rows[policy, threads]) for policy, threads in kinds}


def main() -> None:
    """Measure beside other work and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=int, default=2 * cores(), help="busy processes beside it (default: %(default)s)")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.load)]
    try:
        found = measure(options.times)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    usual = found[f"PASSIVE {cores()}"]
    result = {"load": options.load, "seconds": found, "ratio": {kind: one / usual for kind, one in found.items()}}
    print(json.dumps(result) if options.json else "\n".join(f"{kind}: {one:.2f} s" for kind, one in found.items()))


if __name__ == "__main__":
    main()
