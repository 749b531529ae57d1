"""Crops and colors by chance: sd-scripts' ranges, the same in every resumed run, and nothing else changes."""

from __future__ import annotations

import colorsys
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora.data.buckets import apply_plan, plan_fixed
from lib_lora.data.folder import scan
from lib_lora.data.vary import CHANCE, GAMMA, HUE, cropped_elsewhere, recolored, turned
from lib_lora.formats.lora import read_lora
from lib_lora.progress import Progress
from lib_lora.train.batch import draw
from lib_lora.train.estimate import Paces, plan_run
from lib_lora.train.loop import run
from lib_lora.train.metadata import training_metadata
from lib_lora.train.pace import measure_pace
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.saving import save_lora
from lib_lora.train.sd_scripts.write import sd_scripts_command
from lib_lora.train.together import Team
from lib_lora.train.training import start
from lib_lora.train.training_set import prepare
from lib_lora.train.varied import DecodedPictures, Varied
from tests.conftest import same
from tests.told import Told


def test_a_hue_turns_as_colorsys_turns_it():
    levels = np.random.default_rng(0).random((6, 7, 3))
    levels[0, 0] = 0.5  # gray has no hue
    for turn in (-HUE, 0.0, HUE, 0.4):
        wanted = np.array(
            [
                colorsys.hsv_to_rgb((h + turn) % 1, s, v)
                for h, s, v in (colorsys.rgb_to_hsv(*c) for c in levels.reshape(-1, 3))
            ]
        )
        assert np.allclose(turned(levels, turn).reshape(-1, 3), wanted)


def test_colors_change_in_a_third_of_the_draws_by_hue_or_by_gamma():
    gray, red = (Image.new("RGB", (2, 2), color) for color in ((100, 100, 100), (200, 40, 40)))
    changed = by_gamma = 0
    seen = set()
    for seed in range(3000):
        one, two = (recolored(each, random.Random(seed)) for each in (gray, red))
        if np.array_equal(one, gray) and np.array_equal(two, red):
            continue
        changed += 1
        by_gamma += not np.array_equal(one, gray)
        seen.add(int(np.asarray(one)[0, 0, 0]))
    assert changed / 3000 == pytest.approx(CHANCE, abs=0.04)  # a gamma near 1 rounds to nothing
    assert by_gamma / changed == pytest.approx(0.5, abs=0.08)
    bounds = [round(255 * (100 / 255) ** exponent) for exponent in GAMMA]
    assert (max(seen), min(seen)) == tuple(bounds)


def test_a_crop_lies_anywhere_and_never_outside():
    plan = plan_fixed((100, 64), 64)
    places = {cropped_elsewhere(plan, random.Random(seed)).crop for seed in range(600)}
    assert {place[0] for place in places} == set(range(37))
    assert {(place[1], place[2] - place[0], place[3]) for place in places} == {(0, 64, 64)}
    picture = Image.fromarray(np.arange(100, dtype=np.uint8)[None].repeat(64, 0)).convert("RGB")
    moved = cropped_elsewhere(plan, random.Random(1))
    assert np.asarray(apply_plan(picture, moved))[0, 0, 0] == moved.crop[0]


@pytest.fixture
def wide(pictures):
    for path in pictures.glob("*.png"):
        with Image.open(path) as picture:
            picture.resize((128, 64)).save(path)
    return {"buckets": False, "resolution": 64}


