"""The environment that a host runs in: is it Python 3.10 with the host's own pins and what `install.py` brings?"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from install import OPTIMIZERS
from tests.webui.installed import Installed

PYTHON = "3.10"
SHIPPED = frozenset({"pip", "setuptools", "wheel", "clip", "clip-anytorch", "ftfy"})
"""What an environment has from its making, and CLIP, which the host takes from its sources, with what that needs."""

ASK = """
import json, platform
from importlib import metadata
found = {one.metadata["Name"]: [one.version, one.requires or []] for one in metadata.distributions()}
print(json.dumps([platform.python_version(), found]))
"""
"""Asks a Python for its version and its packages: name -> version, requirements as the package writes them."""


@dataclass(frozen=True)
class Surroundings:
    """What was found in a host's environment.

    Attributes:
        python: its version.
        torch: the version of PyTorch.
        pins: how many packages the host pins.
        differences: a sentence for each thing that is not as the host's own installation has it.
    """

    python: str
    torch: str
    pins: int
    differences: tuple[str, ...]

    def __str__(self) -> str:
        found = f"Python {self.python}, torch {self.torch}"
        if not self.differences:
            return f"{found}, all {self.pins} pins of its own and what install.py brings, nothing else"
        return "\n  ".join([f"{found}; not as its own installation has it:", *self.differences])


def surroundings(host: Installed) -> Surroundings:
    """Look at the environment of an installed host; nothing of it is started but its Python."""
    told = subprocess.run([host.python, "-c", ASK], capture_output=True, text=True, check=True, timeout=120).stdout
    python, packages = json.loads(told)
    found = {plain(name): version for name, (version, _) in packages.items()}
    needs = {plain(name): wanted for name, (_, wanted) in packages.items()}
    pins = pins_of(host.folder) | pins_in(OPTIMIZERS.values())
    differences = [] if python.startswith(f"{PYTHON}.") else [f"Python is {python}, not {PYTHON}"]
    for name, version in pins.items():
        have = found.get(name)
        if have is None:
            differences.append(f"{name} is missing ({version or 'any version'} is pinned)")
        elif version and not same(have, version):
            differences.append(f"{name} is {have}, not {version}")
    beside = sorted(set(found) - brought({*pins, *SHIPPED}, needs))
    differences += [f"{name} {found[name]} is there, which nothing of the host needs" for name in beside]
    return Surroundings(python, found.get("torch", "none"), len(pins), tuple(differences))


def pins_of(folder: Path) -> dict[str, str]:
    """Return what a host pins: its requirements, and PyTorch as its launcher asks for it ("" for any version)."""
    launcher = (folder / "modules" / "launch_utils.py").read_text(encoding="utf-8")
    asked = re.search(r"pip install (torch==\S+) (torchvision==\S+)", launcher)
    more = re.search(r'"GRADIO_PACKAGE", "([^"]+)"', launcher)  # Forge Neo's page is not among its requirements
    names = [*(asked.groups() if asked else ()), *(more[1].split() if more else ())]
    files = (folder / name for name in ("requirements_versions.txt", "requirements.txt"))
    lines = next(path for path in files if path.is_file()).read_text(encoding="utf-8").splitlines()
    return pins_in(lines) | pins_in(names)


def pins_in(lines: Iterable[str]) -> dict[str, str]:
    """Return name -> version ("" where any will do) of requirements."""
    stripped = [line.partition("#")[0].strip() for line in lines]
    pairs = [re.split(r"[=<>~!]=|[<>]", line, maxsplit=1) for line in stripped if line and not line.startswith("-")]
    return {plain(name.partition("[")[0]): (version[0].strip() if version else "") for name, *version in pairs}


def brought(wanted: Iterable[str], needs: Mapping[str, list[str]]) -> set[str]:
    """Return the names ``wanted`` and all that they need, with the extras that are asked for; no other mark counts."""
    seen: set[tuple[str, str]] = set()
    ahead = [(name, "") for name in wanted]
    while ahead:
        name, extra = ahead.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in needs.get(name, ()):
            condition = re.search(r"""extra\s*==\s*["']([^"']+)""", text)
            if condition is None or condition[1] == extra:
                needed, extras = re.match(r"([\w.-]+)\s*(?:\[([^\]]*)\])?", text).groups()
                ahead += [(plain(needed), each.strip()) for each in ("", *(extras or "").split(","))]
    return {name for name, _ in seen}


def plain(name: str) -> str:
    """Return a package's name in the one spelling that counts."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def same(have: str, pinned: str) -> bool:
    """Tell whether a version is the pinned one; 0.15.0 is 0.15, and a build's mark (+cu121) does not count."""
    first, second = (re.sub(r"(\.0)+$", "", text.partition("+")[0]) for text in (have, pinned))
    return first == second
