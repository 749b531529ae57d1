"""Every sentence that the core says is known in Japanese, and nothing is translated that nobody says."""

from __future__ import annotations

import re

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_parse import parse_tag
from lib_lora.data.folder import scan
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.i18n.error_words import in_words, sentence_in_words

# -- what people see ------------------------------------------------------------------------------------------------


def test_an_error_with_values_in_both_languages() -> None:
    error = InputError("There is no preset “FCAE”", where="LoRA tag, character 9", cure="Did you mean FACE, CAFE?")
    assert in_words(error, "en") == (error.what, error.where, error.cure)
    assert in_words(error, "ja") == (
        "プリセット「FCAE」はありません",
        "LoRA タグの 9 文字目",
        "もしかして：FACE, CAFE",
    )


def test_an_unknown_sentence_stays() -> None:
    error = AtelierError("nobody wrote this down", where="/a/prompt/range and size", cure="")
    assert in_words(error, "ja") == ("nobody wrote this down", "/a/prompt/range and size", "")


@pytest.mark.parametrize(
    "where", ["/home/me/12 pictures", "/a; b: c. d/12 pictures", "a file with {braces}", "my prompt", "alpha is 3"]
)
def test_a_path_is_no_sentence(where) -> None:
    assert in_words(FileError("The file is empty", where=where), "ja") == ("ファイルが空です", where, "")


def test_values_with_braces_and_percent_signs_pass_through() -> None:
    assert sentence_in_words("There is no preset “{0}%s{name}”", "ja") == "プリセット「{0}%s{name}」はありません"


def test_the_reason_of_the_system_is_said_too() -> None:
    error = FileError("The file cannot be read: [Errno 13] Permission denied: '/a/b.safetensors'")
    assert in_words(error, "ja")[0] == "ファイルを読み込めません：権限がありません：'/a/b.safetensors'"


def test_a_list_of_broken_lines_is_said_line_by_line(tmp_path) -> None:
    presets = PresetFile.parse("GOOD:1,1,1,1,1,1,1,1,1,1,1,1\nBAD:1,2\n=:3\nno preset")
    with pytest.raises(InputError) as caught:
        presets.save(tmp_path / "presets.txt")
    what, _, cure = in_words(caught.value, "ja")
    assert what.count("行目：") == 3
    assert not re.search(r"[a-z]{3,}", what.replace("no preset", "").replace("NAME:values", ""))
    assert cure == "その行を直してください。"


@pytest.mark.parametrize("tag", ["<lora:a:1:te=x>", "<lora::1>", "<lora:a:1:FACE:0.5:E:more>", "<lora:a:start=2.0>"])
def test_a_broken_tag_is_explained_in_japanese(tag) -> None:
    with pytest.raises(InputError) as caught:
        parse_tag(tag)
    assert all(re.search(r"[぀-ヿ一-鿿]", text) for text in in_words(caught.value, "ja"))


def test_problems_and_notices_of_a_data_set(tmp_path) -> None:
    from PIL import Image

    folder = tmp_path / "4_krnk"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGBA", (700, 128), "#80402080").save(folder / name)
    Image.new("RGB", (256, 256), "white").save(folder / "tiny.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n not really")
    (folder / "a.txt").write_bytes("長い髪, <lora:x:1>".encode("cp932"))
    found = scan(tmp_path)
    lines = [*found.notices, *map(str, found.problems)]
    assert len(lines) >= 5
    for line in lines:
        said = sentence_in_words(line, "ja").replace(str(tmp_path), "")
        left = set(re.findall(r"[A-Za-z]{3,}", said)) - {"png", "txt", "krnk", "lora", "UTF", "PNG", "JPEG", "WebP"}
        assert left <= {"broken", "tiny"}, said


def test_what_a_folder_holds_is_said_too(tmp_path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("a.pdf", "b.pdf", "README"):
        (tmp_path / name).write_text("no picture")
    with pytest.raises(InputError) as caught:
        scan(tmp_path)
    what, where, _ = in_words(caught.value, "ja")
    assert what == "画像が見つかりません"
    assert where.startswith(f"{tmp_path}（中身：2 .pdf、拡張子なし 1 個")


def test_where_may_carry_a_list_of_problems() -> None:
    error = InputError(
        "None of the training pictures can be used",
        where="/data/x; /data/x/a.png: The file is empty. Save it again as PNG, JPEG or WebP.",
    )
    said = "/data/x；/data/x/a.png：ファイルが空です。PNG・JPEG・WebP で保存し直してください。"
    assert in_words(error, "ja")[1] == said


def test_progress_in_japanese() -> None:
    assert sentence_in_words("loss 0.1234 · 0.52 s a step", "ja") == "損失 0.1234 · 0.52 秒/ステップ"
    assert sentence_in_words("krnk_v1", "ja") == "krnk_v1"
