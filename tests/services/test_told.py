"""What a run could not use is said for ever, and its preparation stops when somebody says so."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lib_lora.data import folder as data_folder
from lib_lora.data.folder import scan
from lib_lora.errors import StoppedError
from lib_lora.i18n.error_words import in_words, sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.progress import Stoppable
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.jobs.run_log import RunLogs
from lib_lora.services.jobs.run_state import view_of_folder
from lib_lora.services.run_report import write_run_report
from lib_lora.train import loop, training_set
from lib_lora.train.run_folder import RunFolder
from lib_lora.ui.train.pieces import Pieces
from lib_lora.web.api.training import run_row


def test_a_broken_picture_stands_in_row_report_page_and_answer_for_ever(studio, options_for, pictures, until, tmp_path):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (pictures / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    atelier = Atelier(studio, Folders.under(tmp_path / "data"))
    atelier.trainings.start(options_for(steps=1))
    until(lambda: atelier.trainings.find("test").state == "done")
    again = Atelier(studio, Folders.under(tmp_path / "data"))  # the next server
    for one in (atelier, again):
        view = one.trainings.find("test")
        assert any("broken.png" in said for said in view.problems)
        assert any("(.heic 1)" in said for said in view.problems)
        (row,) = [row for row in run_row(one, view, "ja")["problems"] if "broken.png" in row]
        assert "画像" in row
        assert "broken.png" in Pieces(one).card(view, Words("en"))
        assert "broken.png" in Pieces(one).card(view, Words("ja"))
    assert Words("en")("train.n_remarks", n=len(view.problems)) in Pieces(again).list(Words("en"))
    until(lambda: view.report is not None)
    assert "broken.png" in view.report.read_text(encoding="utf-8")


def test_a_damaged_list_of_pictures_takes_no_report_away(make_trainings, options_for, until):
    trainings = make_trainings()
    trainings.start(options_for(steps=1))
    until(lambda: trainings.find("test").state == "done")
    folder = trainings.find("test").folder
    for damage in ("[1, 2", "[]", '{"problems": 3, "pictures": null, "model": {}}'):
        (folder / "data.json").write_text(damage, encoding="utf-8")
        write_run_report(RunFolder(folder), "en")


@pytest.mark.parametrize("phase", ["inspect_picture", "_item"])
def test_stop_acts_after_the_picture_that_is_being_prepared(make_trainings, options_for, until, monkeypatch, phase):
    trainings, calls = make_trainings(), []
    room = data_folder if phase == "inspect_picture" else training_set
    plain = getattr(room, phase)

    def stopping(*given, **more):
        calls.append(given)
        trainings.stop("test")
        return plain(*given, **more)

    monkeypatch.setattr(room, phase, stopping)
    trainings.start(options_for())
    until(lambda: not trainings.queue())
    assert len(calls) == 1
    assert trainings.past() == []  # stopped before its first step: nothing is left of it


def test_stop_acts_in_the_middle_of_a_picture_that_is_being_encoded(make_trainings, options_for, until, studio):
    trainings, vae, calls = make_trainings(), studio.model.vae, []
    hooks = [
        vae.encoder.conv_in.register_forward_hook(lambda *_: trainings.stop("test")),
        vae.encoder.conv_out.register_forward_hook(lambda *_: calls.append(1)),
    ]
    try:
        trainings.start(options_for())
        until(lambda: not trainings.queue())
    finally:
        for hook in hooks:
            hook.remove()
    assert calls == []
    assert trainings.past() == []
    assert not any(module._forward_pre_hooks for module in vae.modules())


def test_pause_while_preparing_waits_and_resume_prepares_again(make_trainings, options_for, until, monkeypatch):
    trainings, calls = make_trainings(), []
    plain = training_set._item

    def pausing(*given):
        calls.append(given)
        if len(calls) == 1:
            trainings.pause("test")
        return plain(*given)

    monkeypatch.setattr(training_set, "_item", pausing)
    trainings.start(options_for(steps=1))
    until(lambda: trainings.find("test").state == "paused")
    assert trainings.find("test").doing == ""
    trainings.resume("test")
    until(lambda: trainings.find("test").state == "done")
    assert len(calls) == 1 + 3


def test_looking_at_a_folder_stops_and_the_desk_calls_it_stopped(pictures):
    progress = Stoppable()
    progress.stop()
    with pytest.raises(StoppedError):
        scan(pictures, progress=progress)
    queue = JobQueue()
    job = queue.submit("look", "x", lambda job: (job.stop(), job.passed(1, 2, "looking at pictures")))
    assert job.wait(10)
    assert (job.state, job.error) == ("stopped", None)


def test_what_the_crop_cuts_and_captions_that_are_long_are_said(studio, options_for, pictures):
    Image.new("RGB", (64, 200)).save(pictures / "narrow.png")
    (pictures / "1.txt").write_text(", ".join(f"word{number}" for number in range(40)), encoding="utf-8")
    (pictures / "2.txt").write_text(", ".join(f"word{number}" for number in range(200)), encoding="utf-8")
    found = scan(pictures)
    said = training_set.fit_remarks(studio.model, options_for(bucket_step=64), found)
    assert [one.rpartition(" (")[2] for one in said] == ["narrow.png)", "1.png)", "2.png)"]
    assert "cut away" in said[0]
    assert "more than 75 tokens" in said[1]
    assert "more than 225 tokens" in said[2]


DAMAGE = (b"\0" * 40, b'{"step": 2, "loss": "x", "mean": 1}', b'{"step": 2}', b"[1]", b"\xff\xfe", b'{"step": 2, "lo')


def test_damaged_rows_of_a_log_are_left_out_and_counted_as_it_grows(tmp_path):
    logs, log = RunLogs(), tmp_path / "log.jsonl"
    assert logs.rows(tmp_path) == []
    rows = [json.dumps({"step": step, "loss": 0.5, "mean": 0.5}).encode() for step in (1, 2, 3)]
    left_out = json.dumps({"step": 2, "loss": None, "mean": 0.5}).encode()  # a bad step: no damage
    log.write_bytes(b"\n".join([rows[0], *DAMAGE, left_out, rows[2]]) + b"\n" + rows[2][:9])
    assert [step for step, _, _ in logs.rows(tmp_path)] == [1, 3]
    assert logs.remarks(tmp_path) == (f"rows of the log that were damaged and left out: {len(DAMAGE)}",)
    folder = RunFolder(tmp_path)
    assert folder.rewind_log(1) == len(DAMAGE) - 2  # two of them are rows of a kind, only not for a plot
    with log.open("ab") as file:  # longer than before it was rewound, between two looks
        file.write(b"\n".join(rows[1:] * 40) + b"\n")
    assert [step for step, _, _ in logs.rows(tmp_path)] == [1, 2, 3]
    assert logs.remarks(tmp_path) == ()


def test_damaged_rows_stand_in_page_and_report(make_trainings, options_for, until):
    trainings = make_trainings()
    trainings.start(options_for(steps=2))
    until(lambda: trainings.find("test").state == "done")
    view = trainings.find("test")
    with (view.folder / "log.jsonl").open("ab") as file:
        file.write(b"\0" * 100 + b"\n")
    write_run_report(RunFolder(view.folder), "en")
    assert "damaged and left out: 1" in (view.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_report_tells_no_place_on_this_disk(make_trainings, options_for, until, pictures, tmp_path, language):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    reg = tmp_path / "reg 正則化"
    reg.mkdir()
    Image.new("RGB", (64, 64), "white").save(reg / "a.png")
    trainings = make_trainings()
    trainings.start(options_for("girl", steps=1, reg_images=str(reg)))
    until(lambda: trainings.find("girl").state == "done")
    folder = RunFolder(trainings.find("girl").folder)
    folder.keep_remark(1, f"The sample after step 1 was not made: no file ({tmp_path / 'models' / 'a.ckpt'}).")
    write_run_report(folder, language)
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in page
    assert tmp_path.name not in page
    assert pictures.name in page
    assert reg.name in page
    assert "broken.png" in page
    assert "&quot;girl/options.json&quot;" in page


def test_a_failure_promises_a_state_only_where_there_is_one(make_trainings, options_for, until, monkeypatch):
    trainings, plain = make_trainings(state_seconds=0), loop.run
    monkeypatch.setattr(training_set, "_item", _breaking)
    trainings.start(options_for("early"))
    until(lambda: trainings.find("early").state == "failed")
    monkeypatch.undo()

    def late(training, *given, **more):
        plain(training, *given, **more)
        raise ZeroDivisionError("late")

    monkeypatch.setattr(loop, "run", late)
    trainings.start(options_for("late"))
    until(lambda: trainings.find("late").state == "failed")
    cures = [trainings.find(name).error.cure for name in ("early", "late")]
    assert [("newest state is kept" in cure) for cure in cures] == [False, True]
    said = [in_words(trainings.find(name).error, "ja")[2] for name in ("early", "late")]
    assert [("最新の状態は残っています" in cure) for cure in said] == [False, True]
    found = trainings.find("late")
    kept = view_of_folder(found.folder)  # as a studio finds it that is started later
    assert str(kept.error) == str(found.error)
    assert in_words(kept.error, "ja") == in_words(found.error, "ja")


def test_a_remark_on_the_disk_is_still_a_sentence_and_an_old_one_its_text(tmp_path):
    folder = RunFolder(tmp_path)
    for problem in ("missing", "broken"):
        folder.keep_remark(
            1, say("of the samples: {note}", note=say("{name}: {said}", name=problem, said=say("no ending")))
        )
    folder.keep_remark(2, "an older version wrote this")
    folder.keep_remark(3, say("of the samples: {note}", note="the same"), about="one thing")
    folder.keep_remark(4, say("of the samples: {note}", note="news"), about="one thing")
    assert [sentence_in_words(text, "ja") for text in RunFolder(tmp_path).remarks()] == [
        "サンプル画像について：missing：拡張子なし",
        "サンプル画像について：broken：拡張子なし",
        "an older version wrote this",
        "サンプル画像について：news",
    ]


def _breaking(*given):
    raise ZeroDivisionError("early")