def test_each_draw_is_another_crop_of_picture_and_mask(model, options_for, pictures, wide, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    ramp = Image.fromarray(np.linspace(0, 255, 128).astype(np.uint8)[None].repeat(64, 0))
    ramp.save(masks / "0.png")
    options = options_for(random_crop=True, flip=True, masks=str(masks), **wide)
    item = next(item for item in prepare(model, options, Progress()).samples if item.picture.path.stem == "0")
    draws = [item.varied.encode(random.Random(seed), mirrored=False) for seed in range(4)]
    assert len({latents.sum().item() for latents, _ in draws}) == 4
    assert len({mask.mean().item() for _, mask in draws}) == 4
    again, mask = item.varied.encode(random.Random(2), mirrored=True)
    assert torch.equal(mask, draws[2][1].flip(-1))
    assert not torch.equal(again, draws[2][0])
    plain = prepare(model, replace(options, random_crop=False), Progress()).samples[0]
    assert plain.varied is None
    assert torch.equal(plain.latents[0], item.latents[0])  # what is measured is the centered crop
    assert item.varied.encode(random.Random(2), mirrored=False)[0].shape == item.latents[0].shape


def test_without_chance_a_picture_made_anew_is_the_one_of_the_start(model, options_for, wide, monkeypatch):
    monkeypatch.setattr("lib_lora.data.vary.CHANCE", 0.0)
    options = options_for(color_aug=True, flip=True, **wide)
    item = prepare(model, options, Progress()).samples[0]
    for orientation in (0, 1):
        made, mask = item.varied.encode(random.Random(0), mirrored=bool(orientation))
        assert mask is None
        torch.testing.assert_close(made, item.latents[orientation], rtol=1e-4, atol=1e-4)


def losses(folder):
    return [row["loss"] for row in folder.read_log()]


def test_a_run_that_goes_on_sees_the_same_crops(model, options_for, wide, tmp_path):
    options = options_for(random_crop=True, color_aug=True, precision="bf16", **wide)
    whole, parts, plain = (RunFolder(tmp_path / name) for name in ("whole", "parts", "plain"))
    run(start(model, options, whole, Progress()), Progress())
    run(start(model, options, parts, Progress()), Told(stop_at=3))
    assert 0 < len(losses(parts)) < 6
    run(start(model, options, parts, Progress()), Progress())
    assert same(torch.tensor(losses(whole)), torch.tensor(losses(parts)))
    run(start(model, replace(options, random_crop=False, color_aug=False), plain, Progress()), Progress())
    assert losses(plain) != losses(whole)


def test_a_picture_that_is_gone_meanwhile_is_used_as_it_was(model, options_for, pictures, wide, tmp_path):
    options, folder = options_for(random_crop=True, **wide), RunFolder(tmp_path / "run")
    training = start(model, options, folder, Progress())
    for path in pictures.glob("*.png"):
        path.unlink()
    assert run(training, Progress()).finished
    said = [text for text in folder.remarks() if "used as it was at the start" in text]
    assert 1 <= len(said) <= 4  # one for each picture


def test_the_plan_says_what_it_costs(model, options_for, wide):
    options = options_for(random_crop=True, **wide)
    plan = plan_run(model, options, scan(options.images, min_side=64))
    assert [text for text in plan.remarks if text.startswith("4 pictures are cropped or colored anew")]
    assert not plan_run(model, options_for(**wide), scan(options.images, min_side=64)).remarks


@pytest.fixture
def from_a_file(options_for, pictures, wide, tmp_path):
    """Options whose dataset file has colors by chance for one of its two folders."""
    shutil.copytree(pictures, tmp_path / "calm")
    rows = [f'[[datasets.subsets]]\nimage_dir = "{place}"' for place in (tmp_path / "calm", pictures)]
    file = tmp_path / "set.toml"
    file.write_text("\n".join(["[[datasets]]", "resolution = 128", "batch_size = 2", *rows, "color_aug = true"]))
    return options_for(images="", dataset_config=str(file), **wide)


def test_what_a_dataset_file_says_is_in_the_time(model, options_for, from_a_file, wide, monkeypatch, tmp_path):
    made, encode = [], Varied.encode
    monkeypatch.setattr(Varied, "encode", lambda self, *a, **more: made.append(encode(self, *a, **more)) or made[-1])
    assert measure_pace(model, from_a_file, Progress(), steps=1) > 0
    assert len(made) == 2 * from_a_file.batch_size
    made.clear()
    measure_pace(model, options_for(**wide), Progress(), steps=1)
    assert not made
    paces = Paces(tmp_path / "paces.json")
    paces.put(model, options_for(**wide), 9.0)
    paces.put(model, from_a_file, 1.0)
    assert (paces.get(model, options_for(**wide)), paces.get(model, from_a_file)) == (9.0, 1.0)
    Path(from_a_file.dataset_config).unlink()
    paces.put(model, from_a_file, 2.0)  # the end of a run whose file is gone


def test_what_a_dataset_file_says_is_in_the_files_metadata(model, from_a_file, tmp_path):
    training = start(model, from_a_file, RunFolder(tmp_path / "run"), Progress())
    told = read_lora(save_lora(training, tmp_path / "a.safetensors")).metadata
    assert (told["ss_color_aug"], told["ss_random_crop"], told["ss_cache_latents"]) == ("True", "False", "False")
    subsets = [one for each in json.loads(told["ss_datasets"]) for one in each["subsets"]]
    assert sorted((one["image_dir"], one["color_aug"]) for one in subsets) == [
        ("calm", False),
        ("絵 pictures", True),
    ]


def test_of_several_processes_each_encodes_its_own_rows(model, options_for, wide, tmp_path, monkeypatch):
    options = options_for(random_crop=True, batch_size=4, **wide)
    training = start(model, options, RunFolder(tmp_path / "run"), Progress())
    (batch,) = training.next_batches()
    made, encode = [], Varied.encode
    monkeypatch.setattr(Varied, "encode", lambda self, *a, **more: made.append(self) or encode(self, *a, **more))
    alone = draw(training, batch, torch.Generator().manual_seed(0))
    assert len(made) == 4
    made.clear()
    training.team = Team(1, 2)
    part = draw(training, batch, torch.Generator().manual_seed(0))
    assert len(made) == 2
    assert torch.equal(part.clean[2:], alone.clean[2:])
    assert torch.equal(part.noise, alone.noise)
    assert torch.equal(part.timesteps, alone.timesteps)


def test_file_and_command_say_it(model, options_for, wide, tmp_path):
    options = options_for(random_crop=True, color_aug=True, cache_to_disk=True, **wide)
    training = start(model, options, RunFolder(tmp_path / "run"), Progress())
    rows = training_metadata(model, options, training.data, training.origin, step=1, total=6, per_epoch=2)
    assert (rows["ss_random_crop"], rows["ss_color_aug"], rows["ss_cache_latents"]) == ("True", "True", "False")
    text = sd_scripts_command(options, family=model.family).text
    assert "--random_crop" in text
    assert "--color_aug" in text
    assert "cache_latents" not in text


def test_decoded_pictures_are_kept_while_there_is_room(model, options_for, pictures, wide):
    options = options_for(random_crop=True, **wide)
    found = scan(options.images, min_side=64).train
    room = DecodedPictures(limit=2 * 128 * 64 * 3)
    first = room.layers(found[0], options)
    assert room.layers(found[0], options)[0] is first[0]
    for picture in found[1:]:
        room.layers(picture, options)
    assert room.layers(found[0], options)[0] is not first[0]
