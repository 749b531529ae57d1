"""Prompts as the WebUI reads them. The expected values are those of A1111 1.10.1's own parser."""

from __future__ import annotations

import time

import pytest

from lib_lora.host.clip_chunks import wrapped
from lib_lora.host.prompt.editing import read_editing
from lib_lora.host.prompt.emphasis import PromptError, read_emphasis
from lib_lora.host.prompt.remarks import tag_remarks, text_remarks
from lib_lora.host.prompt.schedule import Part, parts_of, schedule_of, text_at
from lib_lora.i18n.error_words import sentence_in_words

WEIGHTS = {
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(smile:1.5)": [("smile", 1.5)],
    "( smile : 1.5 )": [(" smile ", 1.5)],
    "(smile:-.5)": [("smile", -0.5)],
    "(smile:１.５)": [("smile", 1.5)],
    "[dark]": [("dark", 1 / 1.1)],
    "[[dark]]": [("dark", 1 / 1.1 / 1.1)],
    "(unbalanced": [("unbalanced", 1.1)],
    "unbalanced)": [("unbalanced)", 1.0)],
    "a:1.2)": [("a:1.2)", 1.0)],
    r"\(literal\]": [("(literal]", 1.0)],
    r"back\slash": [("backslash", 1.0)],
    r"two\\": [("two\\", 1.0)],
    "(a)(b)": [("ab", 1.1)],
    "": [("", 1.0)],
    "()": [("", 1.0)],
    "(a:1,2)": [("a:1,2", 1.1)],
    "（a：1.2）": [("（a：1.2）", 1.0)],
    "a BREAK b": [("a", 1.0), ("BREAK", -1.0), ("b", 1.0)],
    "aBREAKb": [("aBREAKb", 1.0)],
    "(a BREAK b:2)": [("a", 2.0), ("BREAK", -2.0), ("b", 2.0)],
    "((house:1.3)) [on] a (hill:0.5)": [
        ("house", 1.3 * 1.1),
        (" ", 1.0),
        ("on", 1 / 1.1),
        (" a ", 1.0),
        ("hill", 0.5),
    ],
}

SCHEDULES = {
    "test": [(10, "test")],
    "a [b:3]": [(3, "a "), (10, "a b")],
    "a [b: 3 ]": [(3, "a "), (10, "a b")],
    "a [[[b]]:2]": [(2, "a "), (10, "a [[b]]")],
    "[(a:2):3]": [(3, ""), (10, "(a:2)")],
    "a [b : c : 1] d": [(1, "a b  d"), (10, "a  c  d")],
    "a[b:[c:d:2]:1]e": [(1, "abe"), (2, "ace"), (10, "ade")],
    "a [unbalanced": [(10, "a [unbalanced")],
    "a [b:.5] c": [(5, "a  c"), (10, "a b c")],
    "a [b::0.25] c": [(2, "a b c"), (10, "a  c")],
    "[a:b:99]": [(10, "a")],
    "[a:b:0]": [(10, "b")],
    "[a:b:-3]": [(10, "b")],
    "[a:b:1e1]": [(10, "a")],
    "[a:b:1e999]": [(10, "a")],
    "((a][:b:c [d:3]": [(3, "((a][:b:c "), (10, "((a][:b:c d")],
    "[fe|]male": [(n, "female" if n % 2 else "male") for n in range(1, 11)],
    "[a|b|c]": [(n, "cab"[n % 3]) for n in range(1, 11)],
    "[a|(b:1.1)]": [(n, "a" if n % 2 else "(b:1.1)") for n in range(1, 11)],
    ")[a:b:0.5]:1": [(5, ")a:1"), (10, ")b:1")],
    "[dark] cat": [(10, "[dark] cat")],
    r"\[a:b:3]": [(10, r"\[a:b:3]")],
    "[a:b:3]\\": [(10, "[a:b:3]\\")],
    "[a:b:3] | c": [(10, "[a:b:3] | c")],
    "[a:b:3]]": [(3, "a]"), (10, "b]")],
    "[[a::2]]:": [(10, "[[a::2]]:")],  # what the WebUI's parser makes of signs without partner follows no rule
    "[d:0.5]:]": [(10, "[d:0.5]:]")],
    "[x (b:c:d):e:3]": [(10, "[x (b:c:d):e:3]")],
}

