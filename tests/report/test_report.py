"""Promises of the report page: one file, everything escaped, whole or not at all, and only honest numbers."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.errors import FileError, InputError
from lib_lora.report import write_report
from lib_lora.report.render import picture_uri, render_page
from lib_lora.report.sections import (
    BlockBars,
    Commands,
    Curve,
    Goal,
    Goals,
    Grid,
    PictureRow,
    Pictures,
    Report,
    Series,
    Table,
)
from lib_lora.report.words import WORDS

EVIL = "<script>alert('x')</script>\"&'"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Balance(HTMLParser):
    """Collects elements, addresses and text, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def picture(color: str = "red") -> Image.Image:
    return Image.new("RGB", (4, 3), color)


def full_report(folder: Path, *, word: str = "word", language: str = "en") -> Report:
    path = folder / "grid.png"
    picture("blue").save(path)
    row = PictureRow(word, (picture(), path, None), (word, word, word))
    goals = Goals(word, (Goal(word, word, word, True), Goal(word, "2", word, False)))
    sections = (
        Pictures(word, word, (word, word, word), (row,)),
        Grid(word, word, path),
        Curve(word, word, (Series(word, ((0.0, 1.0), (1.0, 0.5))),), word, word),
        BlockBars(word, word, {word: 1.0, "IN00": 0.1}),
        goals,
        Table(word, word, (word, word), ((word, "1.5"),)),
        Commands(word, word, (word,)),
    )
    return Report(word, word, language, sections)  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_page_is_well_formed_and_needs_nothing_from_elsewhere(tmp_path: Path, language: str) -> None:
    page = render_page(full_report(tmp_path, language=language))
    parser = parsed(page)
    assert f'<html lang="{language}">' in page
    assert all(address.startswith(("data:image/", "#")) for address in parser.addresses)
    assert not {"script", "link", "iframe", "object"} & set(parser.seen)
    assert not re.search(r"https?://|url\(|@import", page)


def test_every_word_from_outside_is_escaped(tmp_path: Path) -> None:
    page = render_page(full_report(tmp_path, word=EVIL))
    parser = parsed(page)
    assert "script" not in parser.seen
    assert "<script" not in page
    assert parser.words.count(EVIL) > 20  # it is shown as the text that it is


def test_result_comes_first_and_sections_keep_their_order(tmp_path: Path) -> None:
    sections = tuple(Commands(f"part {i}", "", ("x",)) for i in range(4))
    page = render_page(Report("title", "The result.", "en", sections))
    body = page[page.index("<body>") :]
    places = [body.index("The result.")] + [body.index(f"<h2>part {i}</h2>") for i in range(4)]
    assert places == sorted(places)


def test_count_of_goals_is_on_top_and_a_missed_goal_is_not_green() -> None:
    def page(*reached: bool) -> str:
        rows = tuple(Goal("name", "1", "2", state) for state in reached)
        text = render_page(Report("t", "v", "en", (Goals("g", rows),)))
        return text[text.index("<header>") : text.index("</header>")]

    assert "1 of 2 goals reached" in page(True, False)
    assert "mark bad" in page(True, False)
    assert "2 of 2 goals reached" in page(True, True)
    assert "mark good" in page(True, True)


def test_words_of_the_page_follow_the_language(tmp_path: Path) -> None:
    page = render_page(full_report(tmp_path, language="ja"))
    assert WORDS["ja"].no_picture in page
    assert WORDS["en"].no_picture not in page
    assert WORDS["ja"].reached in page
    assert WORDS["en"].missed not in page


def test_picture_file_keeps_its_bytes_and_size(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path)
    uri, width, height = picture_uri(path)
    assert uri.startswith("data:image/jpeg;base64,")
    assert (width, height) == (4, 3)
    assert base64.b64decode(uri.split(",")[1]) == path.read_bytes()


def test_picture_type_unknown_to_browsers_becomes_png(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    picture().save(path)
    assert picture_uri(path)[0].startswith("data:image/png;base64,")


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n broken"])
def test_unreadable_picture_names_its_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "lost.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match="lost.png"):
        render_page(Report("t", "v", "en", (Grid("g", "", path),)))


def test_failed_report_leaves_the_old_page_and_no_scraps(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    with pytest.raises(FileError):
        write_report(Report("t", "v", "en", (Grid("g", "", tmp_path / "none.png"),)), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_unwritable_place_is_a_file_error_without_scraps(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.mkdir()
    with pytest.raises(FileError, match="page.html"):
        write_report(Report("t", "v", "en", ()), target)
    assert list(tmp_path.iterdir()) == [target]


def test_report_is_written_whole_and_folders_are_made(tmp_path: Path) -> None:
    report = Report("t", "日本語 ✓", "ja", ())
    target = write_report(report, tmp_path / "new" / "report.html")
    assert target.read_text(encoding="utf-8") == render_page(report)
    assert list(target.parent.iterdir()) == [target]


def test_wrong_number_of_cells_is_refused_with_the_row() -> None:
    with pytest.raises(InputError, match="seed 7"):
        Pictures("p", "", ("a", "b"), (PictureRow("seed 7", (None,)),))
    with pytest.raises(InputError, match="caption"):
        Pictures("p", "", ("a", "b"), (PictureRow("seed 7", (None, None), ("one",)),))
    with pytest.raises(InputError, match="row 2"):
        Table("t", "", ("a", "b"), (("1", "2"), ("1",)))
    with pytest.raises(InputError, match="language"):
        Report("t", "v", "fr", ())  # type: ignore[arg-type]


def test_numbers_stand_right_and_words_left() -> None:
    page = render_page(Report("t", "v", "en", (Table("t", "", ("name", "a", "b"), (("x", "1.5 %", "two"),)),)))
    assert '<td class="number">1.5 %</td>' in page
    assert "<td>two</td>" in page


@pytest.mark.parametrize("nothing", [Series("loss", ()), Series("loss", ((0.0, float("nan")),))])
def test_plot_without_points_says_so(nothing: Series) -> None:
    page = render_page(Report("t", "v", "en", (Curve("loss", "", (nothing,), "step", "loss"),)))
    assert WORDS["en"].no_data in page
    assert "<svg" not in page
