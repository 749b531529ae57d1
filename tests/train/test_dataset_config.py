"""sd-scripts' dataset files: several folders, sizes, batches and rules in one run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.errors import InputError
from lib_lora.progress import Progress
from lib_lora.services.start_check import check_pictures
from lib_lora.train.captions import rules_of
from lib_lora.train.data_metadata import data_metadata
from lib_lora.train.dataset_config import read_dataset_config
from lib_lora.train.estimate import plan_run
from lib_lora.train.options import from_mapping
from lib_lora.train.pictures import count_draws, options_for, scan_pictures
from lib_lora.train.toml_files import toml_text
from lib_lora.train.training_set import prepare, steps_an_epoch

TWO = """
[general]
shuffle_caption = true
keep_tokens = 2
caption_extension = ".txt"
flip_aug = false

[[datasets]]
resolution = 128
batch_size = 2
bucket_reso_steps = 32
  [[datasets.subsets]]
  image_dir = "face"
  num_repeats = 3
  class_tokens = "krnk girl"
  flip_aug = true
  keep_tokens = 1
  [[datasets.subsets]]
  image_dir = "class"
  is_reg = true

[[datasets]]
resolution = [64, 96]
batch_size = 3
enable_bucket = false
bucket_reso_steps = 32
  [[datasets.subsets]]
  image_dir = "face"
  cache_info = true
  random_crop = true
  face_crop_aug_range = [1.0, 2.0]
