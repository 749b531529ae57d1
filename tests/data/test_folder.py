from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.data.dataset import Picture, balance_regularization
from lib_lora.data.folder import scan
from lib_lora.data.leaves import Source
from lib_lora.errors import InputError
from tests.told import Told


def names(result) -> list[str]:
    return [picture.path.name for picture in result.pictures]


def said(result, text: str) -> bool:
    return any(text in notice for notice in result.notices)


def test_a_leaf_and_its_parent_give_the_same_pictures(make_picture, tmp_path: Path) -> None:
    make_picture("set/10_krnk girl/a.png")
    make_picture("set/10_krnk girl/b.png", seed=1)
    parent, leaf = scan(tmp_path / "set"), scan(tmp_path / "set" / "10_krnk girl")
    assert names(parent) == ["a.png", "b.png"]
    assert [each.pictures for each in (parent, leaf)] == [parent.pictures] * 2
    assert parent.folders[0].repeats == 10
    assert sum(each.repeats for each in parent.pictures) == 20
    assert parent.pictures[0].caption == "krnk girl"
    assert parent.fingerprint() == leaf.fingerprint()


def test_several_folders_each_with_its_repeats_and_japanese_names(make_picture, tmp_path: Path) -> None:
    make_picture("データ/3_猫耳 少女/正面😀.png")
    make_picture("データ/2_犬/a.png", seed=1)
    result = scan(str(tmp_path / "データ"))
    assert {picture.path.name: picture.repeats for picture in result.pictures} == {"正面😀.png": 3, "a.png": 2}
    assert sum(each.repeats for each in result.pictures) == 5
    assert result.problems == ()


def test_the_framework_grammar_gives_repeats_class_and_flip(make_picture, tmp_path: Path) -> None:
    make_picture("4_krnk/krnk girl, shorthair_f0768_noflip_/f00.png")
    for given in (tmp_path / "4_krnk", tmp_path / "4_krnk" / "krnk girl, shorthair_f0768_noflip_", tmp_path):
        picture = scan(given).pictures[0]
        assert (picture.repeats, picture.caption, picture.flip) == (4, "krnk girl", False)


def test_names_without_a_number_repeat_once_and_say_so(make_picture, tmp_path: Path) -> None:
    make_picture("set/krnk/a.png")
    make_picture("set/5_/b.png", seed=1)
    make_picture("set/0_off/c.png", seed=2)
    make_picture("set/-1_off/d.png", seed=3)
    result = scan(tmp_path / "set")
    assert sorted(names(result)) == ["a.png", "b.png"]
    assert sum(each.repeats for each in result.pictures) == 2
    assert said(result, "not named like 10_name")
    assert said(result, "number but no name")
    assert said(result, "0 repeats")
    assert said(result, "-1 repeats")
    assert {picture.caption for picture in result.pictures} == {""}


def test_a_numbered_folder_above_an_ordinary_one_means_nothing(make_picture, tmp_path: Path) -> None:
    make_picture("02_work/data/a.png")
    picture = scan(tmp_path / "02_work" / "data").pictures[0]
    assert (picture.repeats, picture.caption) == (1, "")


def test_a_source_overrules_the_names(make_picture, tmp_path: Path) -> None:
    make_picture("10_krnk girl/a.png")
    result = scan([Source(tmp_path / "10_krnk girl", repeats=3, class_tokens="cat")], class_tokens="dog")
    assert (result.pictures[0].repeats, result.pictures[0].caption) == (3, "cat")
    with pytest.raises(InputError):
        Source(tmp_path, repeats=0)


