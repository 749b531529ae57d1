from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_lora.data.captions import CaptionIndex, CaptionRules, read_caption
from lib_lora.data.decoding import DAMAGED, decode_caption
from lib_lora.data.edit_captions import plan_each
from lib_lora.data.files import Problem
from lib_lora.data.folder import scan
from lib_lora.data.tag_lines import (
    CaptionReading,
    caption_warnings,
    split_tags,
    strip_network_tags,
    trained_line,
    with_tag,
    with_tag_replaced,
    without_tag,
)
from lib_lora.errors import FileError, InputError

JAPANESE = "黒髪, 猫耳, 少女"
WORD = st.text("abcdefgh 日本語é", min_size=1, max_size=8).filter(lambda text: text.strip() == text and text)
TAGS = st.lists(WORD, min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (JAPANESE.encode("utf-8-sig"), JAPANESE, "utf-8-sig"),
        (JAPANESE.encode("utf-8"), JAPANESE, "utf-8"),
        (JAPANESE.encode("utf-16"), JAPANESE, "utf-16"),
        (b"\xfe\xff" + JAPANESE.encode("utf-16-be"), JAPANESE, "utf-16"),
        (JAPANESE.encode("utf-16-le"), JAPANESE, "utf-16-le"),
        ("krnk, girl".encode("utf-16-be"), "krnk, girl", "utf-16-be"),
        (JAPANESE.encode("cp932"), JAPANESE, "cp932"),
        ("café, blue".encode("cp1252"), "café, blue", "cp1252"),
        (b"\x81, \xff", "\ufffd, \ufffd", DAMAGED),
        (b"", "", "utf-8"),
        (b"a\r\nb\rc\n", "a\nb\nc", "utf-8"),
    ],
)
def test_every_encoding_is_recognized_and_named(data: bytes, text: str, encoding: str) -> None:
    caption = decode_caption(data)
    assert (caption.text, caption.encoding) == (text, encoding)
    assert caption.is_utf8 == (encoding in ("utf-8", "utf-8-sig"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_reading_fail(data: bytes) -> None:
    text = decode_caption(data).text
    assert text == text.strip()
    assert "\0" not in text
    assert "\r" not in text


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40), st.sampled_from(["utf-8-sig", "utf-16"]))
def test_marked_encodings_give_back_any_text(text: str, encoding: str) -> None:
    assert decode_caption(text.encode(encoding)).text == text.replace("\ufeff", "").strip()


