"""Run by the WebUI at every start: adds our small optimizers where they are missing, and nothing else.

No package of the host is touched: what is there, in any version, stays, and `--no-deps` keeps pip from bringing more.
A failure is one sentence in the log; the WebUI starts all the same, and the optimizer is not offered.
"""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping

logger = logging.getLogger("lora_atelier.install")

# The module that must be importable -> what pip is asked for.
OPTIMIZERS: Mapping[str, str] = {
    "lion_pytorch": "lion-pytorch==0.2.5",
    "dadaptation": "dadaptation==3.2",
    "prodigyopt": "prodigyopt==1.1.2",
}


def missing(wanted: Mapping[str, str]) -> list[str]:
    """Return what pip must be asked for: the modules that this Python does not find (none is imported)."""
    return [requirement for module, requirement in wanted.items() if importlib.util.find_spec(module) is None]


def pip_of_host() -> Callable[[str, str], object]:
    """Return the host's `launch.run_pip`, which obeys --skip-install, or our own where there is none."""
    if importlib.util.find_spec("launch") is not None:
        import launch

        if hasattr(launch, "run_pip"):
            return launch.run_pip
    return run_pip


def run_pip(command: str, description: str) -> None:
    """Run pip in this Python; raises RuntimeError with what pip said."""
    logger.info("installing %s", description)
    pip = [sys.executable, "-m", "pip", *command.split(), "--no-input", "--disable-pip-version-check"]
    result = subprocess.run(pip, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if result.returncode:
        raise RuntimeError(result.stderr or result.stdout)


def reason_of(error: Exception) -> str:
    """Return the one line that tells most: pip's last ERROR line, else the last line, else the kind of error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = [line for line in lines if line.startswith("ERROR:")] or lines
    return told[-1].removeprefix("ERROR:").strip().rstrip(".")


def install_missing(wanted: Mapping[str, str] = OPTIMIZERS) -> list[str]:
    """Install what is missing, each on its own; return what could not be installed."""
    failed = []
    for requirement in missing(wanted):
        try:
            pip_of_host()(f"install --no-deps {requirement}", f"{requirement} for LoRA Atelier")
        except Exception as error:  # the outermost hook: nothing of ours may stop the host's start
            logger.warning(
                "LoRA Atelier: the optimizer %s could not be installed: %s. Everything else works; "
                "to have it: pip install --no-deps %s",
                requirement,
                reason_of(error),
                requirement,
            )
            failed.append(requirement)
    return failed


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    install_missing()