PARTS = {
    "a cat": [("a cat", 1.0)],
    "a cat AND a dog": [("a cat", 1.0), (" a dog", 1.0)],
    "a cat :1.2 AND a dog:-0.5": [("a cat", 1.2), (" a dog", -0.5)],
    "SAND AND sea AND": [("SAND", 1.0), (" sea", 1.0), ("", 1.0)],
    "at 12:30": [("at 12", 30.0)],
    "(a:1.2)": [("(a:1.2)", 1.0)],
    "a : 1 : 2. ": [("a : 1", 2.0)],
}


@pytest.mark.parametrize(("text", "wanted"), WEIGHTS.items())
def test_weights_of_words(text, wanted):
    assert [(piece.text, pytest.approx(piece.weight)) for piece in read_emphasis(text)] == wanted


@pytest.mark.parametrize(("text", "wanted"), SCHEDULES.items())
def test_texts_in_the_course_of_ten_steps(text, wanted):
    assert [(moment.last, moment.text) for moment in schedule_of(text, 10)] == wanted


@pytest.mark.parametrize(("text", "wanted"), PARTS.items())
def test_parts_between_and(text, wanted):
    assert parts_of(text) == tuple(Part(*each) for each in wanted)


@pytest.mark.parametrize(
    "text",
    ["[" * 300, "[a:" * 60 + "b" + ":0.5]" * 60, "[" * 4000 + "[a:b:2]]", "[a:b:2]]" * 500, "[a|" * 1000 + "]" * 1000]
    + ["[a:" * 800 + "b" + ":0.5]" * 800, "(" * 2000 + "a" + ")" * 2000, "(:" * 2000, "（：" * 2000, "_" * 4000]
    + ["<lora:a:1> [" * 300, "{|" * 2000, " :" * 2000, "embedding:" * 400, "[a:b:2]" + "]" * 24],
)
def test_any_prompt_of_a_few_thousand_characters_is_read_at_once(text):
    schedule_of("[a:b:2]]", 4)  # the parser is made once
    began = time.process_time()
    schedule_of(text, 20)
    read_emphasis(text)
    tag_remarks(text, text)
    text_remarks(text, text)
    assert time.process_time() - began < 2  # half a second on an idle machine