def test_unreadable_and_enormous_captions_are_file_errors(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        read_caption(tmp_path / "gone.txt")
    (tmp_path / "log.txt").write_bytes(b"x" * 1_100_000)
    with pytest.raises(FileError, match="too long"):
        read_caption(tmp_path / "log.txt")


def test_exact_names_win_over_other_case_and_unicode_form(tmp_path: Path) -> None:
    files = [Path("ガ.txt"), Path("A.TXT"), Path("b.caption"), Path("B.txt"), Path("b.txt")]
    index = CaptionIndex(files)
    assert index.find(Path("ガ.png")) == Path("ガ.txt")  # composed name, decomposed file
    assert index.find(Path("a.png")) == Path("A.TXT")
    assert index.find(Path("b.png")) == Path("b.txt")
    assert index.find(Path("c.png")) is None


def test_rules_at_rest_change_nothing_but_take_the_first_line() -> None:
    rules = CaptionRules()
    assert rules.apply("  \nb, a ,c\nsecond", random.Random(0)) == "b, a ,c"
    assert rules.apply("", random.Random(0)) == ""


@settings(max_examples=80, deadline=None)
@given(TAGS, st.integers(0, 10), st.integers(0, 99))
def test_shuffling_keeps_every_tag_and_the_first_ones_in_place(tags, keep, seed) -> None:
    line = CaptionRules(shuffle=True, keep_tokens=keep).apply(", ".join(tags), random.Random(seed))
    result = split_tags(line)
    assert Counter(result) == Counter(tags)
    assert result[:keep] == tags[:keep]


@settings(max_examples=80, deadline=None)
@given(TAGS, st.floats(0.0, 1.0), st.integers(0, 10), st.integers(0, 99))
def test_tag_dropout_keeps_order_and_kept_tags(tags, rate, keep, seed) -> None:
    rules = CaptionRules(tag_dropout=rate, keep_tokens=keep)
    result = split_tags(rules.apply(", ".join(tags), random.Random(seed)))
    rest = iter(tags)
    assert all(tag in rest for tag in result)  # a subsequence
    assert result[: min(keep, len(tags))] == tags[:keep]


@settings(max_examples=50, deadline=None)
@given(TAGS, st.integers(0, 99))
def test_the_same_seed_gives_the_same_caption(tags, seed) -> None:
    rules = CaptionRules(shuffle=True, dropout=0.2, tag_dropout=0.3, wildcards=True)
    text = ", ".join([*tags, "{x|y|z}"])
    assert rules.apply(text, random.Random(seed), 5) == rules.apply(text, random.Random(seed), 5)


def test_whole_caption_dropout_by_rate_and_by_epoch() -> None:
    assert CaptionRules(dropout=1.0, prefix="p").apply("a", random.Random(0)) == ""
    every_third = CaptionRules(dropout_every_epochs=3)
    assert [every_third.apply("a", random.Random(0), epoch=epoch) for epoch in (1, 2, 3, 6)] == ["a", "a", "", ""]
    rate = sum(not CaptionRules(dropout=0.25).apply("a", random.Random(seed)) for seed in range(800)) / 800
    assert 0.2 < rate < 0.3


def test_tags_warm_up_from_the_minimum_to_all() -> None:
    rules = CaptionRules(keep_tokens=1, warmup_min=1, warmup_steps=100)
    counts = [len(split_tags(rules.apply("k,a,b,c,d,e", random.Random(0), step))) for step in (0, 24, 25, 75, 100)]
    assert counts == [2, 2, 3, 5, 6]
    share = CaptionRules(warmup_min=0, warmup_steps=0.5)
    assert share.apply("a,b", random.Random(0), 50, total_steps=200) == "a"
    assert share.apply("a,b", random.Random(0), 100, total_steps=200) == "a, b"


PROCESSED = json.loads((Path(__file__).parent / "process_caption.json").read_text(encoding="utf-8"))
"""What sd-scripts' own process_caption made: caption, rules, seed of Python's random, step, epoch, text; 100 steps."""


@pytest.mark.parametrize(("caption", "rules", "seed", "step", "epoch", "made"), PROCESSED)
def test_the_same_random_numbers_give_the_caption_of_sd_scripts(caption, rules, seed, step, epoch, made) -> None:
    rng = random.Random(seed)
    assert CaptionRules(**rules).apply(caption, rng, step, epoch=epoch, total_steps=100) == made


def test_the_longest_text_has_the_longest_choices_and_what_stands_around() -> None:
    rules = CaptionRules(wildcards=True, prefix="p,", suffix=", s")
    assert rules.longest("{a|long {one|other}}\nb") == "p, long other , s"
    assert CaptionRules().longest("a\nlonger") == "a"
    assert CaptionRules().longest("") == ""


def test_marked_parts_stay_at_both_ends() -> None:
    rules = CaptionRules(keep_separator="|||", tag_dropout=1.0)
    assert rules.apply("a, b ||| c, d ||| e", random.Random(0)) == "a, b, e"
    assert CaptionRules(keep_separator="|||").apply("a ||| b", random.Random(0)) == "a, b"


def test_prefix_suffix_and_secondary_separator() -> None:
    rules = CaptionRules(prefix="best,", suffix=", end", secondary_separator=";")
    assert rules.apply("a;cat", random.Random(0)) == "best, a,cat , end"


def test_linked_tags_are_shuffled_as_one() -> None:
    rules = CaptionRules(shuffle=True, secondary_separator=";")
    for seed in range(20):
        assert "a,b" in rules.apply("a;b, c, d", random.Random(seed))


def test_wildcards_draw_lines_and_choices_and_keep_escaped_braces() -> None:
    rules = CaptionRules(wildcards=True)
    seen = {rules.apply("{a|{b|c}} x\ny", random.Random(seed)) for seed in range(60)}
    assert seen == {"a x", "b x", "c x", "y"}
    assert rules.apply("{{a|b}}", random.Random(0)) == "{a|b}"
    assert CaptionRules().apply("{a|b}", random.Random(0)) == "{a|b}"


def test_network_tags_are_removed_and_reported() -> None:
    text = "a, <lora:x:0.5>, b <hypernet:y:1>"
    assert strip_network_tags(text) == ("a, b", ("<lora:x:0.5>", "<hypernet:y:1>"))
    assert CaptionRules().apply(text, random.Random(0)) == "a, b"
    assert len(caption_warnings(text)) == 1
    assert "invisible" in caption_warnings("krnk\u200b, a")[0]
    assert caption_warnings("a > b, x<3, (c) :3, saber (fate), {{a|b}}, AND1") == ()


def test_weights_over_commas_are_reported() -> None:
    assert "comma" in caption_warnings("(a, b:1.2)")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("krnk, (smile:1.2)", "weights"),
        ("krnk, {red|blue} hair", "choices"),
        ("krnk BREAK red hair", "BREAK"),
        (r"saber \(fate\)", "backslashes"),
        ("krnk\nred hair", "several lines"),
        ("[red:blue:0.5] hair", "prompt editing"),
        ("[a|b], krnk", "prompt editing"),
        ("krnk、（red hair：1.2）", "weights"),
        ("krnk, ｛red｜blue｝ hair", "choices"),
        ("((krnk))", "emphasis"),
        ("krnk, [smile]", "emphasis"),
        ("krnk, __hair/long__", "Dynamic Prompts"),
        ("kr\x07nk", "invisible"),
    ],
)
def test_what_training_reads_as_letters_is_said(text, said) -> None:
    (warning,) = caption_warnings(text)
    assert said in warning


