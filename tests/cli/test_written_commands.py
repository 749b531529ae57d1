"""Every command that a page of this project writes is one that the program takes; the README's chain runs."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora.cli.main import main, parser, with_negative_values
from lib_lora.demo import settings as demo
from lib_lora.demo.trial import LORA
from tests.short_make import shorten

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")])
OWN = {"setup", "test", "gradio3", "gradio4", "webui-test"}
"""Commands of run.py itself."""

QUICK = {
    "train": ["--steps", "2", "--batch-size", "1"],
    "generate": ["--steps", "1"],
    "analyze": ["--steps", "1", "--width", "64", "--height", "64"],
    "fit": ["--rounds", "1", "--levels", "1"],
}
"""What is added so that a command of the README ends in seconds."""


def written(page: Path) -> Iterator[str]:
    """Yield what stands behind ``python run.py`` on a page, in code spans (over line ends too) and blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`(python run\.py[^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in [*lines, *(" ".join(span.split()) for span in spans)]:
        command = re.split(r"\s#\s", line)[0].strip()
        if command.startswith("python run.py ") and not command.endswith(("…", "...")):
            yield command.removeprefix("python run.py ")


COMMANDS = sorted({(page.relative_to(ROOT).as_posix(), command) for page in PAGES for command in written(page)})


def test_the_pages_are_read() -> None:
    assert len(COMMANDS) > 60
    assert ("README.md", "inspect krnk_share.safetensors") in {
        (page, " ".join(line.split())) for page, line in COMMANDS
    }


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_the_program_takes_a_written_command(page: str, line: str) -> None:
    arguments = shlex.split(line)
    if arguments[0] in OWN:
        return
    if len(arguments) == 1:  # the command is only named
        arguments.append("--help")
    if "--help" in arguments:
        with pytest.raises(SystemExit) as end:
            parser().parse_args(arguments)
        assert end.value.code == 0
    else:
        parser().parse_args(with_negative_values(arguments))


def test_both_readmes_write_the_same_commands() -> None:
    english, japanese = (
        {" ".join(line.split()).removesuffix(" --language ja") for page, line in COMMANDS if page == name}
        for name in ("README.md", "README.ja.md")
    )
    assert english == japanese


def test_the_readmes_chain_runs_from_pictures_to_a_labeled_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shorten(monkeypatch.setattr)
    (tmp_path / "pictures").mkdir()
    for picture in sorted(demo.PICTURES.glob("*.png"))[:3]:
        shutil.copy(picture, tmp_path / "pictures")
    shutil.copy(LORA, tmp_path / "style.safetensors")
    (block,) = [
        text for text in (ROOT / "README.md").read_text(encoding="utf-8").split("```") if "run.py tag pictures" in text
    ]
    lines = [
        shlex.split(re.split(r"\s#\s", line)[0]) for line in block.splitlines() if line.startswith("python run.py ")
    ]
    ran = []
    for _, _, *arguments in lines:
        if arguments[0] == "make":  # minutes; tests/cli/test_make.py runs it
            continue
        assert main([*arguments, *QUICK.get(arguments[0], [])]) == 0, arguments
        ran.append(arguments[0])
    assert len(ran) >= 10
    made = {"a.png", "weights.json", "krnk_face.safetensors", "krnk_small.safetensors", "krnk_plain.safetensors"}
    assert made | {"krnk_share.safetensors", "blocks"} <= {path.name for path in tmp_path.iterdir()}