def test_captions_txt_before_caption_then_class_tokens(make_picture, tmp_path: Path) -> None:
    for index, name in enumerate("abcd"):
        make_picture(f"1_x/{name}.png", seed=index)
    folder = tmp_path / "1_x"
    (folder / "a.txt").write_text("from txt", encoding="utf-8")
    (folder / "a.caption").write_text("from caption", encoding="utf-8")
    (folder / "b.caption").write_text("黒髪", encoding="cp932")
    (folder / "c.txt").write_text(" \n", encoding="utf-8")
    result = scan(folder)
    assert [picture.caption for picture in result.pictures] == ["from txt", "黒髪", "x", "x"]
    assert said(result, "read as cp932")
    assert said(result, "1 file with an empty caption: class tokens are used (c.png)")
    assert said(result, "1 file without a caption: class tokens are used (d.png)")
    swapped = scan(folder, extensions=(".caption", ".txt"))
    assert swapped.pictures[0].caption == "from caption"


def test_class_tokens_fill_in_only_where_nothing_else_speaks(make_picture, tmp_path: Path) -> None:
    make_picture("plain/a.png")
    assert scan(tmp_path / "plain", class_tokens=" cat ").pictures[0].caption == "cat"
    make_picture("1_dog/a.png")
    assert scan(tmp_path / "1_dog", class_tokens="cat").pictures[0].caption == "dog"


