"""The library: every example of docs/python.md runs, and what one call gives is what tag, page and terminal give."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lib_lora
from lib_lora.demo.settings import PICTURES
from lib_lora.errors import InputError
from tests.conftest import random_lora
from tests.short_make import shorten

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)


def test_every_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "loras").mkdir()
    (tmp_path / "pictures").mkdir()
    for picture in sorted(PICTURES.glob("*.png"))[:2]:
        (tmp_path / "pictures" / picture.name).write_bytes(picture.read_bytes())
        (tmp_path / "pictures" / f"{picture.stem}.txt").write_text("krnk, smile", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shorten(monkeypatch.setattr)
    space: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/python.md", "exec"), space)
    assert len(EXAMPLES) == 11
    assert {name for name in lib_lora._MODULE_OF if f"lib_lora.{name}" not in "".join(EXAMPLES)} == set()
    assert (tmp_path / "loras" / "krnk_small.safetensors").is_file()
    assert (tmp_path / "before_after.png").stat().st_size > 10_000
    assert (tmp_path / "krnk.png").stat().st_size > 1000
    assert "OUT03" in capsys.readouterr().out


def test_the_import_loads_nothing_and_offers_every_name():
    code = "import lib_lora, sys; print('torch' in sys.modules, *[n for n in dir(lib_lora) if n[0] != '_'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    loaded, *names = said.split()
    assert loaded == "False"
    assert set(names) >= {"read_lora", "attach", "bake", "add", "compress", "analyze", "train_lora", "open_studio"}
    for name in set(lib_lora._MODULE_OF):
        assert getattr(lib_lora, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lib_lora.nothing  # noqa: B018


OUTALL = {"BASE": 1.0, **{f"OUT{number:02d}": 1.0 for number in range(3, 12)}}


@pytest.mark.parametrize("weights", ["OUTALL", ",".join("1" + "0" * 7 + "1" * 9), OUTALL])
def test_weights_mean_the_same_in_every_form(model, weights):
    numbers = lib_lora.multipliers(random_lora(model), weights)
    assert {block: value for block, value in numbers.items() if value} == OUTALL | {"other": 1.0}


def test_a_number_is_every_blocks_and_a_block_that_is_none_is_refused(model):
    lora = random_lora(model)
    assert set(lib_lora.multipliers(lora, 0.5).values()) == {0.5}
    assert lib_lora.multipliers(lora, {"other": 0.25, "M00": 1})["other"] == 0.25
    for nothing in ("", [], ()):
        with pytest.raises(lib_lora.AtelierError, match="no block weights"):
            lib_lora.multipliers(lora, nothing)
    with pytest.raises(InputError, match="OUT12"):
        lib_lora.multipliers(lora, {"OUT12": 1})


def test_a_sum_is_exact(model):
    lora = random_lora(model)
    both, report = lib_lora.add([(lora, 0.25), (lora, 0.5)])
    key = next(iter(lora.adapters))
    assert torch.allclose(both.adapters[key].delta(), 0.75 * lora.adapters[key].delta(), atol=1e-5)
    assert report.relative_error < 1e-5