def test_without_the_webuis_parser_nothing_is_lost_but_its_whims(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    read_editing.cache_clear()
    for text, wanted in SCHEDULES.items():
        if text not in ("[[a::2]]:", "[d:0.5]:]"):
            assert [(moment.last, moment.text) for moment in schedule_of.__wrapped__(text, 10)] == wanted
    assert "lone :" in " ".join(text_remarks("[d:0.5]:]", ""))
    read_editing.cache_clear()


def test_a_change_after_two_steps_is_seen_by_the_fourth_call():
    moments = schedule_of("[a:b:2]", 10)  # the WebUI counts its calls from 0 and compares with ≤
    assert [text_at(moments, call) for call in range(5)] == [0, 0, 0, 1, 1]


def test_a_weight_that_is_no_number_is_pointed_at():
    with pytest.raises(PromptError) as caught:
        read_emphasis("a (smile:1.2.3) b")
    assert caught.value.position == len("a (smile:")


def tokens(*pieces):
    return [None if piece is None else (list(piece), 1.0) for piece in pieces]


def lengths(pieces, comma=0):
    return [len(chunk) for chunk in wrapped(pieces, comma=comma)]


def test_chunks_end_at_75_behind_a_near_comma_or_at_break():
    words = [1] * 60
    assert lengths(tokens([])) == [0]
    assert lengths(tokens([1] * 75)) == [75]
    assert lengths(tokens([1] * 76)) == [75, 1]
    assert lengths(tokens([*words, 0, *[1] * 20])) == [61, 20]  # 14 tokens behind the comma when the chunk is full
    assert lengths(tokens([*[1] * 54, 0, *[1] * 30])) == [75, 10]  # 21 before the comma's place: too far back
    assert lengths(tokens([*[1] * 55, 0, *[1] * 30])) == [56, 30]
    assert lengths(tokens([*[1] * 75, 0, 1])) == [75, 2]  # the comma itself may begin a chunk
    assert lengths(tokens([1] * 3, None, [1] * 4)) == [3, 4]
    assert lengths(tokens([], None, [1])) == [0, 1]
    assert lengths(tokens([1], None, [])) == [1]


@pytest.mark.parametrize(
    ("text", "said", "in_japanese"),
    [
        ("[red:blue:0.5", "[red:blue:0.5 is read as words: its bracket is not closed", "括弧が閉じていません"),
        ("a [赤:青:0.5, 猫", "[赤:青:0.5 is read as words: its bracket is not closed", "括弧が閉じていません"),
        ("[red|blue, cat", "[red|blue is read as words: its bracket is not closed", "括弧が閉じていません"),
        ("[red:blue:0.5)", "[red:blue:0.5 is read as words: its bracket is not closed", "括弧が閉じていません"),
        ("red:blue:0.5], cat", "red:blue:0.5] is read as words: its bracket is not opened", "開き括弧がありません"),
        ("red|blue]", "red|blue] is read as words: its bracket is not opened", "開き括弧がありません"),
        ("(smile:1.2, cat", "(smile:1.2 has no weight that is read", "重みは読み取れません"),
        ("smile:1.2), cat", "smile:1.2) has no weight that is read", "重みは読み取れません"),
        ("((smile:1.2), cat", "A lone ( weighs all words behind it", "対になっていない ("),
        ("[cat, dog", "A lone [ weighs all words behind it", "対になっていない ["),
        ("［赤:青:0.5］", "［赤:青:0.5］ is read as words: its signs are full-width", "記号が全角です"),
        ("[赤：青：0.5]", "[赤：青：0.5] is read as words: its signs are full-width", "記号が全角です"),
    ],
)
def test_a_bracket_without_partner_is_said(text, said, in_japanese):
    (found,) = [one for one in text_remarks(text, "") if said in one]
    assert in_japanese in sentence_in_words(found, "ja")


@pytest.mark.parametrize(
    "text", ["smile :(", r"\(a, b\) c", "(a:1.2) [b:c:0.5] [d|e] [f]", "(it is 12:30)", "at 12:30)", "<lora:a:1:[> b"]
)
def test_brackets_in_pairs_and_faces_at_the_end_are_not_talked_of(text):
    assert not [one for one in text_remarks(text, "") if "bracket" in one or "lone" in one or "no weight" in one]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a ＡＮＤ b", "Write AND."),
        ("a ＢＲＥＡＫ b", "Write BREAK."),
        ("krnk --n bad --w 64", "sample prompts of a training"),
        ("prompts.txt", "not as a file of prompts"),
        ("krnk\nNegative prompt: bad\nSteps: 20", "Put them into the fields"),
        ("<<lora:a:1> b", "A < before a LoRA tag"),
    ],
)
def test_what_belongs_elsewhere_is_said(text, said):
    assert [one for one in (*text_remarks(text, ""), *tag_remarks(text, "")) if said in one]


@pytest.mark.parametrize(
    "text",
    [
        "c++, a (b), well-known",
        "a:: b",
        "a -- b",
        "a --n",
        "BAND ＡＮＤＹ",
        "a.txt, b",
        "no negative prompt: a",
        "<lora:a--n b:1> x",
    ],
)
def test_what_looks_only_alike_is_not_talked_of(text):
    assert text_remarks(text, "") == []


def test_a_tag_of_embeddings_is_said_once():
    assert len(text_remarks("a <embedding:b>", "")) == 1
