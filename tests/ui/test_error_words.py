"""Every sentence that the core says is a literal template, known in Japanese, and nothing is there that nobody says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_parse import parse_tag
from lib_lora.data.files import Problem
from lib_lora.data.folder import scan
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.i18n.error_words import FOLDER, in_words, japanese, sentence_in_words
from lib_lora.sentences import Sentence, packed, places_of, quoted, reason_of, say, unpacked
from tests.ui.sentences import SILENT, Sources, collect

FLAG = re.compile(r"--[a-z]")


def spoken() -> dict[str, str]:
    """Return the templates of all rooms but those that speak to the terminal, and a place where each is said."""
    return {said.template: said.place for said in collect() if not said.wrong and not said.place.startswith(SILENT)}


def by_others() -> set[str]:
    """Return the sentences that systems and libraries say, which no source of ours has."""
    return set(json.loads((FOLDER / "system.json").read_text(encoding="utf-8")))


def test_nothing_is_put_together_by_hand() -> None:
    assert [f"{said.place} ({said.role}): {said.template}: {said.wrong}" for said in collect() if said.wrong] == []


def test_every_sentence_is_known_in_japanese() -> None:
    missing = [f"{place}: {template}" for template, place in spoken().items() if template not in japanese()]
    assert not missing, "\n".join(["not in lib_lora/i18n/sentences:", *missing])


def test_no_sentence_is_left_over() -> None:
    assert sorted(japanese().keys() - spoken().keys() - by_others()) == []


def test_no_sentence_stands_in_two_tables() -> None:
    tables = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")]
    assert sum(map(len, tables)) == len(japanese()) > 850


def test_the_languages_have_the_same_places() -> None:
    assert [key for key, said in japanese().items() if set(places_of(key)) != set(places_of(said))] == []


def test_a_form_is_meant_the_same_in_both_languages() -> None:
    """The form of a number is for the number; only what joins a list and counts a word is a language's own."""
    forms = re.compile(r"{(\w+)((?:![ra])?(?::[^{}|; ]*[a-z%,])?)}")
    differ = {key for key, said in japanese().items() if set(forms.findall(key)) != set(forms.findall(said))}
    assert {key for key in differ if re.search(r":[.,\d]*[gfd,]}|!", key)} == set()


def test_no_flag_of_the_terminal_is_in_a_sentence() -> None:
    assert [key for key, said in japanese().items() if FLAG.search(key) or FLAG.search(said)] == []


def test_japanese_is_japanese() -> None:
    """A sentence of several words has some Japanese in it; one without letters has none to have."""
    words = re.compile(r"[A-Za-z]{2,}.* .*[a-z]{2,}")
    bare = {key: re.sub(r"{[^}]*}", "", said) for key, said in japanese().items()}
    assert [key for key, said in bare.items() if words.search(key) and said.isascii() and words.search(said)] == []


def test_errors_and_cures_begin_with_a_capital() -> None:
    """The panels show them as they are: names of items and options stand inside a sentence, not before it."""
    texts = [said for said in collect() if said.role in ("what", "cure") and not said.wrong]
    assert len(texts) > 300
    assert [f"{said.place}: {said.template}" for said in texts if said.template[:1].islower()] == []


def test_what_is_wrong_ends_without_a_full_stop() -> None:
    assert [said.place for said in collect() if said.role == "what" and said.template.endswith(".")] == []


SPEAKING = """
from lib_lora.sentences import Sentence, say
HINT = say("Look again.")
def refuse(what: Sentence, progress, size, notes):
    raise FileError(what, where=size, cure=HINT)
def right(size, notes):
    notes.append(say("{n} tensors", n=size))
    what = say("It is short") if size else say("It is long")
    raise FileError(what, cure="Cut {n} lines." if size else "", n=size)
"""
WRONG = {
    'raise FileError(f"no {size} more")': "an f-string with words",
    'raise FileError("no {n} more")': "[] for ['n']",
    'raise FileError("no more", n=size)': "['n'] for []",
    'raise FileError("no more", where="the last line")': "a place in words needs say()",
    'raise FileError("no " + size)': "a sum of texts",
    'raise FileError("no {n}".format(n=size))': "str.format",
    'raise FileError("no more", cure=f"Cut {size} lines.")': "an f-string with words",
    "raise FileError(text)": "the parameter text is not declared as a Sentence",
    'what = "no more"; raise FileError(what)': "“no more” needs say()",
    'raise FileError("no {n}", n=f"{size} more")': "an f-string with words",
    "say(text)": "the template is no literal",
    'notes.append(f"no {size} more")': "an f-string with words",
    'notes.append("no more")': "a literal without say()",
    'progress.update(1, 2, "working")': "a literal without say()",
    'progress.passed(1, 2, "working" if size else "")': "a literal without say()",
    'progress.update(1, 2, text="working")': "a literal without say()",
    "tell = progress.passed": "hand on the Progress itself, else what its method is told is not read",
    "def work(tell: Callable[[int, int], None]): tell(1, 2)": "a Progress tells how far it is, and its words are read",
    'show(notes=[f"no {size} more"])': "an f-string with words",
}


