"""What the server gives to whom: live pieces, files of its folders and no others, the right language, no strangers."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.run_report import write_run_report
from lib_lora.train.options import TrainOptions
from lib_lora.train.run_folder import RunFolder
from lib_lora.web.guard import Guard
from lib_lora.web.routes import BASE, add_routes, add_studio_routes, best_language, file_url, report_url

LOCAL = "http://127.0.0.1:7870"


@pytest.fixture
def atelier(tmp_path: Path) -> Atelier:
    return Atelier(host=None, folders=Folders.under(tmp_path / "data"))  # type: ignore[arg-type]


def client(atelier: Atelier, **guard: object) -> TestClient:
    app = FastAPI()
    add_routes(app, atelier)
    add_studio_routes(app)
    return TestClient(Guard(app, **guard), base_url=LOCAL, follow_redirects=False)  # type: ignore[arg-type]


def test_live_piece_is_sent_only_when_it_changed(atelier: Atelier) -> None:
    said = ["one"]
    atelier.live.add("train_run", lambda words: f"{said[0]} {words.language}")
    web = client(atelier)
    first = web.get(f"{BASE}/live/train_run?lang=ja").json()
    assert first["html"] == "one ja"
    assert web.get(f"{BASE}/live/train_run?lang=ja&seen={first['version']}").json()["html"] is None
    said[0] = "two"
    assert web.get(f"{BASE}/live/train_run?lang=ja&seen={first['version']}").json()["html"] == "two ja"
    assert web.get(f"{BASE}/live/nobody").status_code == 404


def test_file_of_a_served_folder_is_found_by_its_address(atelier: Atelier) -> None:
    sample = atelier.folders.runs / "krnk v1" / "samples" / "あ#1.png"
    sample.parent.mkdir(parents=True)
    sample.write_bytes(b"picture")
    answer = client(atelier).get(file_url(atelier.folders, sample))
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"picture", "image/png")


def test_report_page_may_show_and_not_run(atelier: Atelier) -> None:
    (atelier.folders.runs / "a").mkdir()
    page = atelier.folders.runs / "a" / "report.html"
    page.write_text("<script>alert(1)</script>", encoding="utf-8")
    policy = client(atelier).get(file_url(atelier.folders, page)).headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "script-src" not in policy
    assert "default-src 'none'" in policy


def finished_run(atelier: Atelier, name: str, language: str) -> Path:
    """Make the folder of a run of three steps, with the report that its starter got."""
    folder = RunFolder.create(atelier.folders.runs / name, TrainOptions(images=str(atelier.folders.pictures), name="x"))
    for step in range(1, 4):
        folder.log({"step": step, "loss": 0.5, "mean": 0.5})
    folder.save_json("status.json", {"state": "done", "total": 3, "language": language})
    write_run_report(folder, language)
    return folder.path / "report.html"


@pytest.mark.parametrize("starter", ["en", "ja"])
def test_a_runs_report_is_in_the_language_of_whoever_looks(atelier: Atelier, starter: str) -> None:
    page = finished_run(atelier, "絵 v1", starter)
    web = client(atelier)
    for language in ("en", "ja"):
        answer = web.get(report_url(atelier.folders, page, language))
        assert answer.status_code == 200
        assert f'<html lang="{language}"' in answer.text
        assert Words(language)("train.report_numbers") in answer.text
        assert answer.headers["content-security-policy"].startswith("sandbox;")


def test_a_report_that_cannot_be_drawn_is_shown_as_it_was_written(atelier: Atelier) -> None:
    page = finished_run(atelier, "a", "ja")
    address = report_url(atelier.folders, page, "en")
    (page.parent / "options.json").write_text("broken", encoding="utf-8")
    assert client(atelier).get(address).text == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["nobody/en", "a/xx", "../en", "%2e%2e/en", ".a/en", "a%00/en"])
def test_there_is_no_other_report(atelier: Atelier, path: str) -> None:
    finished_run(atelier, "a", "en")
    assert client(atelier).get(f"{BASE}/report/{path}").status_code == 404


def test_the_demos_report_stays_as_it_was_written(atelier: Atelier) -> None:
    page = atelier.folders.demo / "report.html"
    page.parent.mkdir()
    page.write_text("demo", encoding="utf-8")
    assert report_url(atelier.folders, page, "ja") == file_url(atelier.folders, page) != ""


@pytest.mark.parametrize(
    "path",
    [
        "runs/%2e%2e/settings.json",
        "runs/..%2fsettings.json",
        "runs//etc/passwd.txt",
        "runs/.hidden/a.png",
        "runs/a.pt",
        "runs/link.txt",
        "runs/a%00.png",
        "data/settings.json",
        "nowhere/a.png",
        "runs/",
    ],
)
def test_nothing_outside_the_served_folders_is_given(atelier: Atelier, path: str, tmp_path: Path) -> None:
    runs = atelier.folders.runs
    (atelier.folders.data / "settings.json").write_text("{}", encoding="utf-8")
    (runs / ".hidden").mkdir()
    (runs / ".hidden" / "a.png").write_bytes(b"x")
    (runs / "a.pt").write_bytes(b"x")
    (tmp_path / "secret.txt").write_bytes(b"x")
    (runs / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert client(atelier).get(f"{BASE}/files/{path}").status_code == 404


def test_file_outside_has_no_address(atelier: Atelier, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert file_url(atelier.folders, tmp_path / "a.png") == ""
    assert file_url(atelier.folders, atelier.folders.runs / "missing.png") == ""


def test_addresses_stand_below_that_of_a_host_behind_a_proxy(atelier: Atelier) -> None:
    sample = atelier.folders.outputs / "a.png"
    sample.write_bytes(b"png")
    plain, page = file_url(atelier.folders, sample), finished_run(atelier, "a", "en")
    below = replace(atelier.folders, address="/sd")
    assert file_url(below, sample) == f"/sd{plain}"
    assert report_url(below, page, "ja") == "/sd" + report_url(atelier.folders, page, "ja")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ja,en-US;q=0.9", "ja"),
        ("en-US,ja;q=0.9", "en"),
        ("fr,ja;q=0.5,en;q=0.4", "ja"),
        ("fr", "en"),
        ("", "en"),
        ("ja;q=x", "en"),
        ("ja;q=0", "en"),
    ],
)
def test_language_is_the_one_that_the_browser_likes_best(header: str, language: str) -> None:
    assert best_language(header) == language


def test_chosen_language_wins_over_the_browsers(atelier: Atelier) -> None:
    web = client(atelier)
    asks_japanese = {"accept-language": "ja"}
    assert web.get("/", headers=asks_japanese).headers["location"] == "/ja/"
    assert web.get(f"{BASE}/language/en").headers["location"] == "/en/"
    assert web.get("/", headers=asks_japanese).headers["location"] == "/en/"
    assert web.get(f"{BASE}/language/../../evil").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7870", "127.0.0.1.evil.example", "", "[::1"])
def test_local_server_answers_to_its_own_names_only(atelier: Atelier, host: str) -> None:
    web = client(atelier)
    assert web.get("/favicon.ico", headers={"host": host}).status_code == 403
    for own in ("localhost:7870", "127.0.0.1", "[::1]:7870"):
        assert web.get("/favicon.ico", headers={"host": own}).status_code == 200


def test_other_sites_page_cannot_speak_to_the_server(atelier: Atelier) -> None:
    web = client(atelier)
    assert web.get("/favicon.ico", headers={"origin": "https://evil.example"}).status_code == 403
    assert web.get("/favicon.ico", headers={"origin": "null"}).status_code == 403
    assert web.get("/favicon.ico", headers={"origin": LOCAL}).status_code == 200


@pytest.mark.parametrize("given", ["", "Basic", "Basic !!", "Basic bWlrYTp3cm9uZw==", "Bearer bWlrYTpsb25n"])
def test_wrong_password_opens_nothing(atelier: Atelier, given: str) -> None:
    web = client(atelier, user="mika", password="long", local_only=False)
    answer = web.get("/favicon.ico", headers={"authorization": given} if given else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_right_password_opens_the_server_under_any_name(atelier: Atelier) -> None:
    web = client(atelier, user="三日", password="long:word", local_only=False)
    code = base64.b64encode("三日:long:word".encode()).decode()
    headers = {"authorization": f"Basic {code}", "host": "studio.lan"}
    assert web.get("/favicon.ico", headers=headers).status_code == 200


def test_request_larger_than_the_limit_is_not_taken(atelier: Atelier) -> None:
    app, taken = FastAPI(), []

    @app.post("/upload")
    async def upload(request: Request) -> None:
        taken.append(await request.body())

    web = TestClient(Guard(app, body_limit=100), base_url=LOCAL, raise_server_exceptions=False)
    assert web.post("/upload", content=b"x" * 100).status_code == 200
    assert web.post("/upload", content=b"x" * 101).status_code == 413
    web.post("/upload", content=iter([b"x" * 60, b"x" * 60]))  # without saying before how much it is
    assert [len(body) for body in taken] == [100]
