from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import GenerateRequest, GenerateResult
from lib_lora.progress import Progress
from lib_lora.services.training_samples import SampleMaker
from lib_lora.train.options import from_mapping
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.sample_prompts import SamplePrompt, read_sample, with_files_read


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("krnk, smile", SamplePrompt("krnk, smile")),
        (
            "krnk, smile --n low quality, bad --w 128 --h 64 --d 7 --s 4 --l 2.5",
            SamplePrompt("krnk, smile", "low quality, bad", 128, 64, 7, 4, 2.5),
        ),
        ("krnk --W 128", SamplePrompt("krnk", width=128)),
        ("krnk --d 0 --ss euler a", SamplePrompt("krnk", seed=0, sampler="euler a")),
        ("krnk -- dashes --- and a-b", SamplePrompt("krnk -- dashes --- and a-b")),
    ],
)
def test_a_line_of_sd_scripts_is_read(text, wanted):
    assert read_sample(text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("krnk --x 5", "no flag --x"),
        ("krnk --w wide", "“wide” is no value of --w"),
        ("krnk --w", "“” is no value of --w"),
        ("krnk —n bad", "—n of a sample prompt does not begin with two hyphens"),
        ("krnk －－w 512", "－－w of a sample prompt does not begin with two hyphens"),
        ("my prompts.txt", "name of a file"),
        ("krnk --s 0", "“0” is no value of --s"),
        ("prompts.txt", "name of a file"),
        ("a/b/prompts.JSON", "name of a file"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_options(text, said):
    with pytest.raises(InputError, match=said):
        from_mapping({"images": "x", "name": "t", "sample_prompts": [text]}, where="test")


def test_files_of_prompts_take_the_place_of_their_name(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeff# mine\n\nkrnk --w 64\nkrnk, red hair\n", encoding="utf-8")
    rows = [{"prompt": "krnk", "negative_prompt": "bad", "sample_steps": 3, "scale": 2.0}, "plain"]
    (tmp_path / "b.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "my c.toml").write_text(
        '[prompt]\nwidth = 64\n[[prompt.subset]]\nprompt = "one"\n[[prompt.subset]]\nprompt = "two"\nseed = 4\n'
    )
    pytest.importorskip("tomllib" if __import__("sys").version_info >= (3, 11) else "tomli")
    assert with_files_read(["a.txt", "cat", "b.json", "my c.toml"], tmp_path) == (
        "krnk --w 64",
        "krnk, red hair",
        "cat",
        "krnk --n bad --s 3 --l 2.0",
        "plain",
        "one --w 64",
        "two --w 64 --d 4",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.txt", None),
        ("bad.json", "{"),
        ("bad.json", '{"a": 1}'),
        ("x.json", "3"),
        ("x.json", '[{"width": 64}]'),
        ("empty.txt", "# nothing\n"),
        ("empty.json", "[]"),
        ("other.toml", "[general]\na = 1\n"),
        ("other.toml", "[prompt]\nwidth = 64\n"),
    ],
)
def test_a_file_that_is_no_list_of_prompts_is_refused(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(AtelierError) as caught:
        [read_sample(line) for line in with_files_read([name], tmp_path)]
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 2
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.txt", "# one\nkrnk\n\nkrnk --s 0\n", "a.txt, line 4"),
        ("a.json", '["krnk", {"prompt": "krnk", "sample_steps": 0}]', "a.json, prompt 2"),
    ],
)
def test_a_wrong_prompt_of_a_file_is_said_with_its_line(tmp_path, name, text, place):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        with_files_read([name], tmp_path)
    assert caught.value.where == str(tmp_path / place)
    assert "from 1" in caught.value.cure


def test_one_prompt_needs_no_subset_and_null_is_nothing(tmp_path):
    pytest.importorskip("tomllib" if __import__("sys").version_info >= (3, 11) else "tomli")
    (tmp_path / "a.toml").write_text('[prompt]\nprompt = "one"\nseed = 4\n')
    (tmp_path / "b.json").write_text('[{"prompt": "two", "seed": null}]')
    assert with_files_read(["a.toml", "b.json"], tmp_path) == ("one --d 4", "two")


class Recorder:
    """A host that only writes down what it is asked for."""

    def __init__(self) -> None:
        self.orders: list[GenerateRequest] = []

    def generate(self, request, progress):
        self.orders.append(request)
        return GenerateResult((), ())


def test_samples_are_rendered_with_their_flags(tmp_path):
    prompt = "krnk --n low quality --w 128 --h 64 --d 1 --s 3 --l 2"
    values = {"images": "x", "name": "t", "seed": 9, "sample_prompts": [prompt]}
    host = Recorder()
    SampleMaker(host, from_mapping(values, where="test"))(RunFolder(tmp_path), 1, Progress())
    wanted = GenerateRequest("krnk", "low quality", seed=1, steps=3, cfg_scale=2.0, width=128, height=64)
    assert [replace(order, sampler=wanted.sampler) for order in host.orders] == [wanted]


def test_flags_end_at_blanks_of_every_width_and_one_hyphen_is_no_flag():
    assert read_sample("krnk\u3000--w\u3000512\t--h\t768") == SamplePrompt("krnk", width=512, height=768)
    with pytest.raises(InputError, match="two hyphens"):
        read_sample("krnk -n low")


def test_a_file_of_prompts_has_lines_as_editors_have_them(tmp_path):
    (tmp_path / "a.txt").write_text("a\u2028b\nc\x0cd\n", encoding="utf-8")
    assert with_files_read(["a.txt"], tmp_path) == ("a\u2028b", "c\x0cd")
    (tmp_path / "b.json").write_text('[{"prompt": ["krnk"]}]', encoding="utf-8")
    with pytest.raises(InputError, match="no list"):
        with_files_read(["b.json"], tmp_path)
    (tmp_path / "c.toml").write_text('[prompt]\nprompt = "C:\\k"', encoding="utf-8")
    with pytest.raises(InputError, match="TOML.*backslash"):
        with_files_read(["c.toml"], tmp_path)
