"""What the page asks the server for besides gradio's own: live pieces, files, scripts, the language."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from lib_lora.errors import AtelierError
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.report.render import render_page
from lib_lora.report.sections import Report
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.make.record import FILE as MADE
from lib_lora.services.make.record import read_make
from lib_lora.services.make.report import report_of
from lib_lora.services.run_report import run_report
from lib_lora.train.run_folder import RunFolder
from lib_lora.web.served import SAFE, served_file

BASE = "/lora-atelier/v1"
ROOT = Path(__file__).resolve().parents[2]
PACKED = Path(__file__).with_name("page")
"""Where an installed package holds what an extension has at its top, because a WebUI looks there (setup.py)."""

SCRIPTS = PACKED if PACKED.is_dir() else ROOT / "javascript"
STYLE = (PACKED if PACKED.is_dir() else ROOT) / "style.css"
COOKIE = "atelier_language"
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#c2410c"/>'
    '<path d="M3 12V9m3 3V5m4 7V7m3 5V3" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>'
)

logger = logging.getLogger(__name__)


def places(folders: Folders) -> dict[str, Path]:
    """Return the folders that are served, by the name that stands in the address."""
    named = {"outputs": folders.outputs, "runs": folders.runs, "pictures": folders.pictures, "demo": folders.demo}
    return {name: folder.resolve() for name, folder in named.items()}


def file_url(folders: Folders, path: Path) -> str:
    """Return the address at which the page gets a file of the served folders; "" where it is in none of them.

    The address changes with the file, so that a renewed picture is fetched again.
    """
    full = path.resolve()
    for name, folder in places(folders).items():
        if full.is_relative_to(folder) and full.is_file():
            inner = quote(full.relative_to(folder).as_posix())
            return f"{folders.address}{BASE}/files/{name}/{inner}?{full.stat().st_mtime_ns:x}"
    return ""


def report_url(folders: Folders, path: Path, language: str) -> str:
    """Return the address of a report: a run's is drawn in the viewer's language, another one is shown as it is."""
    url = file_url(folders, path)
    if url and path.resolve().parent.parent == folders.runs.resolve():
        run, version = quote(path.resolve().parent.name, safe=""), url.rpartition("?")[2]
        return f"{folders.address}{BASE}/report/{run}/{language}?{version}"
    return url


def add_routes(app: FastAPI, atelier: Atelier, *, guard: Callable[..., Any] | None = None) -> None:
    """Register what the panels need, in the studio's app or in a WebUI's; ``guard`` is a dependency that may refuse."""
    boot = secrets.token_hex(4)

    def live(name: str, lang: str = "en", seen: str = "") -> JSONResponse:
        """Answer with a live piece, its HTML only where it changed, and a mark by which a restart is noticed."""
        try:
            version, html = atelier.live.html(name, Words(lang))
        except KeyError:
            return JSONResponse({"boot": boot}, status_code=404)
        return JSONResponse({"version": version, "html": None if version == seen else html, "boot": boot})

    def file(place: str, path: str, request: Request) -> Response:
        """Answer with a file of a served folder."""
        return served_file(places(atelier.folders).get(place), path, request.headers.get("range", ""))

    def report(run: str, language: str) -> Response:
        """Answer with a run's report in a language, drawn from its folder; as it was written where that fails."""
        written = served_file(places(atelier.folders)["runs"], f"{run}/report.html")
        if written.status_code != 200 or language not in LANGUAGES:
            return Response(status_code=404)
        try:
            page = render_page(_report(atelier.folders.runs / run, language))
        except (AtelierError, OSError, ValueError, KeyError) as error:
            logger.warning("the report of %s cannot be drawn: %s", run, error)
            return written
        return HTMLResponse(page, headers=SAFE)

    asked = [Depends(guard)] if guard is not None else []
    _get(app, f"{BASE}/live/{{name}}", live, asked)
    _get(app, f"{BASE}/report/{{run}}/{{language}}", report, asked)
    _get(app, f"{BASE}/files/{{place}}/{{path:path}}", file, asked)


def _report(folder: Path, language: str) -> Report:
    """Return the report of a run, or of an order for a LoRA, in a language."""
    if (folder / MADE).is_file():
        return report_of(replace(read_make(folder), language=language))
    return run_report(RunFolder(folder), language)


def add_studio_routes(app: FastAPI, *, language: str = "") -> None:
    """Register what only the studio needs, because a WebUI does it itself; ``language`` is where ``/`` leads."""

    def script(name: str) -> Response:
        """Answer with the style sheet or a script of the page."""
        known = {one.name: one for one in (*SCRIPTS.glob("*.js"), STYLE)}
        if name not in known:
            return Response(status_code=404)
        return FileResponse(known[name], headers={"Cache-Control": "no-cache"})

    def choose(wanted: str) -> Response:
        """Remember the language in a cookie and go to its page."""
        if wanted not in LANGUAGES:
            return Response(status_code=404)
        answer = RedirectResponse(f"/{wanted}/", status_code=303)
        answer.set_cookie(COOKIE, wanted, max_age=365 * 24 * 3600, samesite="strict", httponly=True)
        return answer

    def home(request: Request) -> Response:
        """Go to the page of the chosen language."""
        asked = request.cookies.get(COOKIE) or language or best_language(request.headers.get("accept-language", ""))
        chosen = asked if asked in LANGUAGES else LANGUAGES[0]
        return RedirectResponse(f"/{chosen}/", status_code=303, headers={"Vary": "Accept-Language, Cookie"})

    def asset(path: str) -> Response:
        """Lead to a page's own copy: gradio 4 asks for some styles at the root, wherever its page is mounted."""
        return RedirectResponse(f"/{LANGUAGES[0]}/assets/{quote(path)}", status_code=308)

    def icon() -> Response:
        """Answer with the browser tab's picture."""
        return Response(ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    _get(app, f"{BASE}/page/{{name}}", script)
    _get(app, f"{BASE}/language/{{wanted}}", choose)
    _get(app, "/assets/{path:path}", asset)
    _get(app, "/favicon.ico", icon)
    _get(app, "/", home)


def _get(app: FastAPI, path: str, answer: Callable[..., Response], asked: Sequence[Any] = ()) -> None:
    app.add_api_route(
        path, answer, methods=["GET"], response_model=None, include_in_schema=False, dependencies=list(asked)
    )


def best_language(header: str) -> str:
    """Return the language of ours that an ``Accept-Language`` header likes best; English where it knows none."""
    best, weight = LANGUAGES[0], 0.0
    for part in header.split(","):
        name, _, quality = part.strip().partition(";q=")
        try:
            value = float(quality or 1)
        except ValueError:
            value = 0.0
        language = name.split("-")[0].lower()
        if language in LANGUAGES and value > weight:
            best, weight = language, value
    return best
