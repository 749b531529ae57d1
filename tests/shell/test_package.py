"""The installed package: what the studio needs is in it, and its extra names what the studio was tried with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import run
from tools import older_gradio

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from what is in the repository alone."""
    folder = tmp_path_factory.mktemp("package")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file() and name.partition("/")[0] not in ("tests", "docs", "bench"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*pip, str(folder / "source")], check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the package, far from the repository; what the package needs is that of these tests."""
    env = tmp_path_factory.mktemp("environment") / "絵"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    older_gradio.see_below(env, Path(sys.prefix))
    python = str(run.python_of(env))
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True, capture_output=True)
    return env


@pytest.fixture
def studio(installed: Path, tmp_path: Path) -> Iterator[str]:
    """The address of the studio that the installed command started."""
    command = [str(run.python_of(installed).with_name("lora-atelier")), "studio", "--json", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--data", str(tmp_path / "data")], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(60)


def test_the_installed_studio_has_its_page_style_and_scripts(studio: str) -> None:
    def read(path: str) -> str:
        return urllib.request.urlopen(studio + path, timeout=60).read().decode()

    assert "LoRA Atelier" in read("en/")
    for name in ("style.css", "lora_atelier.js", "atelier_blocks.js"):
        source = next(ROOT.glob(f"**/{name}")) if name.endswith("css") else ROOT / "javascript" / name
        assert read(f"lora-atelier/v1/page/{name}") == source.read_text(encoding="utf-8")


def test_the_installed_command_calls_itself_by_its_name(installed: Path, tmp_path: Path) -> None:
    command = [str(run.python_of(installed).with_name("lora-atelier")), "bake", "--help"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.startswith("usage: lora-atelier bake")


def test_the_extra_is_what_the_studio_was_tried_with(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        needed = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    extra = {plain(each.replace('extra == "studio"', "")) for each in needed if 'extra == "studio"' in each}
    listed = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8").splitlines()
    assert extra == {plain(line) for line in listed if line and not line.startswith("#")}


def plain(requirement: str) -> str:
    """Return a requirement without blanks, brackets and the joints around a marker that was taken away."""
    return re.sub(r"[\s()'\"]|;?and$|;$", "", requirement.strip()).removesuffix("and").removesuffix(";")
