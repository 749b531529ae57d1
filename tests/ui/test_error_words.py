"""Every sentence that the core says is known in Japanese, and nothing is translated that nobody says."""

from __future__ import annotations

import ast
import random
import re

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_parse import parse_tag
from lib_lora.data.folder import scan
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.i18n import phrases
from lib_lora.i18n.error_words import SENTENCES, book, in_words, progress_in_words, sentence_in_words
from lib_lora.i18n.words import table
from tests.ui.literals import PLACE, Module
from tests.ui.spoken import Said, collect, read

BOOKS = {"where": ("places",), "progress": ("progress",)}

UNREADABLE = {
    ("lib_lora/data/folder.py", "notice"): "the notices of pictures.py and pixels.py, read where they are appended",
    ("lib_lora/progress.py", "text"): "hands on what it is given",
    ("lib_lora/services/jobs/run_state.py", "parts[0]"): "an earlier error's sentence, kept on the disk",
    ("lib_lora/services/jobs/run_state.py", "parts[2]"): "an earlier error's cure, kept on the disk",
    ("lib_lora/services/jobs/run_watch.py", "text"): "hands on what it is given",
    ("lib_lora/services/jobs/training.py", "reason_of(error)"): "the operating system's own words",
}
"""Expressions that are no sentence of their own, and why."""

ELSEWHERE = {
    "errors.the_work_was_stopped_before_it": "StoppedError in errors.py has one sentence",
    "remarks.line_n_said": "LineProblem.__str__ makes the line",
    "remarks.n_folder": "data/leaves.py counts what it sees by kind",
    "remarks.file_without_ending": "data/leaves.py counts what it sees by kind",
    "remarks.utf_8_with_damage": "an encoding in data/captions.py",
    "remarks.old_oft": "a kind in the table of formats/adapters/registry.py",
    "remarks.boft_of_peft": "a kind in the table of formats/adapters/registry.py",
    "remarks.whole_weight": "a kind in the table of formats/adapters/registry.py",
    "remarks.sparse_bias": "a kind in the table of formats/adapters/registry.py",
    "remarks.full_difference": "the title of a kind in formats/adapters/full.py",
    "remarks.bias": "the title of a kind in formats/adapters/bias.py",
    "remarks.a_t_lora_does_not_say": "what formats/adapters/tlora.py assumes, joined with others in formats/lora.py",
    "remarks.adafactor_makes_its_own_rate": "a reason in the table of train/unused.py",
    "remarks.only_cosine_with_restarts_has_cycles": "a reason in the table of train/unused.py",
    "remarks.only_polynomial_has_a_power": "a reason in the table of train/unused.py",
    "remarks.only_a_locon_has_convolutions": "a reason in the table of train/unused.py",
    "remarks.no_tag_is_moved_or_left_out": "a reason in the table of train/unused.py",
    "remarks.there_are_no_regularisation_pictures": "a reason in the table of train/unused.py",
    "places.prompt_character": "PositionError puts its noun before the place",
    "cures.use_a_vector_of_or_values": "joined from the layouts of a family in blocks/weights.py",
}
"""Phrases that the sources build in a way the reader of sources does not follow, and why."""

KEPT = re.compile(
    r"--?\w+|[a-z]+(_[a-z]+)+|dropout|optimizer|name|range|trigger|resolution|alpha|lr|tag|text_model\.encoder.*|__\w+__"
)
"""Places that are names: options as they are written in a file or a command, parts of a model."""
NAMES = {"unet", "other", "images", "name"}
"""Items of a tag and options that a sentence names; the same in every language."""
KEPT_PLACES = {"{} and {}": "two sizes in brackets; the fixed text alone would be found in any path"}


def told(roles: tuple[str, ...]) -> list[Said]:
    return [said for said in collect()[0] if said.role in roles]


def filled(text: str) -> str:
    """Put values without letters into the places."""
    return text.replace(PLACE, "70")


def is_prose(said: Said) -> bool:
    if said.role == "where" and (said.text in KEPT_PLACES or all(KEPT.fullmatch(p) for p in said.text.split(", "))):
        return False
    return bool(re.search(r"[A-Za-z]{3}", said.text))


def english_left(said: Said) -> str:
    """Return what is wrong with a sentence in Japanese, or nothing."""
    text, keys = book("ja", *BOOKS.get(said.role, SENTENCES)).find(filled(said.text))
    if not keys:
        return "is not known"
    meant = " ".join(table()[key]["ja"] for key in keys)
    left = [word for word in re.findall(r"[A-Za-z]{3,}", text) if word not in meant and word not in NAMES]
    return f"keeps {', '.join(left)}" if left else ""


SPEAKING = """
from lib_lora.errors import AtelierError

HINT = "Look again"

class FileError(AtelierError):
    pass

def refuse(what, progress):
    progress.update(1, 2, f"step {what}")
    raise FileError(what, where=f"line {1 + 2}", cure=f"{HINT}.")

def speak(path, word, kind, notes):
    notes.append("first" if kind else "second")
    for part, size in (("head", 1), ("tail", 2)):
        refuse(f"the {part} is " + ending(kind), None)
    raise FileError(path.name)

def ending(kind):
    return {1: "short", 2: f"long ({kind})"}.get(kind, "lost")
"""


