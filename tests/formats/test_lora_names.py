"""Every file has one name that a tag can hold, and what the studio inserts finds the file that was meant."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
import torch

from lib_lora.blocks.tag import broken_tags, find_tags, parse_tag
from lib_lora.errors import InputError
from lib_lora.formats.adapters import LoraAdapter
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.formats.lora_names import find_named, name_in_tags, named_files, namesakes, unnameable
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio import StudioHost
from lib_lora.ui.generate.lora_list import tag_of
from tests.cases import case
from tests.formats.lora_samples import TEXT

ODD = [
    "eq=1",
    "a:b",
    "a<b>c",
    " lead",
    "trail ",
    "a,b",
    "a.b.c",
    "girl (v2) [x]",
    "がくせい",
    unicodedata.normalize("NFD", "がくせい 2"),
    unicodedata.normalize("NFD", "café"),
    "=",
    "tab\there",
    "100%",
    "a'b",
]


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / f"{name}.safetensors" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return paths


def host_of(studio: StudioHost, *folders: Path) -> StudioHost:
    return StudioHost(studio.model, folders, studio.presets)


def test_what_is_inserted_is_found(studio: StudioHost, tmp_path: Path) -> None:
    paths = touch(tmp_path, *ODD)
    host = host_of(studio, tmp_path)
    known = host.list_loras()
    assert set(known.values()) == set(paths)
    for name, path in known.items():
        text = f"a girl {tag_of(name)}, smiling"
        tag = parse_tag(find_tags(text)[0].text)
        assert (tag.name, tag.te, tag.notes) == (name, 1.0, ())
        assert host.find_lora(tag.name) == path
    for name, path in zip(ODD, paths, strict=True):  # as a person would type it
        assert host.find_lora(name) == path


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_both_unicode_forms_find_the_file(studio: StudioHost, tmp_path: Path, form: str) -> None:
    (path,) = touch(tmp_path, unicodedata.normalize("NFD", "ガ"))
    assert host_of(studio, tmp_path).find_lora(unicodedata.normalize(form, "ガ")) == path


def test_two_files_of_one_name_are_told_apart_by_their_path(studio: StudioHost, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    paths = touch(one, "girl", "sub/girl", "sub/deep/girl") + touch(two, "girl", "sub/girl")
    known = named_files([one, two, one])
    assert list(known) == ["girl", "sub/deep/girl", "sub/girl", "two/girl", "two/sub/girl"]
    assert set(known.values()) == set(paths)
    host = host_of(studio, one, two)
    for name, path in known.items():
        assert host.find_lora(parse_tag(tag_of(name)).name) == path
    assert host.find_lora("sub\\girl") == one / "sub" / "girl.safetensors"
    assert host.find_lora("sub/girl.safetensors") == one / "sub" / "girl.safetensors"


def test_names_that_become_alike_stay_apart(tmp_path: Path) -> None:
    paths = touch(tmp_path, "a=b", "a_b", "a:b")
    known = named_files([tmp_path])
    assert set(known.values()) == set(paths)
    assert len(known) == 3
    assert find_named("a_b", [tmp_path], known) in paths


def test_the_cure_of_a_name_that_no_tag_holds_is_one_that_works(studio: StudioHost, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rename the file"):
        parse_tag("<lora:eq=1:1>")
    touch(tmp_path, "eq1")
    assert parse_tag("<lora:eq1:1>").name in host_of(studio, tmp_path).list_loras()


def test_a_missing_name_has_near_ones(studio: StudioHost, tmp_path: Path) -> None:
    touch(tmp_path, " lead")
    with pytest.raises(InputError, match="Did you mean: lead"):
        host_of(studio, tmp_path).find_lora("leed")


def test_the_files_that_could_not_be_named(studio: StudioHost) -> None:
    host = host_of(studio, case("lora-name-equals"))
    assert sorted(host.list_loras()) == ["eq_1", "lead"]
    assert {len(host.read_lora(parse_tag(tag_of(name)).name).adapters) for name in host.list_loras()} == {46}


def test_names_in_tags() -> None:
    assert [name_in_tags(name) for name in ("a", " a ", "a=b:c", "=", "  ")] == ["a", "a", "a_b_c", "_", "_"]


def test_a_name_with_a_comment_sign_has_one_that_a_prompt_can_hold(studio: StudioHost, tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "#1 girl")
    (called,) = named_files([tmp_path])
    (found,) = find_tags(f"a girl <lora:{called}:1>")
    assert host_of(studio, tmp_path).find_lora(parse_tag(found.text).name) == path
    (error,) = broken_tags("a girl <lora:#1 girl:1>, <lora:b:1>")
    assert str(error.what).startswith("A comment (#) begins inside of the tag")
    assert (error.position, "rename the file" in str(error.cure)) == (6, True)
    assert not broken_tags("a girl <lora:b:1> # <lora:c:1")


def test_of_files_of_one_name_it_is_said_which_was_taken(studio: StudioHost, tmp_path: Path) -> None:
    touch(tmp_path, "a/same", "b/same", "one")
    folders, known = [tmp_path], named_files([tmp_path])
    (note,) = namesakes("same", folders, known)
    assert note == "2 files are called same; a/same.safetensors is taken. In a tag the others are: b/same."
    assert find_named("b/same", folders, known) == tmp_path / "b" / "same.safetensors"
    assert namesakes("b/same", folders, known) == namesakes("a/same", folders, known) == []
    assert namesakes("one", folders, known) == []


def test_a_second_name_of_one_file_is_not_listed_again(tmp_path: Path) -> None:
    for folder in ("loras", "runs/girl"):
        (tmp_path / folder).mkdir(parents=True)
    run, linked = tmp_path / "runs/girl/girl.safetensors", tmp_path / "loras/girl.safetensors"
    run.write_bytes(b"the same")
    linked.hardlink_to(run)
    (tmp_path / "loras/copy.safetensors").write_bytes(b"the same")
    folders = (tmp_path / "loras", tmp_path / "runs")
    assert named_files(folders) == {"copy": tmp_path / "loras/copy.safetensors", "girl": linked}
    linked.unlink()
    assert named_files(folders)["girl"] == run


def test_one_file_in_two_places_is_no_namesake(tmp_path: Path) -> None:
    touch(tmp_path, "a/same", "b/other")
    os.link(tmp_path / "a" / "same.safetensors", tmp_path / "b" / "same.safetensors")  # as a run's LoRA is delivered
    assert namesakes("same", [tmp_path], named_files([tmp_path])) == []


def test_the_prompt_is_read_with_that_note(studio: StudioHost, tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        lora = LoraAdapter.new(TEXT, torch.nn.Linear(128, 128), rank=1, alpha=1.0)
        write_lora(LoraFile({TEXT: lora}), tmp_path / folder / "same.safetensors")
    problems, notes = read_tags(host_of(studio, tmp_path), "a girl <lora:same:1>")
    assert problems == ()
    assert [note for note in notes if "2 files are called same" in note]


def test_a_name_with_a_colon_leads_to_the_tag_that_works(studio: StudioHost, tmp_path: Path) -> None:
    touch(tmp_path, "co:lon", "x:y", "x", "eq=1")
    host = host_of(studio, tmp_path)
    for tag, works in (("<lora:co:lon:1>", "co_lon"), ("<lora:co:lon>", "co_lon"), ("<lora:eq=1:1>", "eq_1")):
        (problem,), _ = read_tags(host, tag)
        assert f"Write <lora:{works}:1>" in problem.cure
        assert parse_tag(f"<lora:{works}:1>").name in host.list_loras()
    assert unnameable("<lora:x:y:1>", [tmp_path], host.list_loras()) is None  # there is a LoRA “x”
    assert unnameable("<lora:co_lon:1>", [tmp_path], host.list_loras()) is None


def read_tags(host: StudioHost, prompt: str) -> tuple[tuple, tuple]:
    read, _ = host._read(GenerateRequest(prompt=prompt))
    return read.problems, read.notes
