"""A tag means in a WebUI what it means in the studio: the same numbers, refusals and remarks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lib_lora.blocks.tag import broken_tags
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.host.prompt.read import read_prompt
from lib_lora.host.webui.model.live_model import current_model
from lib_lora.host.webui.prompt import activator
from lib_lora.host.webui.prompt.plan import TagOrder, TagPlan, make_plan
from tests.webui.tagging import put_in

ONES = ",".join("1" * 26)
X = "X" + ",X" * 25
ITEMS = """
1 0.5:FACE 1:face 0.8:0.3 1:0.5:FACE 1:0.5:4:FACE te=0.2:unet=0.7 1:lbw=FACE:te=0
-0.5:FACE +.5:FACE 1e-1:FACE 0:FACE 1:0 11 11:FACE 1:te=20 1:FACE:dyn=1 1:dyn=1
1:1:dyn=x nan 1:FACE:FACE 1:lbw=FACE:w=FACE 1: 1:FCAE 1:1,2,3 1:x=2 1:FACE:x=2 1:start=2
1:FACE:start=2:stop=5 1:FACE:step=2-5 1:FACE:step=0.2-0.5 1:stop=50% 1:start=-1
1:step=5-2 1:strat=2 1:FACE:lbwe=IN00-OUT11:attn:0.5 1:lbwe=attn 1:lbwe=ATTNDEEPON:FACE
1:FACE:ATTNDEEPON 1:lbwe=XYZ 1:hr=0.5 1:FACE:hr=0.5 1:hrte=0.3:hrunet=0.5 1:hr=x
1:FACE:other=0.5 1:other=0.5 1:other=nan 1:XYZ 1:ZYX 0@0,1@0.5 0@0,1@0.5:FACE
1:0@0,1@0.5 0@0,1@1.5@2 [0@0,1@5] 1:step=2～5 ０＠０、１＠０．５ １．５:FACE 1:ＦＡＣＥ 0,5 0,5:FACE
"""
TAGS = [
    *(f"<lora:one:{items}>" for items in ITEMS.split()),
    *(f"<lora:one:1:{items}>" for items in (X, f"{X}:x=0.5", f"{X}:0.5", f"{'R,' * 25}U", f"{ONES[:-2]},9")),
    *("<lora:one>", "<lora:one:>", "<lora::1>", "<lyco:one:1:FACE>", "<LORA:one:1:FACE>", "<lora: one :1>"),
    *("<lora:onee:1>", "<lora:onee:1:FACE>", "<lora:one:1 :FACE >", "<lora：one：1：FACE>", "＜lora:one:1:FACE＞"),
    *("<lora:one:1\u200b:FACE>", "<lora:\u200bone:1:FACE>", "<lora:one:1 <lora:two:1:FACE>"),
    "<lora:one:1:FACE> <lora:two:1:FCAE> <lora:two:0.5>",
]


@pytest.fixture
def host(a1111: Any) -> Iterator[Any]:
    with put_in(a1111) as ours:
        a1111.ours = ours
        yield a1111


def planned(host: Any, prompt: str) -> TagPlan:
    return make_plan(activator._params_of(prompt), TagOrder(host.ours, current_model, seed=1, steps=20))


def said(plan: TagPlan) -> list[str]:
    return sorted(str(note) for notes in plan.notes.values() for note in notes)


def is_plain(tag: ResolvedTag) -> bool:
    ours = (tag.weights, tag.elements, tag.start, tag.stop, tag.frames, tag.other, tag.sweep)
    return all(one is None for one in ours)


@pytest.mark.parametrize("tags", TAGS)
def test_numbers_refusals_and_remarks_are_those_of_the_core(host: Any, tags: str) -> None:
    prompt = f"cat {tags}"
    core = read_prompt(prompt, presets=host.ours.presets, family="sd1", seed=1)
    plan = planned(host, prompt)
    there = [tag for tag in core.tags if tag.name in ("one", "two")]
    missing = len(core.tags) - len(there)
    problems = sorted(map(str, [*plan.problems, *broken_tags(prompt)]))
    known = [text for text in problems if "called “onee”" not in text]
    assert (known, len(problems) - len(known)) == (sorted(map(str, core.problems)), missing)
    assert said(plan) == sorted(note for tag in there for note in tag.notes)
    assert [one.tag for one in plan.ours] == [tag for tag in there if not is_plain(tag)]
    for one in plan.ours:
        assert dict(one.multipliers) == one.tag.multipliers("sd1")
    handed = [one.reading for one in plan.for_host]
    for tag in filter(is_plain, there):
        assert any((one.name, one.te, one.unet, one.dyn) == (tag.name, tag.te, tag.unet, tag.dyn) for one in handed)


@pytest.mark.parametrize(
    ("tag", "note"),
    [
        ("<lora:one:1:foo=2>", "an item of another extension"),
        ("<lora:one:1:2:3:4:5>", "One number too many; the WebUI"),
    ],
)
def test_what_the_host_alone_reads_it_gets_with_the_reason(host: Any, tag: str, note: str) -> None:
    plan = planned(host, f"cat {tag}")
    assert (plan.problems, len(plan.for_host), note in said(plan)[0]) == ([], 1, True)
