"""Start LoRA Atelier: `python run.py demo`, `python run.py test`, `python run.py COMMAND ...`.

The first start sets up everything in the folder .venv beside this file; later starts only look at its stamp. This file
needs nothing but Python, and its syntax stays readable for Python 3.6, so that an old Python gets a sentence.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time

if sys.version_info < (3, 10):
    sys.exit(
        f"LoRA Atelier needs Python 3.10 or newer; this is Python {sys.version.split()[0]} ({sys.executable}). "
        "Start run.py with a newer one, for example: python3.12 run.py demo"
    )

from collections.abc import Callable, Iterator  # below the check: Python 3.6 must get that far
from pathlib import Path
from typing import NoReturn, TextIO

ROOT = Path(__file__).resolve().parent
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
STAMP = "lora-atelier.json"  # in .venv; written first as "building" and last as "ready"
LOG = ".venv-install.log"
OVERLAYS = ("gradio3.txt", "gradio4.txt")  # not for .venv: tools/older_gradio.py lays each over .venv, in another one
LIMITS = "versions.txt"  # pins what the other requirement files bring along
ALONE = "alone.txt"  # packages of which only the files are used: installed without what they need to run
# commands that run in the project's folder -> their module and its first arguments
IN_PROJECT = {"test": ("tools.suite",), "webui-test": ("tools.webui",)}
IN_PROJECT.update({name: ("tools.older_gradio", name) for name in ("gradio3", "gradio4")})
STARTED_IN = "LORA_ATELIER_STARTED_IN"  # the variable that tells those commands where relative paths begin
USAGE = """LoRA Atelier

  python run.py studio          the web app in the browser
  python run.py demo            the whole life of a LoRA on this machine, with a report
  python run.py test [ARGS]     the tests; ARGS go to pytest
  python run.py gradio3 [ARGS]  the tests of the panels under the older gradio of AUTOMATIC1111's WebUI
  python run.py gradio4 [ARGS]  the same under that of the Forge family
  python run.py webui-test --webui DIR
                                the live tests on an installed WebUI (docs/hosts.md)
  python run.py setup           only set up .venv
  python run.py COMMAND [ARGS]  any command of `python -m lib_lora`; `python run.py --help` lists them after the set-up

The first start sets up .venv beside run.py (several minutes, and disk space for PyTorch).
"""
CAUSES = (  # a pattern in pip's log -> what it means, what to do; the first that fits is said
    (
        r"No space left on device|Errno 28\b",
        "the disk is full",
        "Free some space (PyTorch alone takes 1 to 6 GB) and start again.",
    ),
    (
        r"connection broken by|NewConnectionError|ConnectionError|name resolution|getaddrinfo|timed out|ProxyError"
        r"|CERTIFICATE_VERIFY_FAILED|SSLError",
        "the package registry could not be reached",
        "Look at the network, proxy and pip settings (`pip config list`) and start again; what has arrived is kept.",
    ),
    (
        r"No matching distribution found for|is not a supported wheel",
        "a package is not offered for this Python and system",
        "Start run.py with a 64-bit Python 3.10 to 3.13, for example: python3.12 run.py demo",
    ),
    (
        r"Permission denied|Access is denied|WinError (5|32)\b|Errno 13\b",
        "a file could not be written",
        "Close other programs that use this folder, see that you may write here, and start again.",
    ),
)


class SetupError(Exception):
    """The set-up cannot go on; the text says what, where and the cure."""


def say(text: str) -> None:
    """Write one line to stderr: stdout belongs to the command that was asked for."""
    sys.stderr.write("LoRA Atelier: " + text + "\n")
    sys.stderr.flush()


def python_of(env: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return env / "Scripts" / "python.exe" if os.name == "nt" else env / "bin" / "python"


def library_of(env: Path) -> Path:
    """Return the folder that the packages of a virtual environment are in."""
    return env / "Lib" / "site-packages" if os.name == "nt" else env / "lib" / f"python{VERSION}" / "site-packages"


def packages_of(env: Path) -> set[str]:
    """Return the names in the environment's site-packages, empty when there is no such folder."""
    try:
        return {name for name in os.listdir(library_of(env)) if name != "__pycache__"}
    except OSError:
        return set()


def requirement_files(root: Path) -> list[Path]:
    """Return the files that say what .venv gets, in a fixed order."""
    files = sorted(file for file in (root / "requirements").glob("*.txt") if file.name not in OVERLAYS)
    if not files:
        raise SetupError(f"The requirement files are missing in {root / 'requirements'}. Get the whole project again.")
    return files


