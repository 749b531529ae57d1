"""The tab Report: which reports there are, and which one stands there when the tab is opened."""

from __future__ import annotations

import os
from pathlib import Path

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Folders
from lib_lora.ui.report import _Report, reports


class Owner:
    def __init__(self, folders: Folders) -> None:
        self.folders = folders


def write(folder: Path, name: str, *, at: int) -> None:
    path = folder / name / "report.html"
    path.parent.mkdir(parents=True)
    path.write_text(f"<p>{name}</p>", encoding="utf-8")
    os.utime(path, (at, at))


def test_reports_are_listed_newest_first_with_the_demo_among_them(tmp_path):
    folders = Folders.under(tmp_path / "data")
    write(folders.runs, "old", at=1000)
    write(folders.runs, "new", at=3000)
    write(folders.data, "demo", at=2000)
    assert list(reports(folders)) == ["new", "demo", "old"]


def test_a_demo_beside_the_data_folder_is_found_too(tmp_path):
    folders = Folders.under(tmp_path / "studio")
    write(tmp_path, "demo", at=1000)
    (tmp_path / "demo" / "report.json").write_text("{}", encoding="utf-8")
    assert reports(folders)["demo"] == tmp_path.resolve() / "demo" / "report.html"


def test_a_choice_stays_until_there_is_a_newer_report(tmp_path):
    folders = Folders.under(tmp_path)
    write(folders.runs, "a", at=1000)
    write(folders.runs, "b", at=2000)
    panel = _Report(Owner(folders), Words("en"))
    _, newest, html = panel.refresh("a", "b")
    assert newest == "b"
    assert "/report/a/en?" in html
    write(folders.runs, "c", at=3000)
    _, newest, html = panel.refresh("a", "b")
    assert newest == "c"
    assert "/report/c/en?" in html
    assert "no report “typed”" in panel.show("typed")


def test_without_a_report_the_page_says_how_to_get_one(tmp_path):
    panel = _Report(Owner(Folders.under(tmp_path)), Words("ja"))
    assert "まだありません" in panel.show(None)
