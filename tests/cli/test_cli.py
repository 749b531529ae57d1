from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora.cli import main as cli
from lib_lora.cli.main import parser
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.host import studio as studio_module
from lib_lora.merge.bake import bake
from lib_lora.train.option_files import read_options
from tests.conftest import random_lora

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path, studio, monkeypatch):
    """A folder with a LoRA; the studio that the tests share stands in for opening it again for every command."""
    write_lora(random_lora(studio.model), tmp_path / "strong.safetensors")

    def opened(cls, model=None, *, lora_folders=(), presets=None, device="auto", tokenizer=None):
        return cls(studio.model, tuple(lora_folders), presets or studio.presets)

    monkeypatch.setattr(studio_module.StudioHost, "open", classmethod(opened))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys, *arguments) -> tuple[int, dict]:
    """Run a command with --json; return its exit code and result."""
    code = cli.main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


COMMANDS = (
    "demo",
    "tag",
    "captions",
    "tagger",
    "cutouts",
    "crops",
    "train",
    "generate",
    "analyze",
    "bake",
    "compress",
    "inspect",
    "label",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert "usage: python run.py " + command in text
    assert "--json" in text


def test_generate_renders_with_block_weights(folder, capsys):
    code, result = call(
        capsys, "generate", "--prompt", "red apple <lora:strong:1:FACE>", "--steps", 2, "--batch", 2, "--out", "a.png"
    )
    assert code == 0
    assert [Path(name).name for name in result["files"]] == ["a-1.png", "a-2.png"]
    assert "lbw=" in Image.open("a-1.png").info["parameters"]
    code, result = call(capsys, "generate", "--prompt", "x", "--steps", 2, "--batch", 2, "--out", "a.png")
    assert code == 1
    assert "exists already" in result["error"]["what"]
    assert result["error"]["flag"] == "--overwrite"
    assert cli.main(["generate", "--prompt", "x", "--steps", "2", "--batch", "2", "--out", "a.png"]) == 1
    assert capsys.readouterr().err.strip().endswith("allow overwriting. (--overwrite)")


def test_analyze_writes_grid_and_table(folder, capsys):
    prompt = "red apple <lora:strong:1:XYZ>"
    code, result = call(
        capsys,
        "analyze",
        "--prompt",
        prompt,
        "--steps",
        2,
        "--range",
        "0,1",
        "--blocks",
        "IN00,OUT03-OUT05,M00",
        "--out",
        "out",
    )
    assert code == 0
    assert set(result["blocks"]) == {"IN00", "OUT03 OUT04 OUT05", "M00"}
    assert result["blocks"]["IN00"] == {"percent": 0.0, "spread": 0.0, "modules": False}
    assert Image.open(result["grids"][0]).width > 300
    assert Path(result["csv"]).read_text(encoding="utf-8-sig").startswith("block,")


def test_analyze_takes_the_files_blocks_and_the_first_lora_as_page_and_rest_do(folder, capsys):
    words = ("--prompt", "red apple <lora:strong:1>", "--steps", 1, "--seed", 0, "--out", "out")
    assert call(capsys, "analyze", *words)[0] == 0
    code, result = call(capsys, "analyze", *words)
    assert code == 1
    assert "exists already" in result["error"]["what"]
    code, result = call(capsys, "analyze", *words, "--overwrite")
    assert code == 0
    assert all(row["modules"] for row in result["blocks"].values())
    tiers = {f"tier_{tier}.{end}" for tier in ("norms", "pictures") for end in ("csv", "png")}
    assert {path.name for path in Path("out").iterdir()} == {"blocks_0_1.csv", "grid_0_1_0.png", "maps.png", *tiers}
    assert [one["tier"] for one in result["tiers"]] == ["norms", "pictures"]


def test_bake_writes_the_numbers_of_the_preset(folder, capsys, studio):
    code, result = call(
        capsys, "bake", "strong.safetensors", "--weights", "FACE", "--unet", 0.5, "--out", "baked.safetensors"
    )
    assert code == 0
    face = studio.presets.resolve("FACE", "sd1").as_dict()
    wanted = {block: 0.5 * value for block, value in face.items()} | {"BASE": face["BASE"], "other": 0.5}
    expected, _ = bake(read_lora("strong.safetensors"), wanted)
    baked = read_lora("baked.safetensors")
    assert baked.adapters.keys() == expected.adapters.keys()
    for key, adapter in expected.adapters.items():
        assert torch.equal(baked.adapters[key].delta(), adapter.delta())
    assert result["dropped"] > 0


@pytest.mark.parametrize("rule", [("--rank", "2"), ("--sv-ratio", "1.5"), ("--energy", "0.9")])
def test_compress_makes_it_smaller_and_says_the_error(folder, capsys, rule):
    code, result = call(capsys, "compress", "strong.safetensors", *rule, "--out", "small.safetensors")
    assert code == 0
    assert result["bytes_after"] < result["bytes_before"]
    assert all(0 < row["energy_kept"] <= 1 for row in result["blocks"].values())


def test_label_changes_only_the_header(folder, capsys):
    code, result = call(
        capsys, "label", "strong.safetensors", "--set", "title=絵", "trigger_words=krnk", "--out", "named.safetensors"
    )
    assert code == 0
    assert result["fields"]["title"] == "絵"
    code, seen = call(capsys, "inspect", "named.safetensors")
    _, before = call(capsys, "inspect", "strong.safetensors")
    assert seen["hash"]["agrees"]
    assert seen["hash"]["computed"] == before["hash"]["computed"]
    assert seen["fields"]["trigger_words"] == "krnk"


def test_tag_and_train_from_pictures_to_file(folder, capsys):
    (folder / "pics").mkdir()
    for name in ("f00", "f02"):
        Image.new("RGB", (128, 128), "white").save(folder / "pics" / f"{name}.png")
    code, result = call(capsys, "tag", "pics", "--trigger", "krnk")
    assert code == 0
    assert len(result["folders"][0]["written"]) == 2
    train = (
        "train",
        "--images",
        "pics",
        "--trigger",
        "krnk",
        "--kind",
        "character",
        "--out",
        "loras/krnk",
        "--steps",
        "2",
        "--dim",
        "2",
    )
    code, result = call(capsys, *train)
    assert code == 0
    assert read_lora(result["lora"]).metadata["modelspec.trigger_phrase"] == "krnk"
    code, result = call(capsys, *train)
    assert code == 2
    assert "already" in result["error"]["what"]
    code, result = call(capsys, "train", "--resume", "loras/krnk")
    assert (code, result["steps"]) == (0, 2)


@pytest.mark.parametrize(
    "more", [("--steps", "9"), ("--no-flip",), ("--runs", "r"), ("--out", "a/b"), ("o.toml",), ("--dim", "4")]
)
def test_what_a_resumed_run_would_not_heed_is_refused(folder, capsys, more):
    code, result = call(capsys, "train", *more, "--resume", "runs/krnk")
    assert code == 2
    assert more[0].replace("--no-", "--") in result["error"]["what"]


@pytest.mark.parametrize("more", [("--name", "b"), ("--runs", "r")])
def test_a_name_or_folder_that_is_said_twice_is_refused(folder, capsys, more):
    code, result = call(capsys, "train", "--images", "pics", "--out", "loras/a", *more)
    assert (code, more[0] in result["error"]["what"]) == (2, True)


def test_train_says_what_it_left_out(folder, capsys):
    for place, names in (("10_krnk girl", ("f00", "f01")), ("$RECYCLE.BIN/S-1-5-21", ("b00",))):
        (folder / "disk" / place).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (64, 64), "white").save(folder / "disk" / place / f"{name}.png")
    for name in ("IMG_1.HEIC", "IMG_2.heic"):
        (folder / "disk" / "10_krnk girl" / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (folder / "disk" / "10_krnk girl" / "a.jxl").write_bytes(b"\xff\x0a\xfa\x1f")
    (folder / "disk" / "10_krnk girl" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    shape = ("--resolution", "64", "--steps", "1", "--dim", "2", "--text-encoder-ratio", "0")
    assert cli.main(["train", "--images", "disk", "--trigger", "krnk", "--name", "t", *shape]) == 0
    said = capsys.readouterr().err
    assert "3 files are of a kind that cannot be read (.heic 2, .jxl 1): save them as JPEG" in said
    assert "broken.png: " in said
    assert "$RECYCLE.BIN" in said
    assert "2 pictures" in said


def test_train_reads_toml_and_the_command_line_wins(folder, capsys):
    (folder / "pics").mkdir()
    Image.new("RGB", (128, 128), "red").save(folder / "pics" / "a.png")
    (folder / "o.toml").write_text(
        'images = "pics"\nname = "from_toml"\nkind = "style"\nsteps = 9\ndim = 2\n', encoding="utf-8"
    )
    code, result = call(capsys, "train", "o.toml", "--steps", "1", "--runs", "r")
    assert (code, result["steps"]) == (0, 1)
    assert Path(result["lora"]).name == "from_toml.safetensors"
    options = read_options(Path(result["run"]) / "options.json")
    assert (options.kind, options.dim, options.network, options.batch_size) == ("style", 2, "locon", 8)
    assert read_lora(result["lora"]).metadata["ss_min_snr_gamma"] == "None"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("inspect", "none.safetensors"), 1, "none.safetensors"),
        (("bake", "strong.safetensors", "--weights", "FAC", "--out", "x.safetensors"), 2, "FACE"),
        (("bake", "strong.safetensors", "--weights", "1,R,1", "--out", "x.safetensors"), 2, "17"),
        (("generate", "--strict", "--prompt", "<lora:nobody:1>", "--out", "x.png"), 2, "nobody"),
        (("generate", "--strict", "--prompt", "<lora:strong:1:lbw=1,,1>", "--out", "x.png"), 2, "^"),
        (("train", "--images", "nowhere", "--name", "x"), 2, "nowhere"),
        (("label", "strong.safetensors", "--set", "color=red", "--out", "x.safetensors"), 2, "trigger_words"),
        (("analyze", "--prompt", "a", "--out", "y"), 2, "XYZ"),
    ],
)
def test_errors_say_what_where_and_the_cure(folder, capsys, arguments, code, said):
    assert cli.main(list(arguments)) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not Path("x.safetensors").exists()


