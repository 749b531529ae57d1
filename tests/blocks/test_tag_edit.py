from __future__ import annotations

from dataclasses import replace

import pytest

from lib_lora.blocks.tag import parse_tag
from lib_lora.blocks.tag_edit import change_tag, put_tag, with_weights, without_block_weights, write_tag
from lib_lora.errors import InputError

TAGS = [
    "<lora:a>",
    "<lyco:a:0.5>",
    "<lora:a:0.8:0.5:4:FACE:0.3:ATTNDEEPON>",
    "<lora:絵 b:1:lbw=X,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,R:x=0.25:start=5:stop=0.75>",
    "<lora:a:te=0:unet=1:step=3-7:other=0:lbwe=XYZ:dyn=8>",
]


@pytest.mark.parametrize("text", TAGS)
def test_a_written_tag_reads_as_the_same(text):
    one = parse_tag(text)
    two = parse_tag(write_tag(one))
    for field in ("name", "te", "unet", "dyn", "x", "start", "stop", "other"):
        assert getattr(one, field) == getattr(two, field)
    for field in ("weights", "elements"):
        assert getattr(getattr(one, field), "text", None) == getattr(getattr(two, field), "text", None)


def test_only_the_named_tag_changes_and_the_rest_of_the_prompt_stays():
    prompt = "1girl, <lora:a:1:FACE>, (smile:1.2) <lora:b> <lora:a>"
    assert (
        change_tag(prompt, 1, with_weights("OUTS"))
        == "1girl, <lora:a:1:FACE>, (smile:1.2) <lora:b:1:lbw=OUTS> <lora:a>"
    )
    assert change_tag(prompt, 0, with_weights("")) == "1girl, <lora:a:1>, (smile:1.2) <lora:b> <lora:a>"


def test_a_change_that_changes_nothing_keeps_the_spelling():
    prompt = "x <lyco:a:1:FACE>"
    assert change_tag(prompt, 0, with_weights("FACE")) == prompt
    assert change_tag(prompt, 0, lambda tag: replace(tag, te=1.0)) == prompt


def test_items_of_other_extensions_stay():
    assert change_tag("<lora:a:1:hr=0.5>", 0, with_weights("FACE")) == "<lora:a:1:lbw=FACE:hr=0.5>"


def test_a_tag_that_is_gone_is_said():
    with pytest.raises(InputError):
        change_tag("no tag", 0, with_weights("FACE"))


def test_plain_strength_keeps_strengths_and_steps():
    prompt = "a <lora:x:0.5:0.7:FACE:start=3> b <lora:y:lbwe=XYZ>"
    assert without_block_weights(prompt) == "a <lora:x:0.5:0.7:start=3> b <lora:y:1>"


@pytest.mark.parametrize(
    ("prompt", "text", "wanted"),
    [
        ("", "krnk <lora:a:1>", "krnk <lora:a:1>"),
        ("1girl, smile", "krnk <lora:a:1>", "1girl, smile, krnk <lora:a:1>"),
        ("krnk, smile", "krnk <lora:a:1>", "krnk, smile <lora:a:1>"),
        ("krnk <lora:a:0.5:FACE>, smile", "krnk <lora:a:1>", "krnk <lora:a:1>, smile"),
        ("x <lora:b:1>", "<lora:a:1>", "x <lora:b:1> <lora:a:1>"),
        ("x <lora:", "<lora:a:1>", "x <lora: <lora:a:1>"),
        ("x", "", "x"),
    ],
)
def test_a_tag_is_put_into_a_prompt_once(prompt, text, wanted):
    assert put_tag(prompt, text) == wanted