def test_the_reader_of_sources_follows_a_sentence_to_its_literals() -> None:
    said, unread = read(
        [Module("errors.py", ast.parse("class AtelierError: pass")), Module("x.py", ast.parse(SPEAKING))]
    )
    by_role = {role: {one.text for one in said if one.role == role} for role in {one.role for one in said}}
    sentences = {f"the {part} is {end}" for part in ("head", "tail") for end in ("short", "long ({})", "lost")}
    assert by_role == {
        "what": sentences,
        "cure": {"Look again."},
        "where": {"line {}"},
        "remark": {"first", "second"},
        "progress": {f"step {sentence}" for sentence in sentences},
    }
    assert [(one.place, one.text) for one in unread] == [("x.py:17", "path.name")]


def test_the_core_says_many_things() -> None:
    count = {role: len(told((role,))) for role in ("what", "cure", "where", "remark", "progress")}
    assert count["what"] > 250, count
    assert count["cure"] > 180, count
    assert min(count.values()) >= 3, count


def test_errors_and_cures_begin_with_a_capital() -> None:
    """The panels show them as they are: names of items and options stand inside a sentence, not before it."""
    assert [f"{said.place}: {said.text}" for said in told(("what", "cure")) if said.text[:1].islower()] == []


@pytest.mark.parametrize("role", ["what", "cure", "where", "remark", "progress"])
def test_every_sentence_is_known_in_japanese(role) -> None:
    wrong = [f"{s.place}: “{s.text}” {english_left(s)}" for s in told((role,)) if is_prose(s) and english_left(s)]
    assert not wrong, "\n".join(["not in lib_lora/i18n/texts (errors, cures, remarks, places, progress):", *wrong])


def test_every_expression_can_be_read() -> None:
    unknown = {(s.place.rpartition(":")[0], s.text) for s in collect()[1] if s.role != "where"}
    assert unknown - UNREADABLE.keys() == set()
    assert UNREADABLE.keys() - unknown == set()


def test_no_phrase_is_left_over() -> None:
    used = set(ELSEWHERE)
    for said in collect()[0]:
        used |= book("ja", *BOOKS.get(said.role, SENTENCES)).find(filled(said.text))[1]
    known = {key for key in table() if key.partition(".")[0] in ("errors", "cures", "remarks", "places", "progress")}
    assert sorted(known - used) == []


@pytest.mark.parametrize("files", [SENTENCES, ("places",), ("progress",)])
def test_each_phrase_finds_itself(files) -> None:
    """No phrase hides behind a wider one, and none stands there twice."""
    english = {key: texts["en"] for key, texts in table().items() if key.partition(".")[0] in files}
    assert len(set(english.values())) == len(english)
    hidden = [k for k, text in english.items() if k not in book("ja", *files).find(re.sub(r"{\w+}", "70", text))[1]]
    assert hidden == []


def test_places_need_fixed_text_between_them() -> None:
    close = [key for key, texts in table().items() if re.search(r"}{", texts["en"]) and not key.startswith("common.")]
    assert close == []


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
    assert progress_in_words("loss 0.1234 · 0.52 s a step", "ja") == "損失 0.1234 · 0.52 秒/ステップ"
    assert progress_in_words("krnk_v1", "ja") == "krnk_v1"


# -- hostile texts ---------------------------------------------------------------------------------------------------


def hostile_texts() -> list[str]:
    """Texts made of the phrases' own pieces, thousands of them, so that every search almost succeeds."""
    pieces = sorted({p for t in table().values() for p in re.split(r"{\w+}", t["en"]) if p} | {"; ", ": ", ". "})
    rng = random.Random(7)
    made = ["".join(rng.choices(pieces, k=size)) for size in (1, 2, 3, 5, 8, 13) for _ in range(80)]
    made += [piece * 3000 for piece in ("; ", ": ", ". ", "(", " line 1: ", "“", "The file is empty. ")]
    return [*made, "".join(rng.choices(pieces, k=3000)), "There is no preset “" * 2000 + "”", ""]


@pytest.fixture
def searches(monkeypatch) -> list[str]:
    """Every search of a phrase in a text, as it is made."""
    made = []
    real = phrases.Phrase.match

    def counted(self, text):
        made.append(self.key)
        return real(self, text)

    monkeypatch.setattr(phrases.Phrase, "match", counted)
    return made


def test_no_text_costs_more_than_a_fixed_number_of_searches(searches) -> None:
    """A search is one pass over the text, so this bounds the time without a clock."""
    for text in hostile_texts():
        searches.clear()
        sentence_in_words(text, "ja")
        assert len(searches) < 300 * len(table()), text[:200]


def test_a_longer_hostile_text_costs_no_more_searches(searches) -> None:
    for piece in ("; ", ": ", ". ", "The file is empty. ", "a: The file is empty; "):
        costs = []
        for times in (500, 5000):
            searches.clear()
            sentence_in_words(piece * times, "ja")
            costs.append(len(searches))
        assert costs[0] == costs[1], piece


def test_a_usual_sentence_takes_few_searches(searches) -> None:
    assert sentence_in_words("The caption cannot be read (Permission denied)", "ja").endswith("（権限がありません）")
    assert len(searches) < len(table())
