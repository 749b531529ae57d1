"""Work of the workshop's tabs that a person cancels: what was written is said, what was not is not there."""

from __future__ import annotations

import threading

import pytest

from lib_lora.formats.header import read_header
from lib_lora.i18n.words import Words
from lib_lora.sentences import say
from lib_lora.services import files as file_work
from lib_lora.services import labels
from lib_lora.services.atelier import Atelier
from lib_lora.ui.workshop import batch, merge, metadata
from tests.ui.test_workshop import CHOICES, atelier, form, last, many, table

__all__ = ["atelier"]  # the fixture


def test_work_that_is_cancelled_writes_nothing(atelier: Atelier, monkeypatch: pytest.MonkeyPatch) -> None:
    do = merge.Handlers(atelier, Words("en"))

    def make_and_stop(order, presets, progress, *, model, name):
        file_work.stop(atelier)
        progress.passed(1, 2, say("adding"))
        raise AssertionError("the wish to stop was not heard")

    monkeypatch.setattr("lib_lora.services.merge.make", make_and_stop)
    values = [*table(("girl", 1.0, "ALL", 1.0, 1.0)), *CHOICES]
    message, *_ = last(do.save("new", False, *values))
    assert "Cancelled" in message
    assert len(list(atelier.folders.loras.iterdir())) == 2


@pytest.mark.parametrize("language", ["en", "ja"])
def test_hashing_and_saving_can_be_cancelled_each_by_its_own_button(
    atelier: Atelier, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    words = Words(language)
    do = metadata.Handlers(atelier, words)

    def hash_and_stop(path, progress):
        file_work.stop(atelier, metadata.SAVE)  # another work's Cancel
        progress.passed(1, 2)
        file_work.stop(atelier, metadata.HASH)
        progress.passed(2, 2)
        raise AssertionError("the wish to stop was not heard")

    monkeypatch.setattr(metadata, "hashes_of", hash_and_stop)
    message, html, stop = last(do.hashes("girl"))
    assert (words("workshop.stopped") in message, html, stop["visible"]) == (True, "", False)
    before = {path.name for path in atelier.folders.loras.iterdir()}
    values = form(do, "girl", author="me")
    over = threading.Event()
    atelier.files.submit("other", "other", lambda job: over.wait(30))
    saving = do.save("girl", "copy", "girl_b", *values)
    assert next(saving)[2]["visible"] is True
    file_work.stop(atelier, metadata.SAVE)
    over.set()
    assert words("workshop.stopped") in last(saving)[0]
    assert {path.name for path in atelier.folders.loras.iterdir()} == before


def test_a_cancelled_batch_says_what_it_had_written(atelier: Atelier, monkeypatch: pytest.MonkeyPatch) -> None:
    do = batch.Handlers(atelier, Words("en"))
    write = labels.write_in_place

    def write_and_stop(*given):
        written = write(*given)
        file_work.stop(atelier, batch.BATCH)
        return written

    monkeypatch.setattr(labels, "write_in_place", write_and_stop)
    chosen, mine = ["girl", "dress"], many("", "", "me")
    message, html, stop, _ = last(do.save((chosen, tuple(mine)), chosen, *mine))
    assert Words("en")("workshop.batch_stopped", n=1) in message
    assert "Nothing was written" not in message
    assert ("girl" in html, "dress" in html, stop["visible"]) == (True, False, False)
    assert read_header(atelier.folders.loras / "dress.safetensors").metadata.get("modelspec.author") != "me"
