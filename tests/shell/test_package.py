"""The installed package: what the studio needs is in it, and its extra names what the studio was tried with."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import run
from lib_lora.formats.lora import LoraFile, write_lora
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
def started(installed: Path, tmp_path: Path) -> Iterator[str]:
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


def test_the_installed_studio_has_its_page_style_and_scripts(started: str) -> None:
    def read(path: str) -> str:
        return urllib.request.urlopen(started + path, timeout=60).read().decode()

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


def test_everything_that_is_imported_comes_with_the_extra(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        asked = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
        sources = [archive.read(each).decode() for each in archive.namelist() if each.endswith(".py")]
    brought, waiting = set(), [Requirement(each) for each in asked]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in brought or (one.marker is not None and not one.marker.evaluate({"extra": "studio"})):
            continue
        with contextlib.suppress(metadata.PackageNotFoundError):  # of another system
            waiting += [Requirement(each) for each in metadata.distribution(name).requires or [] if "extra" not in each]
            brought.add(name)
    imported = {found.partition(".")[0] for source in sources for found in imports_of(source)}
    theirs = imported - set(sys.stdlib_module_names) - {"lib_lora"}
    homes = metadata.packages_distributions()
    missing = {found for found in theirs if not brought & set(map(canonicalize_name, homes.get(found, ())))}
    assert missing == OF_THE_HOST | OF_THE_USER
    assert {"gradio", "diffusers", "yaml", "tqdm", "psutil", "uvicorn"} <= theirs


OF_THE_HOST = {"backend", "ldm", "modules", "sgm", "tomli"}
"""WebUIs' own modules, and what only Python 3.10 needs for TOML."""
OF_THE_USER = {"animeface", "onnxruntime"}
"""For models that somebody has; a sentence says how to get them."""


def imports_of(source: str) -> Iterator[str]:
    """Yield the modules that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def plain(requirement: str) -> str:
    """Return a requirement without blanks, brackets and the joints around a marker that was taken away."""
    return re.sub(r"[\s()'\"]|;?and$|;$", "", requirement.strip()).removesuffix("and").removesuffix(";")


BARE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Missing())
import lib_lora
lora = lib_lora.read_lora("a.safetensors")
baked, _ = lib_lora.bake(lora, "OUTALL")
lib_lora.add([(lora, 0.5), (lora, 0.5)])
lib_lora.write_lora(baked, "baked.safetensors")
from lib_lora.cli.main import main
print(main(["bake", "a.safetensors", "--weights", "OUTALL", "--out", "b.safetensors"]))
print(main(["compress", "a.safetensors", "--rank", "1", "--out", "c.safetensors"]))
print(main(["inspect", "a.safetensors", "--json"]))
print(main(["generate", "--prompt", "a", "--out", "a.png"]))
"""


def test_files_are_worked_on_without_the_studios_packages(installed: Path, tmp_path: Path, lora: LoraFile) -> None:
    listed = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8").splitlines()
    core = {"torch", "numpy", "pillow", "safetensors"}
    names = {plain(line).partition("==")[0] for line in listed if line and line[0] != "#"} - core
    missing = {name.replace("-", "_") for name in names} | {"tqdm", "yaml", "psutil"}
    write_lora(lora, tmp_path / "a.safetensors")
    command = [str(run.python_of(installed)), "-c", BARE.format(missing=missing)]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = [line for line in made.stdout.splitlines() if line in "0123"]
    assert said == ["0", "0", "0", "1"], made.stderr
    assert "Install the packages of the studio" in made.stderr
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {
        f"{n}.safetensors" for n in ("a", "b", "c", "baked")
    }