def wanted_key(root: Path) -> str:
    """Return a hash of the requirements, of this Python's version and of the system."""
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {sys.platform} {sys.maxsize}".encode())
    for file in requirement_files(root):
        digest.update(file.name.encode() + b"\n" + file.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def read_stamp(env: Path) -> dict[str, object] | None:
    """Return the stamp, {} for an unreadable one, None where run.py did not make the folder."""
    try:
        stamp = json.loads((env / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(env: Path, state: str, key: str) -> None:
    """Replace the stamp in one step, so that a killed start leaves either the old or the new one."""
    stamp = {"state": state, "key": key, "packages": sorted(packages_of(env))}
    part = env / (STAMP + ".part")
    part.write_text(json.dumps(stamp), encoding="utf-8")
    os.replace(part, env / STAMP)


def fault(env: Path, key: str) -> str:
    """Return why an environment cannot be used as it is, "" when it can; takes milliseconds."""
    stamp = read_stamp(env)
    if not os.path.lexists(env):
        return "missing"
    if stamp is None:
        return "foreign"
    if stamp.get("state") != "ready":
        return "half-made"
    if not python_of(env).exists():
        return "broken: its Python is gone"
    if stamp.get("key") != key:
        return "older than this version or made with another Python"
    packages = stamp.get("packages")
    lost = sorted(set(packages) - packages_of(env)) if isinstance(packages, list) else ["its list of packages"]
    return f"broken: {lost[0]} is gone" if lost else ""


@contextlib.contextmanager
def locked(root: Path) -> Iterator[int]:
    """Hold the set-up lock, which the system itself lets go when its last holder ends, killed or not.

    Yields:
        the lock's file descriptor; pip inherits it, so that an orphaned pip still keeps a second start waiting.
    """
    handle = os.open(root / ".venv.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        told = False
        while not try_lock(handle):
            if not told:
                say("another start is setting up .venv; waiting for it.")
            told = True
            time.sleep(0.2)
        yield handle
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Take the lock if nobody has it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def child_env() -> dict[str, str]:
    """Return the environment for .venv's Python: without what another Python's set-up left in it."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET")}
    return {**env, "PYTHONNOUSERSITE": "1", "PIP_USER": "0"}


def call(command: list[str], log: Path, lock: int, heard: Callable[[str], None]) -> int:
    """Run a command of the set-up with its output in the log, hand every line to `heard`, return the exit code."""
    keep = {} if os.name == "nt" else {"pass_fds": (lock,)}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with log.open("a", encoding="utf-8", errors="replace") as out:
        out.write("$ " + " ".join(command) + "\n")
        out.flush()
        with subprocess.Popen(command, env=child_env(), **pipes, **keep) as process:
            try:
                for raw in process.stdout or ():
                    line = raw.decode("utf-8", "replace")
                    out.write(line)
                    out.flush()
                    heard(line.rstrip())
                return process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()


class Progress:
    """Says in calm words what pip does: one line that renews itself in a terminal, a few lines elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.live = stream, stream.isatty()
        self.count, self.width = 0, 0

    def __call__(self, line: str) -> None:
        """Take one line of pip's output."""
        collected = re.match(r"Collecting ([\w.\-]+)", line)
        fetched = re.match(r"\s+Downloading ([\w.]+?)-.*\(([\d.]+) MB\)", line)
        if collected:
            self.count += 1
            self.show(f"  package {self.count}: {collected[1]}")
        elif fetched:
            self.show(f"  package {self.count}: {fetched[1]}, {fetched[2]} MB", plain=float(fetched[2]) >= 50)
        elif line.startswith("Installing collected packages:"):
            self.show(f"  unpacking {line.count(',') + 1} packages (a minute or more)", plain=True)

    def show(self, text: str, *, plain: bool = False) -> None:
        """Show a line; where it cannot be renewed, only the few lines that tell of a long wait (`plain`)."""
        if self.live:
            self.stream.write("\r" + text[:78].ljust(self.width))
            self.width = min(len(text), 78)
        elif plain:
            self.stream.write(text + "\n")
        self.stream.flush()

    def done(self) -> None:
        """End the line that renews itself."""
        if self.live and self.width:
            self.stream.write("\n")


def failure(what: str, log: Path) -> SetupError:
    """Build the sentence for a step that failed: the cause that the log shows, pip's last lines, and the cure."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    step = lines[max((i for i, line in enumerate(lines) if line.startswith("$ ")), default=0) + 1 :]
    text = "\n".join(step)
    known = [(cause, cure) for pattern, cause, cure in CAUSES if re.search(pattern, text)]
    cause, cure = known[0] if known else ("the reason stands in the log", "Read its end, and start again.")
    errors = [line for line in step if line.startswith("ERROR:")] or step[-3:]
    shown = "".join("\n  | " + line[:300] for line in errors[-3:])
    return SetupError(f"{what}: {cause}. {cure}\n  Everything that was said is in {log}{shown}")


def clear_away(env: Path, reason: str) -> None:
    """Remove an environment of ours; set one that run.py did not make aside, because it may be somebody's work."""
    if reason == "foreign":
        aside = env.with_name(time.strftime(".venv-kept-%Y%m%d-%H%M%S"))
        os.rename(env, aside)
        say(f"there is a {env.name} that run.py did not make; it is kept as {aside.name}.")
    elif reason != "missing":
        say(f"{env.name} is {reason}; it is made again.")
        shutil.rmtree(env)


def need_venv_module() -> None:
    """Check that this Python can make virtual environments (Debian ships that part apart)."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"This Python ({sys.executable}) lacks the modules venv and ensurepip. "
            f"On Debian or Ubuntu: sudo apt install python3-venv (or python{VERSION}-venv); then start again."
        )


def create(env: Path, key: str, log: Path, lock: int, *, bare: bool = False) -> None:
    """Make an empty environment in place of what is there, without pip where it is `bare`; call with the lock held."""
    need_venv_module()
    clear_away(env, fault(env, key))
    env.mkdir()
    write_stamp(env, "building", key)
    log.write_text("", encoding="utf-8")
    extra = ["--without-pip"] if bare else []
    if call([sys.executable, "-m", "venv", *extra, str(env)], log, lock, heard=lambda line: None):
        raise failure("the virtual environment could not be made", log)


def install(env: Path, steps: list[list[str]], log: Path, lock: int) -> None:
    """Run pip in an environment, once for each list of arguments."""
    pip = [str(python_of(env)), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    pip += ["--progress-bar", "off", "--retries", "3"]
    progress = Progress(sys.stderr)
    try:
        for arguments in steps:
            if call(pip + arguments, log, lock, heard=progress):
                raise failure("the packages could not be installed", log)
    finally:
        progress.done()


def set_up(root: Path, key: str, lock: int) -> None:
    """Make .venv, or bring one with older requirements up to date; call with the lock held."""
    env, log = root / ".venv", root / LOG
    reason = fault(env, key)
    if not reason:
        return
    if Path(sys.prefix).resolve() == env.resolve():
        raise SetupError(f".venv is {reason}, and this Python runs inside it. Type `deactivate`, then start again.")
    began = time.monotonic()
    say(f"setting up {env} (once; several minutes, PyTorch is large). The log is {LOG}.")
    create(env, key, log, lock)
    files = requirement_files(root)
    asked = [part for f in files if f.name != ALONE for part in ("-c" if f.name == LIMITS else "-r", str(f))]
    alone = [part for f in files if f.name == ALONE for part in ("--no-deps", "-r", str(f))]
    install(env, [step for step in (asked, alone) if step], log, lock)
    write_stamp(env, "ready", key)
    say(f"ready after {time.monotonic() - began:.0f} s.")


def ensure_ready(root: Path) -> None:
    """Return once .venv is usable: at once when its stamp says so, else after the set-up."""
    key = wanted_key(root)
    if fault(root / ".venv", key):
        with locked(root) as lock:
            set_up(root, key, lock)


def launch(root: Path, arguments: list[str]) -> NoReturn:
    """Become the command: its exit code and its signals are ours."""
    env = child_env()
    if arguments and arguments[0] in IN_PROJECT:
        env[STARTED_IN] = os.getcwd()
        os.chdir(root)
        command = ["-m", *IN_PROJECT[arguments[0]], *arguments[1:]]
    else:
        # The user's folder stays the current one, for relative paths; where Python can (-P), nothing in it is imported.
        env["PYTHONPATH"] = str(root)
        command = [*(["-P"] if sys.version_info >= (3, 11) else []), "-m", "lib_lora", *arguments]
    become(root / ".venv", command, env)


def become(env: Path, command: list[str], variables: dict[str, str]) -> NoReturn:
    """Become the Python of an environment, with these arguments and environment variables."""
    command = [str(python_of(env)), *command]
    try:
        if os.name != "nt":
            os.execve(command[0], command, variables)
        process = subprocess.Popen(command, env=variables)
    except OSError as error:
        cure = f"Delete the folder {env} and start again."
        raise SetupError(f"The Python in {env.name} does not start: {error.strerror}. {cure}") from error
    while True:  # Ctrl-C reaches the command itself; its own way of ending decides
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(process.wait())


def start(root: Path, arguments: list[str]) -> int:
    """Set up if needed, then run the command; returns only when there is nothing to run."""
    asks_help = arguments in ([], ["-h"], ["--help"])
    if asks_help and fault(root / ".venv", wanted_key(root)):
        sys.stdout.write(USAGE)
        return 0 if arguments else 2
    ensure_ready(root)
    if arguments != ["setup"]:
        launch(root, arguments)
    return 0


def answered(root: Path, work: Callable[[], int]) -> int:
    """Return the exit code of `work`; what ends it becomes a sentence."""
    try:
        return work()
    except KeyboardInterrupt:
        say("stopped. The next start takes it up again.")
        return 130
    except SetupError as error:
        say(str(error))
    except OSError as error:
        say(f"{error.strerror or error}: {error.filename or root}. See that you may write there, then start again.")
    return 1


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Run the command of these arguments and return its exit code."""
    return answered(root, lambda: start(root, arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
