from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora.errors import InputError
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.option_files import options_file, read_options, read_values, to_json
from lib_lora.train.options import TrainOptions, check_name, from_mapping, parse_argument, usual_values
from lib_lora.train.recipes import KINDS, SMALL, ModelFacts, resolved_gamma

GOOD = {"images": "pictures", "name": "krnk"}
SD1 = ModelFacts(512, "epsilon")
SDXL = ModelFacts(1024, "epsilon")
POCKET = ModelFacts(128, "v_prediction")


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_runs_file_brings_the_same_options_back(tmp_path, kind):
    made = from_mapping(
        {**GOOD, "images": str(tmp_path), "kind": kind, "sample_prompts": ['a "b"', "日本\n語"], "trigger": "絵"},
        where="test",
    )
    path = tmp_path / "options.json"
    path.write_text(to_json(made), encoding="utf-8")
    assert read_options(path) == made


@given(
    text=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60),
    number=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_text_and_number_survives_the_runs_file(tmp_path_factory, text, number, seed):
    folder = tmp_path_factory.mktemp("options")
    made = TrainOptions(images=str(folder), name="n", comment=text, noise_offset=number, seed=seed)
    path = folder / "options.json"
    path.write_text(to_json(made), encoding="utf-8", newline="")
    assert read_options(path) == made


def test_the_recipe_of_the_kind_is_the_base_and_given_values_win():
    made = from_mapping({**GOOD, "kind": "style", "dim": 8}, where="test")
    assert (made.optimizer, made.dim, made.target_steps) == ("AdaFactor", 8, 2000)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("model", [SD1, SDXL, ModelFacts(768, "v_prediction")])
def test_a_large_model_gets_the_recipe_as_it_is_written(kind, model):
    assert usual_values(kind, model=model) == usual_values(kind)
    made = from_mapping({**GOOD, "kind": kind}, where="test", model=model)
    assert made == from_mapping({**GOOD, "kind": kind}, where="test")


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_small_model_gets_what_it_can_learn_in_minutes_and_given_values_win(kind):
    made = from_mapping({**GOOD, "kind": kind, "dim": 3}, where="test", model=POCKET)
    expected = {**SMALL, "dim": 3}
    assert {name: getattr(made, name) for name in SMALL} == expected
    assert made.shuffle_caption == KINDS[kind].get("shuffle_caption", False)
    other = from_mapping({**GOOD, "kind": kind, "optimizer": "Lion"}, where="test", model=POCKET)
    assert (dict(other.optimizer_args), other.learning_rate) == ({}, OPTIMIZERS["Lion"].usual_rate)


def test_automatic_min_snr_is_five_for_noise_and_off_for_velocity():
    assert from_mapping(GOOD, where="test").min_snr_gamma == "auto"
    assert resolved_gamma("auto", "epsilon") == 5.0
    assert resolved_gamma("auto", "v_prediction") == 0.0
    assert resolved_gamma("auto", "epsilon", debiased=True) == 0.0
    assert [resolved_gamma(3.0, kind) for kind in ("epsilon", "v_prediction")] == [3.0, 3.0]


@pytest.mark.parametrize(
    ("given", "made"), [("auto", "auto"), ("Auto", "auto"), ("", "auto"), ("5", 5.0), (0, 0.0), (7.5, 7.5)]
)
def test_min_snr_is_a_number_or_auto_and_survives_the_runs_file(tmp_path, given, made):
    options = from_mapping({**GOOD, "images": str(tmp_path), "min_snr_gamma": given}, where="test")
    assert options.min_snr_gamma == made
    (tmp_path / "o.json").write_text(to_json(options), encoding="utf-8")
    assert read_options(tmp_path / "o.json") == options


