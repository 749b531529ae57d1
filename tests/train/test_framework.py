"""What CharFramework's folders and logic names say."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lib_lora.cli.main import main
from lib_lora.errors import InputError
from lib_lora.train.dataset_config import read_dataset_config
from lib_lora.train.framework import dataset_file, logic_options, size_class
from lib_lora.train.options import from_mapping


def test_logic_names_are_options():
    found = logic_options("Lora3x3A50p-AdamW8 128 100 1000")
    options = from_mapping({"images": "i", "name": "n", **found}, where="t")
    assert (options.network, options.dim, options.alpha, options.conv_alpha) == ("locon", 128, 64, 64)
    assert (options.optimizer, options.learning_rate, options.steps) == ("AdamW8bit", 1e-4, 1000)
    assert options.learning_rate * options.text_encoder_ratio == pytest.approx(44e-6)
    assert logic_options("LohaA1-AdaFacotor 32")["network"] == "loha"
    assert logic_options("lora1x1a1-adafactor 8 1 5")["learning_rate"] == 0
    assert logic_options("Lora1x1A1-AdamW8")["alpha"] == 1
    for wrong in ("", "Lora3x3", "Lora3x3A50p-AdamW8 x", "Lora3x3A50p-AdamW8 0", "Lora3x3A50p-AdamW8 1 2 3 4"):
        with pytest.raises(InputError, match="no logic name"):
            logic_options(wrong)


@pytest.mark.parametrize(
    ("size", "wanted"), [((512, 512), (512, 512)), ((513, 100), (768, 512)), ((900, 2000), (1024, 1024))]
)
def test_a_side_has_the_smallest_class_that_holds_it(size, wanted):
    assert size_class(size) == wanted


@pytest.fixture
def group(tmp_path):
    for name, size in (("krnk girl, shorthair_f0512", (400, 500)), ("krnk girl_b0768_noflip_", (500, 700))):
        (tmp_path / "4_krnk" / name).mkdir(parents=True)
        Image.new("RGB", size, "red").save(tmp_path / "4_krnk" / name / "f00.png")
    return tmp_path / "4_krnk"


def test_a_dataset_file_has_each_folder_and_the_batch_of_its_size(group, capsys):
    assert main(["dataset-file", str(group), "--memory", "12gb"]) == 0
    config = read_dataset_config(group / "4_krnk.toml")
    (face,), (body,) = config.datasets
    assert (face.repeats, face.class_tokens, dict(face.own)["flip"]) == (4, "krnk girl", True)
    assert (dict(face.own)["batch_size"], dict(body.own)["batch_size"]) == (4, 3)
    assert (dict(body.own)["resolution"], dict(body.own)["resolution_height"]) == (512, 768)
    assert not dict(body.own)["flip"]
    assert main(["dataset-file", str(group)]) != 0  # never over a file
    assert not dict(face.own).get("color_aug")
    assert main(["dataset-file", str(group), "--color-aug", "--out", str(group / "c.toml")]) == 0
    assert all(dict(one.own)["color_aug"] for (one,) in read_dataset_config(group / "c.toml").datasets)
    capsys.readouterr()


def test_one_folder_with_pictures_of_several_sizes_is_refused(group):
    Image.new("RGB", (900, 900)).save(group / "krnk girl, shorthair_f0512" / "f01.png")
    with pytest.raises(InputError, match="several sizes"):
        dataset_file([group])


def test_the_terminal_writes_a_logic_name(tmp_path, capsys):
    out = tmp_path / "o.json"
    assert main(["logic", "LohaA50p-AdamW8", "32", "100", "1000", "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["network"] == "loha"
    capsys.readouterr()
