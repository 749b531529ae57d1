"""What the panels remember: written soon, whole, and never in the way."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from lib_lora.services import settings as module
from lib_lora.services.atelier import Folders
from lib_lora.services.settings import Settings


def test_value_is_there_at_once_and_in_the_file_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELAY", 0.01)
    settings = Settings(tmp_path / "settings.json")
    settings.put("generate.steps", 12)
    assert settings.get("generate.steps") == 12
    end = time.monotonic() + 5
    while not settings.path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert json.loads(settings.path.read_text(encoding="utf-8")) == {"generate.steps": 12}


def test_closing_writes_what_still_waits(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.json")
    settings.put("train.kind", "画風")
    settings.close()
    assert Settings(tmp_path / "settings.json").get("train.kind") == "画風"


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\udcff"])
def test_broken_file_means_nothing_is_remembered(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert Settings(path).get("generate.steps", 20) == 20


def test_what_json_cannot_hold_is_left_out(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.json")
    settings.put("generate.picture", object())
    settings.close()
    assert settings.get("generate.picture") is None


def test_disk_that_refuses_stops_no_work(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "missing" / "settings.json")
    settings.put("generate.steps", 12)
    settings.close()
    assert settings.get("generate.steps") == 12


@pytest.mark.skipif(os.name == "nt", reason="a Unix has these modes")
def test_what_is_remembered_is_nobody_elses_business(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path / "new" / "data")
    settings = Settings(folders.data / "settings.json")
    settings.path.write_text("{}", encoding="utf-8")
    settings.path.chmod(0o644)
    settings.put("generate.prompt", "a secret")
    settings.close()
    assert settings.path.stat().st_mode & 0o777 == 0o600
    assert folders.data.stat().st_mode & 0o777 == 0o700
    open_to_all = tmp_path / "shared"
    open_to_all.mkdir(mode=0o755)
    assert Folders.under(open_to_all).data.stat().st_mode & 0o777 == 0o755  # whoever shares a folder keeps it so
