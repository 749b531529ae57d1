"""`studio`: who may listen, on which port, and that what cannot be right is said before a model is loaded."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lib_lora.__main__ import build_app
from lib_lora.cli import main, studio
from lib_lora.cli.main import parser
from lib_lora.errors import InputError
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.jobs.folder_lock import hold
from lib_lora.services.jobs.job import Job


def command(*arguments: str) -> int:
    """Type `studio` with these arguments, as `python -m lib_lora` hands it on; return its exit code."""
    return main.main(["studio", *arguments], build_app=build_app)


def options(*arguments: str):
    return parser().parse_args(["studio", *arguments])


def test_listening_without_a_password_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--listen") == 2
    assert "Add --auth USER:PASSWORD or --auth-file FILE" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["mika", "mika:", ":word"])
def test_half_a_password_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="USER:PASSWORD"):
        studio.checked_access(options("--auth", text))


def test_password_may_hold_a_colon() -> None:
    assert studio.checked_access(options("--auth", "mika:a:b")) == ("mika", "a:b")


def test_password_comes_from_a_file_or_a_variable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    secret = tmp_path / "secret"
    secret.write_text("\ufeff三日:a word: with more\nsecond line\n", encoding="utf-8")
    secret.chmod(0o600)
    listening = options("--listen", "--auth-file", str(secret))
    assert studio.checked_access(listening) == ("三日", "a word: with more")
    assert "chmod" not in capsys.readouterr().err
    secret.chmod(0o644)
    studio.checked_access(listening)
    assert os.name == "nt" or "chmod 600" in capsys.readouterr().err
    monkeypatch.setenv(studio.AUTH_VARIABLE, "mika:word")
    assert studio.checked_access(options("--listen")) == ("mika", "word")
    assert studio.AUTH_VARIABLE not in os.environ


@pytest.mark.parametrize("content", [None, b"", b"\n", b"mika\n", b":word", b"\xff\xfe\0"])
def test_a_file_without_a_password_opens_no_studio(tmp_path: Path, content: bytes | None, capsys) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    assert command("--listen", "--auth-file", str(tmp_path / "secret")) in (1, 2)
    assert "--auth-file" in capsys.readouterr().err


def test_one_password_at_a_time(capsys) -> None:
    with pytest.raises(SystemExit):
        options("--auth", "a:b", "--auth-file", "x")
    assert "not allowed with" in capsys.readouterr().err


def test_listening_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    studio.checked_access(options("--listen", "--auth", "mika:word"))
    assert "unencrypted" in capsys.readouterr().err


def test_only_this_machine_is_answered_unless_asked() -> None:
    with studio.bind(options("--port", "0")) as door:
        assert door.getsockname()[0] == "127.0.0.1"
    with studio.bind(options("--port", "0", "--listen")) as door:
        assert door.getsockname()[0] == "0.0.0.0"


def test_taken_port_is_said_and_the_usual_one_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InputError, match="not free"):
            studio.bind(options("--port", str(taken)))
        monkeypatch.setattr(studio, "PORT", taken)
        with studio.bind(options()) as door:
            assert taken < door.getsockname()[1] < taken + studio.TRIES


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_impossible_port_is_said(port: str) -> None:
    with pytest.raises(InputError, match="not free"):
        studio.bind(options("--port", port))


def test_missing_model_is_said_before_anything_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--port", "0", "--data", str(tmp_path / "data"), "--model", str(tmp_path / "no.safetensors")]
    assert command("--no-browser", *arguments) == 2
    assert "no such model file" in capsys.readouterr().err


def test_a_data_folder_in_use_is_refused_before_a_model_is_loaded(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(studio, "open_atelier", lambda _: pytest.fail("a second studio was opened"))
    arguments = ["--no-browser", "--port", "0", "--data", str(tmp_path)]
    with hold(tmp_path.resolve(), address="http://127.0.0.1:7870/"):
        assert command(*arguments) == 2
    said = capsys.readouterr().err
    assert "Another studio uses this data folder" in said
    assert "http://127.0.0.1:7870/" in said


def test_ending_waits_until_the_running_job_has_saved(tmp_path: Path) -> None:
    atelier = Atelier(host=None, folders=Folders.under(tmp_path))  # type: ignore[arg-type]
    saved = []

    def work(job: Job) -> None:
        while not job.stopped:
            job.update(1, 2, "")
        saved.append(job.title)

    running = atelier.queue.submit("train", "krnk_v1", work)
    waiting = atelier.queue.submit("generate", "a picture", work)
    running.wait(5, newer_than=1)
    studio.finish(atelier)
    assert saved[:1] == ["krnk_v1"]
    assert waiting.wait(5)
    assert saved == ["krnk_v1"]
