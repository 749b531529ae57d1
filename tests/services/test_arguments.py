"""What a program gives to `import lib_lora`: a wrong kind is refused with what, where and cure; paths are texts too."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

import lib_lora
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.options import changed
from lib_lora.services.arguments import checked
from tests.conftest import random_lora

ROOT = Path(__file__).resolve().parents[2]
WRONG = {
    "a path is no LoRA": (lambda lora, host: lib_lora.bake("a.safetensors"), "lora", "lib_lora.read_lora"),
    "a list of paths": (lambda lora, host: lib_lora.add([lora, Path("b")]), "loras[1]", "lib_lora.read_lora"),
    "one LoRA, no list": (lambda lora, host: lib_lora.add(lora), "loras", "lib_lora.read_lora"),
    "three in a pair": (lambda lora, host: lib_lora.add([(lora, 1, 2)]), "loras[0]", "lib_lora.read_lora"),
    "a method's name": (lambda lora, host: lib_lora.add([lora], method="ties"), "method", "MethodOptions"),
    "a rank alone": (lambda lora, host: lib_lora.compress(lora, 4), "rule", "RankRule"),
    "a host is no model": (lambda lora, host: lib_lora.bake(lora, model=host), "model", "host.model"),
    "attached to a host": (lambda lora, host: lib_lora.attach(host, lora), "model", "host.model"),
    "no host": (lambda lora, host: lib_lora.analyze("model", "a"), "host", "open_studio"),
    "nothing to read": (lambda lora, host: lib_lora.read_lora(None), "path", "str | Path"),
    "a type's name": (lambda lora, host: lib_lora.write_lora(lora, "a.safetensors", dtype="fp16"), "dtype", "dtype"),
    "weights that are none": (lambda lora, host: lib_lora.multipliers(lora, 1j), "weights", "BlockWeights"),
    "presets as a table": (lambda lora, host: lib_lora.plan("FACE", presets={}), "presets", "PresetFile"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kind_is_refused_with_its_place_and_a_cure(studio, name):
    call, place, cure = WRONG[name]
    with pytest.raises(InputError, match="cannot be of the kind") as caught:
        call(random_lora(studio.model), studio)
    assert str(caught.value.what).startswith(f"{place} ")
    assert cure in str(caught.value.cure)
    assert hasattr(lib_lora, caught.value.where)


UNKNOWN = {
    "plan": lambda host: lib_lora.plan("FACE", steps=3),
    "analyze": lambda host: lib_lora.analyze(host, "a <lora:x:1:XYZ>", block="M00"),
    "analyze_tiers": lambda host: lib_lora.analyze_tiers(host, "a <lora:x:1>", tiers="norms"),
    "find_weights": lambda host: lib_lora.find_weights(host, "x", hold=1),
    "train_lora": lambda host: lib_lora.train_lora(host, images="x", name="n", dims=3),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_option_that_there_is_not_is_named(studio, name):
    with pytest.raises(InputError, match="There is no option") as caught:
        UNKNOWN[name](studio)
    assert caught.value.where == name


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_weights_are_finite_through_every_door(studio, weight):
    lora = random_lora(studio.model)
    ways = (
        lambda: lib_lora.multipliers(lora, weight),
        lambda: lib_lora.multipliers(lora, {"M00": weight}),
        lambda: lib_lora.multipliers(lora, {"other": weight}),
        lambda: lib_lora.multipliers(lora, [1] * 25 + [weight]),
        lambda: lib_lora.attach(studio.model, lora, weight).__enter__(),
    )
    for way in ways:
        with pytest.raises(InputError, match="finite number"):
            way()


@pytest.mark.parametrize("weight", ["x", None, {}, [1]])
def test_what_is_no_number_is_no_weight(studio, weight):
    with pytest.raises(InputError, match="M00 is not a finite number"):
        lib_lora.multipliers(random_lora(studio.model), {"M00": weight})


def test_a_list_of_numbers_is_a_vector(studio):
    lora, numbers = random_lora(studio.model), [at / 8 for at in range(17)]
    assert lib_lora.multipliers(lora, numbers) == lib_lora.multipliers(lora, ",".join(map("{:.6g}".format, numbers)))
    assert lib_lora.multipliers(lora, numpy.float32(0.5)) == lib_lora.multipliers(lora, 0.5)
    joined, _ = lib_lora.add(each for each in (lora, (lora, [0.5] * 17)))
    assert len(joined.adapters) == len(lora.adapters)


def test_attaching_says_what_cannot_be(studio):
    lora = random_lora(studio.model)
    for more, said in (({"weights": {"M00": 1}}, "No strength is given"), ({"strategy": "fold"}, "“fold” is unknown")):
        with pytest.raises(InputError, match=said):
            lib_lora.attach(studio.model, lora, **more).__enter__()


def test_a_file_is_never_written_in_whole_numbers_or_under_a_name_that_no_system_has(studio, tmp_path):
    lora = random_lora(studio.model)
    for dtype in (torch.int8, torch.int32, torch.bool):
        with pytest.raises(InputError, match="whole numbers"):
            lib_lora.write_lora(lora, tmp_path / "a.safetensors", dtype=dtype)
    with pytest.raises(FileError, match="name too long"):
        lib_lora.write_lora(lora, tmp_path / f"{'x' * 300}.safetensors")
    assert not [*tmp_path.iterdir()]


def test_a_folder_in_the_place_of_a_picture_is_refused_before_the_search(studio, tmp_path):
    with pytest.raises(FileError, match="A folder has this name"):
        lib_lora.find_weights(studio, "x", picture=tmp_path)


def test_a_folder_may_be_a_path_or_a_text(studio, tmp_path):
    one, other = (lib_lora.TrainOptions(images=kind(tmp_path), name="a") for kind in (Path, str))
    assert one == other
    for options in (one, one.to_dict()):
        with pytest.raises(AtelierError, match="No pictures were found"):
            lib_lora.train_lora(studio, options, runs=str(tmp_path / "runs"))
    opened = lib_lora.open_studio(loras=str(tmp_path))
    assert opened.lora_folders == (tmp_path,)
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(InputError, match="not a folder"):
        lib_lora.open_studio(loras=[tmp_path / "a.safetensors"])


def test_a_star_brings_every_name():
    code = "from lib_lora import *; print(bake.__doc__[:16], AtelierError.__name__, Stoppable().stopped)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert said.split() == ["Return", "a", "LoRA", "th", "AtelierError", "False"]


def test_options_stay_what_they_are_but_for_what_is_changed():
    options = lib_lora.AnalyzeOptions(blocks="M00", seeds=2)
    assert changed(options, {"seeds": 3}, where="x") == lib_lora.AnalyzeOptions(blocks="M00", seeds=3)
    assert changed(options, {}, where="x") == options


def test_what_only_a_checker_of_types_can_tell_is_let_through():
    def call(one: Nowhere, two: int | None = None, *, three: tuple[int, str] = (1, "a")):  # noqa: F821
        return one, two, three

    door = checked(call)
    assert door(object, numpy.int64(2), three=(3, "b"))[1:] == (2, (3, "b"))
    for more in ({"two": 1.5}, {"three": (1, 2)}, {"three": (1,)}):
        with pytest.raises(InputError, match="cannot be of the kind"):
            door(1, **more)