"""


def folder(path: Path, count: int, *, caption: str = "hat, cat") -> None:
    path.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", (128, 96), (40 * number, 90, len(path.name))).save(path / f"{number}.png")
        if number:
            (path / f"{number}.txt").write_text(caption, encoding="utf-8")


@pytest.fixture
def file(tmp_path):
    folder(tmp_path / "face", 3)
    folder(tmp_path / "class", 2, caption="girl")
    path = tmp_path / "dataset.toml"
    path.write_text(TWO, encoding="utf-8")
    return path


def options(path, **more):
    values = {"dataset_config": str(path), "name": "t", "kind": "concept", "steps": 4, "dim": 4, **more}
    return from_mapping(values, where="test")


def test_keys_go_down_from_general_to_dataset_to_subset(file):
    first, second = read_dataset_config(file).datasets
    face, regular = first
    assert (face.folder, face.repeats, face.class_tokens, face.endings) == (
        file.parent / "face", 3, "krnk girl", (".txt",),
    )  # fmt: skip
    assert dict(face.own) == {
        "shuffle_caption": True, "keep_tokens": 1, "flip": True, "resolution": 128, "resolution_height": 0,
        "batch_size": 2, "bucket_step": 32,
    }  # fmt: skip
    assert (regular.is_reg, dict(regular.own)["flip"], dict(regular.own)["keep_tokens"]) == (True, False, 2)
    assert dict(second[0].own)["resolution_height"] == 96
    assert dict(second[0].own)["buckets"] is False


def test_a_run_has_every_folder_with_its_own_size_batch_and_rules(model, file):
    chosen = options(file)
    made = prepare(model, chosen, Progress())
    rows = [(item.picture.dataset, item.picture.is_reg, item.picture.repeats) for item in made.samples]
    assert Counter(rows) == {(0, False, 3): 3, (0, True, 5): 1, (0, True, 4): 1, (1, False, 1): 3}
    latent = model.pixels_per_latent
    shapes = {(item.picture.dataset, tuple(item.latents[0].shape[1:])) for item in made.samples}
    assert (1, (96 // latent, 64 // latent)) in shapes
    assert {len(item.latents) for item in made.samples if item.picture.repeats == 3} == {2}  # mirrored
    own = {item.rules.keep_tokens for item in made.samples if item.picture.dataset == 0}
    assert own == {1, 2}
    assert all(item.rules.shuffle for item in made.samples)
    (bare,) = [item for item in made.samples if item.picture.path.stem == "0" and item.picture.repeats == 3]
    assert bare.caption == "krnk girl"


def test_batches_keep_to_their_dataset_and_their_number_is_that_of_the_plan(model, file):
    chosen = options(file)
    made = prepare(model, chosen, Progress())
    batches = made.batches(0, batch_size=chosen.batch_size, seed=1)
    assert {(batch[0].picture.dataset, len(batch)) for batch in batches} <= {(0, 2), (0, 1), (1, 3)}
    assert all(len({item.picture.dataset for item in batch}) == 1 for batch in batches)
    assert [b[0].picture.dataset for b in batches] != sorted(b[0].picture.dataset for b in batches)
    drawn = Counter((item.picture.dataset, item.picture.path) for batch in batches for item in batch)
    assert sorted(drawn.values()) == [1, 1, 1, 3, 3, 3, 4, 5]
    found = scan_pictures(chosen, min_side=8, progress=Progress())
    shown = found.shown()
    assert steps_an_epoch(model, chosen, shown) == len(batches) == plan_run(model, chosen, found).per_epoch


def test_what_is_not_followed_is_said_and_what_asks_for_nothing_is_not(model, file):
    said = prepare(model, options(file), Progress()).problems
    assert [one for one in said if "face_crop_aug_range" in one]
    quiet = file.read_text(encoding="utf-8").replace("face_crop_aug_range = [1.0, 2.0]", "color_aug = false")
    file.write_text(quiet, encoding="utf-8")
    assert not [one for one in prepare(model, options(file), Progress()).problems if "face_crop_aug_range" in one]


def test_a_folder_that_is_given_twice_counts_once_and_is_said(file):
    twice = TWO.replace(
        "[[datasets]]\nresolution = [64",
        '  [[datasets.subsets]]\n  image_dir = "./face"\n\n[[datasets]]\nresolution = [64',
    )
    before = read_dataset_config(file)
    draws = count_draws(options(file))
    file.write_text(twice, encoding="utf-8")
    config = read_dataset_config(file)
    assert config.datasets == before.datasets
    assert [note for note in config.notes if "given twice" in note] != []
    assert count_draws(options(file)) == draws


def test_a_subset_varies_alone(model, file):
    made = prepare(model, options(file, cache_to_disk=True), Progress())
    assert {item.picture.dataset for item in made.samples if item.varied} == {1}
    said = [one for one in made.problems if "encoded in every step" in one]
    assert said == [one for one in said if one.startswith("3 pictures are")] != []


def test_the_file_tells_its_datasets_and_no_path(model, file):
    chosen = options(file)
    rows = data_metadata(model, chosen, prepare(model, chosen, Progress()))
    datasets = json.loads(rows["ss_datasets"])
    assert [one["resolution"] for one in datasets] == [[128, 128], [64, 96]]
    assert [one["batch_size_per_device"] for one in datasets] == [2, 3]
    assert str(file.parent) not in json.dumps(rows)


def test_what_a_dataset_file_does_not_say_comes_from_the_run(file):
    file.write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "face"\n', encoding="utf-8")
    chosen = options(file, tag_dropout=0.2, resolution=96)
    picture = scan_pictures(chosen, min_side=8, progress=Progress()).train[0]
    assert rules_of(options_for(picture, chosen)).tag_dropout == 0.2
    assert options_for(picture, chosen).resolution == 96


def test_a_dataset_in_json_is_the_same(file):
    import tomllib

    other = file.with_suffix(".json")
    other.write_text(json.dumps(tomllib.loads(TWO)), encoding="utf-8")
    assert read_dataset_config(other).datasets == read_dataset_config(file).datasets


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("num_repeats", "num_repeat"), r"num_repeat.*\[1\]\.subsets\[1\].*num_repeats"),
        (("num_repeats = 3", 'num_repeats = "3"'), r"another type.*num_repeats"),
        (("keep_tokens = 1", "keep_tokens = -1"), "-1 is out of range"),
        (("keep_tokens = 1", "keep_tokens = true"), "keep_tokens"),
        (('image_dir = "class"', 'image_dir = "nowhere"'), "nowhere"),
        (('image_dir = "class"', 'image_dir = "D:\\new\\train"'), r"line breaks.*write / in paths"),
        (('image_dir = "class"', 'image_dir = "C:\\Users\\me"'), r"TOML.*write / in paths"),
        (('image_dir = "class"', 'image_dir = "a\\u0000"'), "image_dir"),
        (('image_dir = "class"', "image_dir = ['class']"), "another type"),
        (('image_dir = "class"', 'image_dir = " "'), "missing"),
        (('image_dir = "class"', "image_dir = '\"class\"'"), None),
        (('image_dir = "class"', "image_dir = '.\\class'"), None),
        (("flip_aug = false", 'bucket_no_upscale = "false"'), r"another type.*bucket_no_upscale"),
        (('class_tokens = "krnk girl"', 'class_tokens = "krnk\\ngirl"'), r"one line.*class_tokens"),
        (("flip_aug = false", 'caption_prefix = "a\\u0007"'), r"U\+0007"),
        (('image_dir = "class"\n  is_reg', 'image_dir = "face"\n  is_reg'), "training and for regularization"),
        (("resolution = 128", 'resolution = "128"'), "resolution"),
        (("is_reg = true", 'is_reg = true\n  metadata_file = "m.json"'), "another kind"),
        (("[general]", "[general]\nimage_dir = 'x'"), "image_dir"),
        (("[[datasets]]\nresolution = 128", "[[datasets]]\nresolution = "), "TOML"),
        (('[[datasets.subsets]]\n  image_dir = "class"\n  is_reg = true', ""), None),
    ],
)
def test_a_wrong_file_is_refused_before_any_picture_with_its_place(file, change, said):
    text = file.read_text(encoding="utf-8")
    assert change[0] in text
    file.write_text(text.replace(*change, 1), encoding="utf-8")
    if said is None:
        return check_pictures(options(file))
    with pytest.raises(InputError, match=said) as caught:
        check_pictures(options(file))
    assert file.name in str(caught.value) or "nowhere" in str(caught.value)
    return None


def test_folders_beside_a_dataset_file_are_refused(file):
    with pytest.raises(InputError, match="which folders"):
        options(file, images="x")
    with pytest.raises(InputError, match="images"):
        from_mapping({"name": "t"}, where="test")


def test_toml_text_reads_back():
    import tomllib

    values = {
        "general": {"a": 'x"\\\n\x7f絵', "b": True, "c": 1.5, "d": [1, 2]},
        "datasets": [{"resolution": [1, 2], "subsets": [{"n": 1}, {"n": 2}]}, {"k": 1, "subsets": [{"n": 3}]}],
        "z": 3,
    }
    assert tomllib.loads(toml_text(values)) == values