def test_decomposed_file_names_still_find_their_captions(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/" + unicodedata.normalize("NFC", "ガ.png"))
    (tmp_path / "1_x" / unicodedata.normalize("NFD", "ガ.txt")).write_text("ga", encoding="utf-8")
    assert scan(tmp_path / "1_x").pictures[0].caption == "ga"


def test_bad_files_are_listed_and_the_rest_is_used(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/good.png")
    cut = make_picture("1_x/cut.jpg", seed=1)
    cut.write_bytes(cut.read_bytes()[:900])
    make_picture("1_x/tiny.png", size=(63, 300))
    (tmp_path / "1_x" / "empty.png").touch()
    (tmp_path / "1_x" / "notes.md").touch()
    (tmp_path / "1_x" / "._good.png").write_bytes(b"resource fork")
    result = scan(tmp_path / "1_x")
    assert names(result) == ["good.png"]
    assert [problem.path.name for problem in result.problems] == ["cut.jpg", "empty.png", "tiny.png"]
    assert all(problem.what and problem.cure for problem in result.problems)
    assert said(result, "so not read: .md 1")
    assert "tiny.png" in names(scan(tmp_path / "1_x", min_side=63))


def test_pictures_are_known_by_content(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    shutil.move(tmp_path / "1_x" / "a.png", tmp_path / "1_x" / "a.jpg_large")
    assert names(scan(tmp_path / "1_x")) == ["a.jpg_large"]


def test_the_size_is_upright_and_extreme_ratios_are_said(make_picture, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    make_picture("1_x/a.jpg", size=(70, 300), exif=exif)
    result = scan(tmp_path / "1_x")
    assert result.pictures[0].size == (300, 70)
    assert said(result, "4:1")
    assert said(result, "only one picture")


def test_duplicates_by_bytes_and_folders_given_twice_are_reported(make_picture, tmp_path: Path) -> None:
    first = make_picture("1_x/a.png")
    shutil.copy(first, tmp_path / "1_x" / "b.png")
    (tmp_path / "link").symlink_to(tmp_path / "1_x", target_is_directory=True)
    result = scan([tmp_path / "1_x", tmp_path / "1_x", tmp_path / "link"])
    assert names(result) == ["a.png", "b.png"]
    assert said(result, "with the same bytes (a.png, b.png)")
    assert sum("given twice" in notice for notice in result.notices) == 2


def test_pictures_of_one_name_are_reported(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    make_picture("1_x/a.jpg", seed=1)
    assert said(scan(tmp_path / "1_x"), "share one caption")


def test_looping_links_end(make_picture, tmp_path: Path) -> None:
    make_picture("set/1_x/a.png")
    (tmp_path / "set" / "2_loop").symlink_to(tmp_path / "set", target_is_directory=True)
    assert names(scan(tmp_path / "set")) == ["a.png"]


def test_network_tags_in_captions_are_reported(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    (tmp_path / "1_x" / "a.txt").write_text("a, <lora:b:1>", encoding="utf-8")
    assert said(scan(tmp_path / "1_x"), "network tag")


def test_nothing_found_names_the_path_and_what_was_seen(tmp_path: Path) -> None:
    folder = tmp_path / "空"
    (folder / "sub").mkdir(parents=True)
    with pytest.raises(InputError, match="seen: 1 folder"):
        scan(folder)
    (folder / "a.txt").touch()
    (folder / "b.txt").touch()
    with pytest.raises(InputError) as error:
        scan(folder)
    assert str(folder) in str(error.value)
    assert "2 .txt" in str(error.value)
    assert error.value.cure


def test_only_unusable_pictures_are_refused_with_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png: This is no picture"):
        scan(tmp_path)


@pytest.mark.parametrize("given", ["", "  ", [], "missing"])
def test_no_folder_is_refused(tmp_path: Path, given) -> None:
    with pytest.raises(InputError):
        scan(tmp_path / given if given == "missing" else given)


def test_a_file_instead_of_a_folder_and_pasted_quotes(make_picture, tmp_path: Path) -> None:
    path = make_picture("1_x/a.png")
    with pytest.raises(InputError, match="not a folder"):
        scan(path)
    assert names(scan(f' "{path.parent}" ')) == ["a.png"]


def test_regularization_pictures_are_matched_to_the_training_draws(make_picture, tmp_path: Path) -> None:
    make_picture("5_krnk girl/a.png")
    for index in range(2):
        make_picture(f"reg/1_girl/{index}.png", seed=10 + index)
    result = scan(tmp_path / "5_krnk girl", reg=tmp_path / "reg")
    assert result.numbered
    assert [(picture.repeats, picture.is_reg) for picture in result.shown()] == [(5, False), (3, True), (2, True)]
    assert [picture.repeats for picture in result.shown(4)] == [20, 10, 10]
    assert [picture.caption for picture in result.reg] == ["girl", "girl"]


def test_surplus_regularization_pictures_are_left_out() -> None:
    pictures = [Picture(Path(str(i)), "", 2, (64, 64), True, str(i)) for i in range(5)]
    balanced = balance_regularization(pictures, draws=3)
    assert [picture.repeats for picture in balanced] == [2, 2]
    assert balance_regularization([], draws=3) == ()


def test_one_folder_for_training_and_regularization_is_refused(make_picture, tmp_path: Path) -> None:
    make_picture("set/1_x/a.png")
    with pytest.raises(InputError, match="same folder"):
        scan(tmp_path / "set", reg=tmp_path / "set" / "1_x")


def test_progress_counts_every_picture(make_picture, tmp_path: Path) -> None:
    make_picture("set/1_x/a.png")
    make_picture("set/2_y/b.png", seed=1)
    told = Told()
    scan(tmp_path / "set", progress=told)
    assert told.steps == [(1, 2), (2, 2)]


@pytest.mark.parametrize("name", ["20231105_party", "231105_party", "2023_party", "99999999999_big", "１００１_x"])
def test_a_number_that_is_no_count_is_not_taken_for_repeats(make_picture, tmp_path: Path, name) -> None:
    make_picture(f"set/{name}/a.png")
    for given in (tmp_path / "set", tmp_path / "set" / name):
        result = scan(given)
        assert (result.pictures[0].repeats, result.pictures[0].caption, result.numbered) == (1, "", False)
        assert [notice for notice in result.notices if "not taken for repeats" in notice]
        assert not said(result, "not named like 10_name")


def test_a_date_below_a_numbered_folder_leaves_its_repeats(make_picture, tmp_path: Path) -> None:
    make_picture("1000_krnk/20231105_party/a.png")
    result = scan(tmp_path)
    assert result.pictures[0].repeats == 1000
    assert said(result, "not taken for repeats")


def test_class_tokens_are_looked_at_like_captions(make_picture, tmp_path: Path) -> None:
    make_picture("2_(krnk：1.2)/a.png")
    assert said(scan(tmp_path), "has weights such as")