def test_the_reader_of_sources_takes_what_is_right() -> None:
    found = list(Sources({"x.py": SPEAKING, "e.py": "class FileError(AtelierError): pass"}).said())
    assert [said for said in found if said.wrong] == []
    assert {said.template for said in found} == {
        *("Look again.", "{n} tensors", "It is short", "It is long", "Cut {n} lines.")
    }


@pytest.mark.parametrize("line", WRONG)
def test_the_reader_of_sources_finds_what_is_wrong(line) -> None:
    source = f"from lib_lora.sentences import say\ndef f(size, text, notes, progress):\n    {line}\n"
    found = Sources({"x.py": source, "e.py": "class FileError(AtelierError): pass"}).said()
    assert [said.wrong for said in found if said.wrong] == [WRONG[line]]


# -- a sentence -------------------------------------------------------------------------------------------------------


def test_a_sentence_reads_as_english_and_keeps_its_values(tmp_path) -> None:
    said = say("{n} {n:file|files} in {folder} ({names:; })", n=1, folder=tmp_path, names=(x for x in "ab"))
    assert said == f"1 file in {tmp_path} (a; b)"
    assert said.values == {"n": 1, "folder": str(tmp_path), "names": ["a", "b"]}
    assert say("{n} {n:file|files}", n=2) == "2 files"
    assert say(said) is said


def test_a_sentence_survives_json_with_what_is_inside_of_it() -> None:
    inner = FileError("The file is empty", where="/a/b", cure="Check the disk.")
    said = say("a sample could not be made: {error}", error=inner)
    back = unpacked(json.loads(json.dumps(packed(said))))
    assert back == said == "a sample could not be made: The file is empty — /a/b. Check the disk."
    assert sentence_in_words(back, "ja") == sentence_in_words(said, "ja")
    assert re.fullmatch(
        r"サンプル画像を作れませんでした：ファイルが空です（/a/b）。.*ください。", sentence_in_words(back, "ja")
    )


@pytest.mark.parametrize("row", [None, 3, [], {}, {"text": 3}, {"template": "a"}])
def test_what_is_no_sentence_on_the_disk_is_none(row) -> None:
    assert unpacked(row) is None


def test_a_template_from_the_disk_is_never_filled_in() -> None:
    hostile = {"text": "plain", "template": "{n.__class__:>999999999}", "values": {"n": 1}}
    assert sentence_in_words(unpacked(hostile), "ja") == unpacked(hostile) == "plain"
    other = {"text": "There is no preset “a”", "template": "There is no preset “{name}”", "values": {}}
    assert sentence_in_words(unpacked(other), "ja") == "There is no preset “a”"
    assert unpacked("an old, plain text") == "an old, plain text"


def test_a_swallowed_error_stays_a_sentence() -> None:
    known = say("it is no JSON")
    assert reason_of(ValueError(known)) is known
    assert reason_of(OSError(13, "Permission denied", "/a/b")) == "Permission denied"
    assert reason_of(KeyError()) == "KeyError"
    assert isinstance(quoted("{odd} text"), Sentence)
    assert sentence_in_words(quoted("{odd} text"), "ja") == "{odd} text"


# -- what people see ------------------------------------------------------------------------------------------------


def test_an_error_with_values_in_both_languages() -> None:
    error = InputError(
        "There is no preset “{name}”",
        name="FCAE",
        where=say("{noun}, character {n}", noun=say("LoRA tag"), n=9),
        cure="Did you mean {names}?",
        names=("FACE", "CAFE"),
    )
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
    assert (
        sentence_in_words(say("There is no preset “{name}”", name="{0}%s{name}"), "ja")
        == "プリセット「{0}%s{name}」はありません"
    )


def test_the_reason_of_the_system_is_said_too() -> None:
    error = FileError("The file cannot be read: {reason}", reason=OSError(13, "Permission denied", "/a/b.safetensors"))
    assert in_words(error, "ja")[0] == "ファイルを読み込めません：権限がありません"


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
    lines = [*found.notices, *(problem.sentence for problem in found.problems)]
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
        where=say(
            "{folders}; {problems:; }",
            folders=["/data/x"],
            problems=[
                Problem(Path("/data/x/a.png"), say("The file is empty"), say("Save it again as PNG, JPEG or WebP."))
            ],
        ),
    )
    said = "/data/x；/data/x/a.png：ファイルが空です。PNG・JPEG・WebP で保存し直してください。"
    assert in_words(error, "ja")[1] == said


def test_progress_in_japanese() -> None:
    said = say("loss {loss:.4f} · {seconds:.2f} s a step", loss=0.12341, seconds=0.521)
    assert sentence_in_words(said, "ja") == "損失 0.1234 · 0.52 秒/ステップ"
    assert sentence_in_words("krnk_v1", "ja") == "krnk_v1"
