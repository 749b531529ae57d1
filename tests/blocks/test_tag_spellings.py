"""Every spelling of a tag that is in use, and what keyboards make of one."""

from __future__ import annotations

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import TagError, broken_tags, find_tags, parse_tag, readable_tags, resolve, strip_tags

VECTOR = ",".join(["1"] * 17)


def read(tag):
    return resolve(parse_tag(tag), PresetFile.shipped(), "sd1", seed=0)


@pytest.mark.parametrize(
    "tag",
    [
        "<lora:n:1:OUTALL>",
        "<lyco:n:1:1::OUTALL>",
        "<lyco:n:1:1:lbw=OUTALL>",
        "<lora:n::OUTALL>",
        "<lora:n:::OUTALL>",
        "<lora:n:1::OUTALL>",
        "<LORA:n:1:outall>",
        "<lora:n:lbw=OUTALL>",
        "<lora:n:1:1:w=OUTALL>",
        "<lora:n:te=1:unet=1:lbw=OUTALL>",
        "<lora: n : 1 : lbw = OUTALL >",
        "<lora:n:1\u3000:ｌｂｗ＝OUTALL>",
        "<lora:n:１:lbw=1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1>",
        "<lora:n:1:lbw=１，０、0,0,0,0,0,0,1,1,1,1,1,1,1,1,1>",
        "<lora:n:1.0:\u200bOUT\ufeffALL>",
        "<lora:n\u00a0:1:OUTALL>",
    ],
)
def test_every_spelling_in_use_has_one_meaning(tag):
    assert read(tag).multipliers("sd1") == read("<lora:n:1:lbw=OUTALL>").multipliers("sd1")
    assert read(tag).name == "n"


@pytest.mark.parametrize(
    ("tag", "te", "unet", "dyn"),
    [
        ("<lora:n:0.8>", 0.8, 0.8, None),
        ("<lora:n:0.8:0.5>", 0.8, 0.5, None),
        ("<lora:n::0.5>", 1.0, 0.5, None),
        ("<lora:n:0.8::4>", 0.8, 0.8, 4),
        ("<lora:n:０．８:−0.5>", 0.8, -0.5, None),
        ("<lyco:n:1:1:16:lbw=ALL>", 1.0, 1.0, 16),
        ("<lora:n:te=0:unet=1:lbw=ALL>", 0.0, 1.0, None),
    ],
)
def test_strengths_in_order_keep_their_place(tag, te, unet, dyn):
    found = read(tag)
    assert (found.te, found.unet, found.dyn) == (te, unet, dyn)


@pytest.mark.parametrize("tag", ["<lora:n:1:XYZ>", "<lora:n:1:lbw=XYZ:lbwe=XYZ>", "<lora:n:1:ZYX:stop=10>"])
def test_the_analyzers_marks(tag):
    assert read(tag).sweep == tag[tag.index("YZ") - 1 if "XYZ" in tag else tag.index("ZYX") :][:3]


@pytest.mark.parametrize("tag", ["<lora:n:1:lbw=ALL:step=5-10>", "<lora:n:1:lbw=ALL:start=５:stop=10>"])
def test_both_spellings_of_steps_act_in_the_same_ones(tag):
    assert [read(tag).active(step, 20) for step in (4, 5, 9, 10)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("tag", "pointed", "cure"),
    [
        ("<lora:n:0,8>", ",", "0.8"),
        ("<lora:n:te=0,8>", ",", "0.8"),
        ("<lora:n：0.8>", "：", "Write :"),
        ("<lora:n:1:>", ">", "Remove one colon"),
        ("<lora:n:1::lbw=ALL>", ":lbw", "Remove one colon"),
    ],
)
def test_slips_are_pointed_at(tag, pointed, cure):
    with pytest.raises(TagError) as caught:
        read(tag)
    assert tag[caught.value.position :].startswith(pointed)
    assert cure in caught.value.cure


MEANT = ["a <lora:n:1", "a <lora:n:1:FACE", "a <lora:n:1＞", "＜lora:n:1＞", "<ｌｏｒａ:n:1>", "< lora:n:1>"]
MEANT += ["< lora : n : 1 >", "‹lora：n：1>", "‹lo\u200bra:n:1>", "«lora:n:1»"]
MEANT += ["<lora :n:1>", "<lora：n:1>", "<lora;n:1>", "<lo\u200bra:n:1>", "<loha:n:1>", "〈lora:n:1〉"]
MEANT += ["lora:n:1>", "(lora:n:1)", "[lora:n:0.8]", "lora:n:1", "a, lora:n>", "&lt;lora:n:1&gt;"]
MEANT += ["<lora n:1>", "<lora, n, 1>", "<lora=n:1>"]


@pytest.mark.parametrize("prompt", MEANT)
def test_what_was_meant_as_a_tag_is_pointed_at(prompt):
    (error,) = broken_tags(prompt)
    assert "^" in str(error)
    assert find_tags(prompt) == []
    is_word = strip_tags(prompt, others=True) == prompt
    assert ("read as words" if is_word else "left out") in error.what


def test_a_tag_that_is_not_closed_harms_no_other():
    prompt = "a <lora:n:1 <lora:b:1>, c"
    assert [tag.name for tag in readable_tags(prompt)] == ["b"]
    assert broken_tags(prompt) == []
    with pytest.raises(TagError, match="not closed"):
        parse_tag(find_tags(prompt)[0].text)
    assert strip_tags(prompt) == "a , c"  # as in the WebUI, which takes both for one tag


@pytest.mark.parametrize(
    "prompt",
    ["", "a <3 b", "a < b : c > d", "<lora:n:1> b", "<hypernet:n:1>", "# <lora:n", "lora: a girl", "flora:n:1"],
)
def test_what_was_not_meant_as_one_is_left_alone(prompt):
    assert broken_tags(prompt) == []


def test_a_comment_holds_no_tags():
    prompt = "cat # <lora:a:1>\ndog <lora:b:1>"
    assert [tag.name for tag in readable_tags(prompt)] == ["b"]
    assert strip_tags(prompt).endswith("dog ")
