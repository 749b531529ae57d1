"""Writes a report as one self-contained HTML page: no script, no other file, no network, light and dark."""

from __future__ import annotations

from pathlib import Path

from lib_lora.atomic import cure_of, replace_file
from lib_lora.errors import FileError
from lib_lora.report.render import render_page
from lib_lora.report.sections import Report
from lib_lora.sentences import say


def write_report(report: Report, path: Path | str) -> Path:
    """Writes the page to `path` (its folder is made) and returns the path.

    An existing page is replaced in one step, so a reader sees the old page or the new one, never half of one.
    FileError when a picture cannot be read or the page cannot be written; the old page is then still there.
    """
    target = Path(path)
    page = render_page(report).encode("utf-8")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = say("The report cannot be written ({reason})", reason=error)
        raise FileError(what, where=str(target), cure=cure_of(error)) from error
    return replace_file(target, page, what=say("The report"))