@pytest.mark.parametrize("kind", list(KINDS))
def test_another_optimizer_takes_its_own_rate_and_none_of_the_recipes_arguments(kind):
    for name, known in OPTIMIZERS.items():
        made = from_mapping({**GOOD, "kind": kind, "optimizer": name.lower()}, where="test")
        if name != KINDS[kind]["optimizer"]:
            assert (made.optimizer, made.learning_rate, dict(made.optimizer_args)) == (name, known.usual_rate, {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dimm": 4}, "Did you mean: dim"),
        ({"trigger": "kr\x07nk"}, "U+0007"),
        ({"trigger": "kr\u200bnk"}, "U+200B"),
        ({"class_word": "a\nb"}, "one line"),
        ({"comment": "a\x1b[2Jb"}, "U+001B"),
        ({"comment": "a\ud800b"}, "U+D800"),
        ({"sample_prompts": ["krnk\x00"]}, "U+0000"),
        ({"optimizer_args": {"a\x7f": 1}}, "U+007F"),
        ({"dim": 0}, "from 1 to 1024"),
        ({"dim": 2.5}, "whole number"),
        ({"dim": "4"}, "no number"),
        ({"noise_offset": float("nan")}, "no number"),
        ({"optimizer": "Adam"}, "Choose one of"),
        ({"learning_rate": 1e-4}, "use 1.0"),
        ({"optimizer": "AdamW", "learning_rate": 1.0}, "Use about 0.0001"),
        ({"unet_ratio": 0, "text_encoder_ratio": 0}, "Nothing would be trained"),
        ({"name": "a/b"}, "cannot be a file's name"),
        ({"name": "CON"}, "cannot be a file's name"),
        ({"name": ".hidden"}, "cannot be a file's name"),
        ({"name": "lpt³.v1"}, "cannot be a file's name"),
        ({"name": "a=b"}, "cannot be a file's name"),
        ({"name": "a "}, "cannot be a file's name"),
        ({"name": "a\u202eb"}, "cannot be a file's name"),
        ({"name": ""}, "missing"),
        ({"flip": "yes"}, "neither true nor false"),
        ({"kind": "person"}, "Choose one of"),
        ({"min_snr_gamma": "five"}, "neither a number nor “auto”"),
        ({"min_snr_gamma": -1}, "from 0 to 1000"),
        ({"min_snr_gamma": True}, "no number"),
        ({"optimizer": "AdamW", "learning_rate": 1e-30}, "nothing would be learned"),
        ({"optimizer": "Lion", "learning_rate": 1e-8, "unet_ratio": 1e-3, "text_encoder_ratio": 0}, "learning_rate"),
        ({"unet_ratio": 1e-20}, "unet_ratio"),
        ({"alpha": 1e-9}, "alpha"),
        ({"conv_alpha": 1e-9}, "conv_alpha"),
        ({"resolution": 32}, "at least 64 px, or 0"),
        ({"trigger": "(k:1.2), <lora:x:1>"}, "network tag"),
        ({"class_word": "girl <hypernet:x:1>"}, "network tag"),
        ({"trigger": "krnk\ngirl"}, "one line"),
    ],
)
def test_what_cannot_be_right_is_said_with_the_cure(changes, said):
    with pytest.raises(InputError) as caught:
        from_mapping({**GOOD, **changes}, where="test")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["krnk_v1", "絵 1.0", "ü-é", "a.b"])
def test_ordinary_names_are_allowed(name):
    check_name(name)


def test_choices_are_found_in_any_case():
    assert from_mapping({**GOOD, "optimizer": "prodigy"}, where="test").optimizer == "Prodigy"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.toml", "images = 'pictures'\nname = 'krnk'  # typed\ndim = 8\n[optimizer_args]\nd0 = 3e-3\n"),
        ("x.JSON", '{"images": "pictures", "name": "krnk", "dim": 8, "optimizer_args": {"d0": 0.003}}'),
    ],
)
def test_a_typed_file_is_read_by_its_ending_and_folders_count_from_it(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    made = read_options(tmp_path / name)
    assert (made.images, made.dim, made.optimizer_args) == (str(tmp_path / "pictures"), 8, {"d0": 3e-3})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.toml", "images = 'a'\nname = \n", "no valid TOML.*line 2"),
        ("x.json", '{"images": "a",\n "name": }', "no valid JSON.*line 2"),
        ("x.json", "[1]", "table of names and values"),
    ],
)
def test_a_broken_file_of_options_names_the_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_options(tmp_path / name)


def test_a_missing_file_of_options_is_a_sentence(tmp_path):
    for place in (tmp_path / "x.toml", tmp_path):
        with pytest.raises(InputError, match="There is no such file"):
            read_values(place)
    (tmp_path / "y.toml").write_bytes("name = '長い髪'".encode("cp932"))
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_values(tmp_path / "y.toml")


def test_a_python_without_a_toml_reader_says_so_and_still_reads_json(tmp_path, monkeypatch):
    for module in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, module, None)  # what Python 3.10 in a WebUI looks like
    (tmp_path / "x.toml").write_text("name = 'a'\n", encoding="utf-8")
    (tmp_path / "x.json").write_text('{"name": "a"}', encoding="utf-8")
    with pytest.raises(InputError, match="cannot read TOML.*JSON"):
        read_values(tmp_path / "x.toml")
    assert read_values(tmp_path / "x.json") == {"name": "a"}


def test_a_run_of_an_earlier_version_keeps_its_toml(tmp_path):
    (tmp_path / "options.toml").write_text("images = '/p'\nname = 'old'\n", encoding="utf-8")
    assert read_options(options_file(tmp_path)).name == "old"
    (tmp_path / "options.json").write_text('{"images": "/p", "name": "new"}', encoding="utf-8")
    assert read_options(options_file(tmp_path)).name == "new"
    assert options_file(tmp_path / "elsewhere") is None


def test_a_name_may_be_given_as_the_file_that_comes_of_it():
    assert from_mapping({**GOOD, "name": "krnk.Safetensors"}, where="test").name == "krnk"


@pytest.mark.parametrize("value", ["-" * 50_000 + "1", "(" * 5000 + ")" * 5000, "{[1]: 2}", "9" * 5000])
def test_an_argument_that_no_reader_of_python_takes_is_a_text(value):
    assert parse_argument(f"a={value}") == ("a", value)