def test_a_cut_file_is_one_clear_sentence(folder, capsys):
    whole = (folder / "strong.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert cli.main(["inspect", "cut.safetensors"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_help_loads_no_diffusers():
    code = (
        "import sys\nfrom lib_lora.cli.main import parser\nparser()\n"
        "print([m for m in ('diffusers', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


GENERATE = ("generate", "--steps", "1", "--out")


def test_one_bad_tag_is_a_note_and_strict_refuses_it(tmp_path, monkeypatch, capsys, lora):
    from lib_lora.formats.lora import write_lora

    monkeypatch.chdir(tmp_path)
    write_lora(lora, tmp_path / "one.safetensors")
    prompt = ("--prompt", "krnk <lora:one:0.1> <lora:one:0.1:FCAE> <lora:missing:1> <lora:one:1")
    assert cli.main([*GENERATE, "a.png", *prompt]) == 0
    said = capsys.readouterr().err
    assert [word in said for word in ("FCAE", "missing", "not closed", "^")] == [True] * 4
    assert (tmp_path / "a.png").is_file()
    assert cli.main([*GENERATE, "b.png", *prompt, "--strict"]) == 2
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("skip", "said"), [("4", "this text encoder has 3 layers"), ("0", "from 1 to 32"), ("-1", "from 1 to 32")]
)
def test_clip_skip_is_limited_by_the_text_encoder(tmp_path, monkeypatch, capsys, skip, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*GENERATE, "a.png", "--prompt", "krnk", f"--clip-skip={skip}"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_readme_lists_every_command(name):
    (row,) = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "`python run.py …`" in line]
    listed = row.split("`python run.py …`")[1].split("|")[0].strip(":： ").split(", ")
    (commands,) = [one.choices for one in parser()._actions if isinstance(one, argparse._SubParsersAction)]
    assert sorted(listed) == sorted(set(commands) - {"studio"})  # which has a row of its own
