"""The API's door: bodies, other sites, names and passwords, and what is said of errors."""

from __future__ import annotations

import base64

import pytest

from lib_lora.services.atelier import Atelier
from lib_lora.web.api.access import Access
from lib_lora.web.api.serving import BODY_LIMIT
from lib_lora.web.guesses import Guesses
from lib_lora.web.routes import BASE

from .conftest import Web, refused


def test_body_that_is_no_json_object_or_too_large_is_refused(web: Web) -> None:
    json_kind = {"Content-Type": "application/json"}
    url = BASE + "/resolve"
    refused(web.client.post(url, content=b"{", headers=json_kind), 400)
    refused(web.client.post(url, content=b"[1]", headers=json_kind), 400)
    refused(web.client.post(url, content=b"\xff", headers=json_kind), 400)
    refused(web.client.post(url, content=b"[" * 100_000, headers=json_kind), 400)
    refused(web.client.post(url, content=b" " * (BODY_LIMIT + 1), headers=json_kind), 413)
    refused(web.client.post(url, content=b"", headers=json_kind), 400)
    refused(web.client.post(url, content=b'{"prompt": "a\\ud800"}', headers=json_kind), 400)
    assert refused(web.client.post(url, content=b'{"prompt": 1}', headers=json_kind), 400)["cure"]
    assert refused(web.client.get(BASE + "/loras?x=1"), 400)["cure"] == "Known are search."


def test_foreign_page_cannot_send_a_form_or_plain_text(web: Web) -> None:
    refused(web.client.post(BASE + "/presets", data={"name": "A"}), 415)
    refused(web.client.post(BASE + "/train/a/stop"), 415)
    refused(web.client.post(BASE + "/resolve", content=b'{"prompt": ""}', headers={"Content-Type": "text/plain"}), 415)


def test_unknown_job_numbers_and_kinds_are_said(web: Web) -> None:
    refused(web.get("/jobs/one"), 400)
    refused(web.get("/jobs/1?wait=1000"), 400)
    refused(web.get("/loras?x=1"), 400)


def header(user: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}


async def no_sleep(seconds: float) -> None:
    """Wait for nothing."""


AT_ONCE = Guesses(sleep=no_sleep)
EVERY = [("get", "/about"), ("get", "/presets"), ("post", "/resolve"), ("post", "/train"), ("get", "/jobs")]


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_names_of_the_api_are_asked_for_everywhere(atelier: Atelier, method: str, path: str) -> None:
    web = Web(atelier, Access(api=["mika:secret", "ren:other"], page=["page:word"], guesses=AT_ONCE))
    ask = getattr(web, method)
    answer = ask(path)
    refused(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Basic")
    for wrong in ("mika:wrong", "mika:", "mika", ":", "page:word"):
        assert ask(path, headers=header(wrong)).status_code == 401
    assert ask(path, headers={"Authorization": "Basic !!!"}).status_code == 401
    assert ask(path, headers={"Authorization": "Bearer mika:secret"}).status_code == 401
    assert ask(path, headers=header("ren:other")).status_code != 401


def test_where_only_the_page_has_a_login_the_api_asks_for_that(atelier: Atelier) -> None:
    web = Web(atelier, Access(page=["page:word"]))
    refused(web.get("/presets"), 401)
    assert web.get("/presets", headers=header("page:word")).status_code == 200
    web.app.tokens = {"token": "page"}
    assert web.get("/presets", cookies={"access-token-abc": "token"}).status_code == 200
    web.client.cookies.clear()
    assert web.get("/presets", cookies={"access-token-abc": "guessed"}).status_code == 401


def test_page_with_a_login_keeps_its_pieces_and_files_from_strangers(atelier: Atelier) -> None:
    atelier.live.add("train_run", lambda words: "secret")
    (atelier.folders.outputs / "a.png").write_bytes(b"picture")
    web = Web(atelier, Access(page=["page:word"]))
    for path in ("/live/train_run", "/files/outputs/a.png", "/report/run/en"):
        assert web.get(path).status_code == 401
    web.app.tokens = {"token": "page"}
    assert web.get("/live/train_run", cookies={"access-token": "token"}).json()["html"] == "secret"


def test_names_of_the_api_do_not_close_the_page(atelier: Atelier) -> None:
    atelier.live.add("train_run", lambda words: "hello")
    web = Web(atelier, Access(api=["mika:secret"]))
    assert web.get("/live/train_run").status_code == 200


def test_studios_guard_stands_before_the_api(atelier: Atelier) -> None:
    web = Web(atelier, user="mika", password="secret")
    assert web.get("/presets").status_code == 401
    assert web.get("/presets", headers=header("mika:secret")).status_code == 200
    assert web.get("/presets", headers={**header("mika:secret"), "Origin": "http://evil.example"}).status_code == 403


def test_unforeseen_error_is_said_without_a_trace(atelier: Atelier, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("nobody thought of it")

    web = Web(atelier)
    monkeypatch.setattr(atelier.host, "list_loras", broken)
    said = refused(web.get("/loras"), 500)
    assert "nobody thought of it" in said["what"]
    assert "serving.py" not in str(said)


def test_every_route_is_listed_and_in_the_servers_own_page_of_its_api(web: Web) -> None:
    listed = {(row["method"], row["path"]) for row in web.get("/about").json()["routes"]}
    assert ("POST", f"{BASE}/analyze") in listed
    schema = web.client.get("/openapi.json").json()["paths"]
    shown = {(method.upper(), path) for path, methods in schema.items() for method in methods}
    assert listed <= shown
    assert "prompt" in str(schema[f"{BASE}/resolve"]["post"]["requestBody"])
