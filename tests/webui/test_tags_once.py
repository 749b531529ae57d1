"""A tag's text is read once, however many passes, batches, checks and axes meet it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lib_lora.blocks import tag_parse
from lib_lora.host.webui.axes.changes import Strength, put_change, tags_of
from lib_lora.host.webui.prompt import hooks
from lib_lora.host.webui.prompt.tags import read_tags
from tests.webui.fakes.extra_networks import ExtraNetworkParams
from tests.webui.tagging import put_in


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each text was really read by our grammar."""
    counted: Counter[str] = Counter()
    split = tag_parse._split
    monkeypatch.setattr(tag_parse, "_split", lambda text: counted.update([text]) or split(text))
    tag_parse.parse_tag.cache_clear()
    yield counted
    tag_parse.parse_tag.cache_clear()


def test_a_tag_of_many_passes_is_read_once(a1111: Any, read: Counter[str]) -> None:
    a1111.opts.lora_atelier_on_error = "Stop before rendering"  # looked at before the first picture, too
    script = SimpleNamespace(before_process=hooks.before_process, process=hooks.process)
    for name in ("before_process_batch", "process_batch", "postprocess", "before_hr", "process_before_every_sampling"):
        setattr(script, name, lambda *given, **named: None)
    script.after_extra_networks_activate = script.postprocess
    with put_in(a1111):
        p = a1111.order("cat <lora:one:0.8:FACE> <lora:two:1>", n_iter=2, enable_hr=True)
        p.scripts = script
        put_change(p, Strength(tags_of(p).chosen("one"), "te", 0.5))
        done = a1111.run(p)
    assert len(done.images) == 2
    assert read == {"<lora:one:0.8:FACE>": 1, "<lora:two:1>": 1}


def test_a_tag_of_a_pass_knows_both_readings_and_the_one_before_it_that_is_not_closed(a1111: Any) -> None:
    items = ("a:1 <lora:b:0.5:0.25:lbw=FACE", "c:1:mask=left", "d:x")
    first, *others = read_tags(ExtraNetworkParams(items=text.split(":")) for text in items)
    assert (first.parsed, first.host, first.error.what) == (None, None, "The tag is not closed")
    known, foreign, broken = others
    assert (known.parsed.name, known.parsed.weights.text) == ("b", "FACE")
    assert (known.host.name, known.host.te, known.host.unet) == ("b", 0.5, 0.25)
    assert (foreign.parsed, foreign.host.te, foreign.is_foreign) == (None, 1.0, True)
    assert (broken.host, broken.is_foreign) == (None, False)
