"""Encodings of captions on the disk: a run that goes on encodes nothing again; what changes is not kept, and said."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lib_lora.host.studio import text
from lib_lora.host.webui.model import host_model
from lib_lora.host.webui.model.host_model import TextEncoder
from lib_lora.host.webui.model.live_model import WebuiModel
from lib_lora.progress import Progress
from lib_lora.train.caption_cache import FOLDER, lasting
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.conftest import same
from tests.told import Told

TEXT = {"text_encoder_ratio": 0, "steps": 3, "resolution": 64}


@pytest.fixture
def encoded(model, monkeypatch):
    """Note the captions that the text encoder is asked for."""
    asked = []
    whole = type(model).encode_text

    def encode(self, captions, *more):
        asked.extend(captions)
        return whole(self, captions, *more)

    monkeypatch.setattr(type(model), "encode_text", encode)
    return asked


@pytest.fixture
def trained(model, options_for, tmp_path, encoded):
    """Train to the end, or to a stop, and return what was encoded meanwhile."""

    def train(name, progress=None, **changes):
        encoded.clear()
        options = options_for(**{**TEXT, "cache_to_disk": True, "name": name, **changes})
        training = start(model, options, RunFolder(tmp_path / name), Progress())
        run(training, progress or Progress())
        train.last = training
        return set(encoded)

    return train


def losses(training):
    return torch.tensor([row["loss"] for row in training.folder.read_log()])


def test_a_run_that_goes_on_and_a_next_one_encode_nothing_again(trained, tmp_path):
    assert trained("one")
    whole = losses(trained.last)
    assert (tmp_path / FOLDER).is_dir()
    assert trained("two") == set()
    assert same(losses(trained.last), whole)
    assert not [text for text in trained.last.data.problems if "kept" in text]
    trained("three", Told(stop_at=2), cache_to_disk=False)
    assert trained("three", cache_to_disk=False)  # not asked for: in main memory only


def test_what_captions_are_encoded_by_is_in_their_key(trained, model, monkeypatch):
    every = trained("one")
    assert trained("two", clip_skip=2) == every
    assert trained("three", max_tokens=75) == every  # another layout
    assert trained("four", dim=2, alpha=2) == set()
    tokens = text.laid_out  # where a chunk ends is a setting of a WebUI's, and the studio may be given a tokenizer
    monkeypatch.setattr(text, "laid_out", lambda captions, *more, **named: tokens([f"{c}." for c in captions], *more))
    assert trained("other tokens") == every
    monkeypatch.setattr(text, "laid_out", tokens)
    assert trained("the same again") == set()
    weight = next(model.text_encoders[0].parameters())
    before = weight.detach().clone()
    weight.data.mul_(1.01)
    try:
        assert trained("five") == every
    finally:
        weight.data.copy_(before)


def test_captions_that_change_are_not_kept_and_that_is_said(trained, tmp_path):
    trained("one", shuffle_caption=True, save_every_steps=0)
    (said,) = [text for text in trained.last.data.problems if "not kept" in text]
    assert said.startswith("4 captions change from draw to draw")
    kept = lasting(trained.last.data.samples)
    assert kept == {"", *(item.caption for item in trained.last.data.samples)}
    assert len(list((tmp_path / FOLDER).iterdir())) <= len(kept)
    trained("two", caption_dropout=0.5)  # a dropped caption is the empty one
    assert "" in lasting(trained.last.data.samples)
    assert not [text for text in trained.last.data.problems if "not kept" in text]


def test_a_text_encoder_that_learns_is_said(trained):
    trained("one", text_encoder_ratio=1)
    assert [text for text in trained.last.data.problems if "the text encoder learns" in text]


def test_a_damaged_file_is_noticed_and_made_anew(trained, tmp_path):
    every = trained("one")
    for path in (tmp_path / FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:-3] + b"???")
    assert trained("two") == every
    (said,) = [text for text in trained.last.folder.remarks() if "damaged" in text]
    assert said.endswith(f": {len(every)}")
    assert trained("three") == set()


def test_where_a_webuis_chunks_end_is_in_the_ids(monkeypatch):
    """Its setting `comma_padding_backtrack` can be another one when the run goes on."""
    encoder = TextEncoder(None, {}, lambda texts: [[9 if c == "," else 1 for c in t] for t in texts], 0, 2, 3, None)
    model = SimpleNamespace(host=SimpleNamespace(texts=[encoder, encoder]))
    caption, found = "x" * 70 + "," + "x" * 20, []
    for near in (20, 0, 20):
        monkeypatch.setattr(host_model, "host_setting", lambda name, usual, near=near: near)
        found.append(WebuiModel.caption_ids(model, caption))
    assert len(found[0]) == 2
    assert found[0] == found[2] != found[1]
