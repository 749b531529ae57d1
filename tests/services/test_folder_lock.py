from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib_lora.errors import FileError, InputError
from lib_lora.i18n.error_words import in_words
from lib_lora.services.jobs import folder_lock
from lib_lora.services.jobs.folder_lock import HOLDER, hold

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from pathlib import Path
from lib_lora.services.jobs.folder_lock import hold
with hold(Path(sys.argv[1]), address="http://127.0.0.1:7870/"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.wait()


def test_a_second_studio_is_refused_with_who_has_the_folder(tmp_path, other):
    with pytest.raises(InputError) as caught, hold(tmp_path, address="http://127.0.0.1:7871/"):
        pytest.fail("both have the folder")
    assert caught.value.where == str(tmp_path)
    assert "http://127.0.0.1:7870/" in caught.value.cure
    assert f"process {other.pid}" in caught.value.cure
    what, _, cure = in_words(caught.value, "ja")
    assert "使用中" in what
    assert f"プロセス {other.pid}" in cure


def test_a_killed_studio_holds_nothing(tmp_path, other):
    other.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    other.wait()
    assert (tmp_path / HOLDER).read_bytes()  # what it said of itself is still there
    with hold(tmp_path, address="b"):
        assert b'"b"' in (tmp_path / HOLDER).read_bytes()


def test_the_folder_is_free_again_afterwards_and_others_always_are(tmp_path):
    for _ in range(2):
        with hold(tmp_path / "a", address="a"), hold(tmp_path / "b", address="b"):
            pass
    with (
        hold(tmp_path, address="a"),
        pytest.raises(InputError, match="Another studio"),
        hold(tmp_path, address="c"),
    ):
        pytest.fail("both have the folder")


def test_a_disk_without_locks_is_no_reason_to_stay_closed(tmp_path, monkeypatch, caplog):
    if sys.platform == "win32":
        pytest.skip("flock is not used here")

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    import fcntl

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path, address="a"):
        pass
    assert "cannot be locked" in caplog.text
    assert folder_lock.NAME in caplog.text


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"), hold(tmp_path / "file" / "data", address="a"):
        pytest.fail("There is no such folder")