def test_what_training_reads_as_more_than_letters_is_no_warning() -> None:
    reading = CaptionReading(weights=True, choices=True)
    assert caption_warnings(r"(a:1.2), ((b)), [c], \(d\), {e|f}" + "\nline", reading=reading) == ()
    assert len(caption_warnings("(a, b:1.2), [c:d:0.5]", reading=reading)) == 2
    for text in ("{2::a|1::b}", "{2$$a|b}"):  # no choice that is known here has them
        assert ["Dynamic Prompts" in said for said in caption_warnings(text, reading=reading)] == [True]


@pytest.mark.parametrize(
    "wrong",
    [{"dropout": 1.1}, {"tag_dropout": float("nan")}, {"keep_tokens": -1}, {"warmup_steps": -1}, {"separator": ""}],
)
def test_rules_out_of_range_are_refused_when_made(wrong) -> None:
    with pytest.raises(InputError):
        CaptionRules(**wrong)


# -- encodings ------------------------------------------------------------------------------------------------------

TEXTS = (
    "黒髪, 猫耳, 少女",
    "女の子",
    "笑顔、青い目",
    "krnk, 眼鏡",
    "セーラー服",
    "薔薇の花",
    "1girl, 黒髪ロング",
    "空",
    "魔法少女 まどか",
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp932", "euc_jp", "iso2022_jp"])
@pytest.mark.parametrize("text", TEXTS)
def test_japanese_is_read_in_every_encoding_that_editors_wrote(text, encoding) -> None:
    assert decode_caption(text.encode(encoding)).text == text


@pytest.mark.parametrize(
    "text", ["café, blue", "naïve girl", "fiancée, red", "Schöne Frau, grün", "l’été, forêt", "façade"]
)
def test_western_words_are_not_taken_for_japanese(text) -> None:
    assert decode_caption(text.encode("cp1252")).text == text


def test_two_kanji_of_euc_jp_are_no_letters_of_utf_8() -> None:
    assert decode_caption("髪, 猫".encode("euc_jp")).text == "髪, 猫"
    assert decode_caption("ζ, é".encode()).text == "ζ, é"


OTHERS = {
    "gb18030": ("krnk, 一个女孩, 长头发, 微笑", "微笑, 长发", "一个穿着红色裙子的女孩站在樱花树下，微笑着看着镜头。"),
    "cp950": ("krnk, 一個女孩, 長頭髮, 微笑", "長髮, 藍色眼睛", "一個穿著紅色裙子的女孩站在櫻花樹下，看著鏡頭。"),
    "cp949": ("krnk, 소녀, 긴 머리, 미소", "빨간 드레스를 입은 소녀가 벚꽃 나무 아래에 서 있다.", "검은 머리, 파란 눈"),
    "cp1251": ("девушка, улыбка, синие глаза", "krnk, Девушка в красном платье"),
}


@pytest.mark.parametrize(("text", "encoding"), [(text, name) for name, texts in OTHERS.items() for text in texts])
def test_chinese_korean_and_russian_are_read_in_their_old_encodings(text, encoding) -> None:
    caption = decode_caption(text.encode(encoding))
    assert (caption.text, caption.encoding) == (text, encoding)


ALPHABETS = {
    "koi8_r": ("чёрные волосы, голубые глаза", "krnk, девушка в красном платье"),
    "cp866": ("чёрные волосы, голубые глаза, шляпа",),
    "iso8859_5": ("чёрные волосы, голубые глаза, шляпа",),
    "cp1251": ("девушка, улыбка", "шляпа, улыбка", "длинные волосы"),
    "cp1250": (
        "czarne włosy, niebieskie oczy, uśmiech",
        "černé vlasy, žluté šaty, úsměv",
        "fekete haj, kék szem, őszi fű",
    ),
    "cp1253": ("μαύρα μαλλιά, μπλε μάτια, καπέλο", "κορίτσι, χαμόγελο, Αθήνα"),
    "cp1254": ("siyah saç, mavi gözlü kız, şapka, gülümseme",),
    "cp1257": ("juodi plaukai, mėlynos akys, šypsena",),
    "cp874": ("ผมสีดำ, ตาสีฟ้า, หมวก, ยิ้ม",),
    "cp1252": ("crème brûlée, garçon, l’été", "Mädchen, grüne Augen, weiß"),
}


@pytest.mark.parametrize(("text", "encoding"), [(text, name) for name, texts in ALPHABETS.items() for text in texts])
def test_alphabets_of_one_byte_are_told_apart_by_how_often_their_letters_come(text, encoding) -> None:
    caption = decode_caption(text.encode(encoding))
    assert (caption.text, caption.is_certain) == (text, True)


DOUBTFUL = (("КРАСНОЕ ПЛАТЬЕ", "koi8_r"), ("esernyő", "cp1250"), ("łóżko", "cp1250"), ("yağmur", "cp1254"))
DOUBTFUL += (
    ("כובע", "cp1255"),
    ("ё", "koi8_r"),
    ("niña", "cp1252"),
    ("ł", "iso8859_2"),
    ("кот", "iso8859_5"),
    ("шляпа", "koi8_r"),
)


@pytest.mark.parametrize(("text", "encoding"), DOUBTFUL)
def test_what_may_be_several_alphabets_is_never_taken_for_certain(text, encoding) -> None:
    caption = decode_caption(text.encode(encoding))
    assert caption.text == text or not caption.is_certain


ALL = (*TEXTS, *(text for texts in OTHERS.values() for text in texts), "彼女は笑っている")
MARKLESS = [(text, name) for text in ALL for name in ("utf-16-le", "utf-16-be") if not text.encode(name).isascii()]
"""女の子 alone is also the six letters `Yf0nP[`: nothing can tell."""


@pytest.mark.parametrize(("text", "encoding"), MARKLESS)
def test_utf_16_without_its_mark_is_read_in_every_script(text, encoding) -> None:
    caption = decode_caption(text.encode(encoding))
    assert (caption.text, caption.is_certain) == (text, True)


def test_a_caption_that_may_be_two_texts_is_said_to_be_and_never_written_over(tmp_path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    data = "ﾈｺ, ｲﾇ".encode("cp932")  # “蛤, 嫁” in EUC-JP
    (tmp_path / "a.txt").write_bytes(data)
    (said,) = [notice for notice in scan(tmp_path).notices if "encoding" in notice]
    assert "read as euc_jp and not as" in said
    problems: list[Problem] = []
    assert plan_each({tmp_path / "a.png": lambda text: f"krnk, {text}"}, problems) == []
    assert "may be in another encoding" in problems[0].what
    assert (tmp_path / "a.txt").read_bytes() == data


@pytest.mark.parametrize(
    "data", ["黒髪, 少女".encode()[:-1], "黒髪, 少女, 猫".encode().replace("猫".encode(), b"\xff")]
)
def test_utf_8_that_was_cut_is_damaged_and_not_another_encoding(data) -> None:
    caption = decode_caption(data)
    assert caption.is_damaged
    assert caption.text.startswith("黒髪, 少")


# -- lines and commas -----------------------------------------------------------------------------------------------

TWO = "krnk, red hair\nblue sky, standing"


def test_tags_are_changed_line_by_line_and_added_to_the_line_that_is_trained() -> None:
    assert without_tag(TWO, "red hair") == "krnk\nblue sky, standing"
    assert without_tag(TWO, "standing") == "krnk, red hair\nblue sky"
    assert without_tag("a\nb", "b") == "a"
    assert with_tag(TWO, "smile") == "krnk, red hair, smile\nblue sky, standing"
    assert with_tag(TWO, "standing") == "krnk, red hair, standing\nblue sky, standing"  # line 2 is not trained
    assert with_tag(TWO, "krnk") == TWO
    assert with_tag_replaced(TWO, "blue sky", "krnk") == "krnk, red hair\nkrnk, standing"
    assert with_tag("\n<lora:x:1>\na", "b") == "<lora:x:1>\na, b"  # training strips network tags
    assert trained_line("\n<lora:x:1>\na, b\nc") == "a, b"


def test_several_tags_at_once() -> None:
    assert with_tag("a", "b, a、c") == "a, b, c"
    assert with_tag(with_tag("a", "b, c"), "b, c") == "a, b, c"
    assert without_tag("a, b, c", "a，c") == "b"
    assert with_tag_replaced("a, b", "a", "x, b") == "x, b"


@pytest.mark.parametrize("text", ["黒髪,青い目", "黒髪，青い目", "黒髪、青い目", "黒髪､青い目", "　黒髪　，　青い目　"])
def test_commas_of_every_keyboard_separate(text) -> None:
    assert split_tags(text) == ["黒髪", "青い目"]
    assert with_tag(text, "黒髪") == text
    assert without_tag(text, "黒髪") == "青い目"
    assert CaptionRules(keep_tokens=1, tag_dropout=1.0).apply(text, random.Random(0)) == "黒髪"
    assert CaptionRules().apply(text.strip(), random.Random(0)).replace(" ", "") == "黒髪,青い目"
    assert split_tags("red　hair") == ["red hair"]
