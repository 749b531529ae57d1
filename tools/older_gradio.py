"""The tests of the panels under an older gradio: `python run.py gradio3 [ARGS]` and `python run.py gradio4 [ARGS]`.

3.41.2 is that of AUTOMATIC1111's WebUI, 4.40.0 that of the Forge family. The environment .venv-gradio3 (or 4) holds
only what differs (requirements/gradio3.txt, half a minute); the rest its Python finds in .venv, after its own. Made by
run.py's rules: once, stamped, one start at a time. ARGS go to pytest; without a path among them it runs the panels'
tests: all that need no browser, and of the others those marked `each_gradio`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import run
from tools import suite

TESTS = ("tests/ui", "tests/web/test_guard.py", "tests/webui/test_entry.py")
CHOSEN = ("-m", "not browser or each_gradio")


def environment(root: Path, name: str) -> Path:
    """Return the folder of an overlay, gradio3 or gradio4."""
    return root / f".venv-{name}"


def overlay_key(root: Path, name: str) -> str:
    """Return a hash of what .venv and the overlay are made from."""
    wanted = (root / "requirements" / f"{name}.txt").read_bytes().replace(b"\r\n", b"\n")
    return hashlib.sha256(run.wanted_key(root).encode() + wanted).hexdigest()


def see_below(env: Path, base: Path) -> None:
    """Let the Python of `env` find the packages of `base` too, after its own."""
    library = run.library_of(env)
    # Relative, so that the project may be moved, and no letter of its path depends on the system's encoding.
    below = os.path.relpath(run.library_of(base), library)
    (library / "below.pth").write_text(below + "\n", encoding="ascii")


def set_up(root: Path, name: str, key: str, lock: int) -> None:
    """Make the overlay; call with the lock held and with .venv ready."""
    env, log = environment(root, name), root / f".venv-{name}-install.log"
    if not run.fault(env, key):
        return
    began = time.monotonic()
    run.say(f"setting up {env} (once; half a minute). The log is {log.name}.")
    run.create(env, key, log, lock, bare=True)
    see_below(env, root / ".venv")  # pip itself comes from there too
    wanted = str(root / "requirements" / f"{name}.txt")
    run.install(env, [["--ignore-installed", "--no-deps", "-r", wanted]], log, lock)
    run.write_stamp(env, "ready", key)
    run.say(f"ready after {time.monotonic() - began:.0f} s.")


def pytest_arguments(root: Path, arguments: list[str], count: int) -> list[str]:
    """Return the arguments for pytest: the usual tests in ``count`` processes, unless they name some."""
    return (
        arguments if suite.named(root, arguments) else [*suite.sharing(arguments, count), *TESTS, *CHOSEN, *arguments]
    )


def start(root: Path, name: str, arguments: list[str]) -> int:
    """Make the overlay if needed and become its pytest."""
    key, env = overlay_key(root, name), environment(root, name)
    if run.fault(env, key):
        with run.locked(root) as lock:
            set_up(root, name, key, lock)
    given = pytest_arguments(root, arguments, suite.processes())
    shared = suite.variables(given) if "-n" in given else {}
    run.become(env, ["-m", "pytest", *given], run.child_env() | shared)


def main(arguments: list[str], root: Path = run.ROOT) -> int:
    """Run the tests and return their exit code; the first argument names the overlay."""
    name, *rest = arguments
    return run.answered(root, lambda: start(root, name, rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
