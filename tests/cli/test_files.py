"""What the commands on files take, refuse and print."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora.cli import common
from lib_lora.cli import main as cli
from lib_lora.cli.common import harmless
from lib_lora.formats.cover import read_cover
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.header import read_header
from lib_lora.formats.lora import read_lora
from lib_lora.host.studio import POCKET, StudioHost
from tests.formats.lora_samples import reference, relative, sample

IN01 = "lora_unet_down_blocks_0_attentions_0_proj_in"
IN02 = "lora_unet_down_blocks_0_attentions_1_proj_in"
KOHYA = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


def save(path: Path, modules, metadata=None) -> Path:
    tensors = {f"{key}.{part}": tensor for key, parts in modules.items() for part, tensor in parts.items()}
    return write_tensors(path, tensors, metadata or {})


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(tmp_path / "x.safetensors", {key: sample("linear", seed=n) for n, key in enumerate((IN01, IN02))})


@pytest.mark.parametrize("command", [["bake"], ["compress", "--rank", 2]])
def test_a_file_is_never_written_over_what_it_is_made_of(source: Path, capsys, command: list[object]) -> None:
    before = source.read_bytes()
    name, *rule = command
    code, _, said = run(capsys, name, source, "--out", source, "--overwrite", *rule)
    assert code == 2
    assert "would replace one that it is made of" in said
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "doing"), [(["bake", "--unet", 0.5], "baking"), (["compress", "--rank", 1], "compressing")]
)
def test_the_terminal_tells_how_far_it_is(
    source: Path, tmp_path: Path, capsys, command: list[object], doing: str
) -> None:
    code, _, said = run(capsys, *command, source, "--out", tmp_path / "y.safetensors", "--precision", "bf16")
    assert code == 0
    steps = [line.split()[0] for line in said.splitlines()]
    assert list(dict.fromkeys(steps)) == ["reading", doing, "converting", "saving"]
    assert f"  {doing} 2/2" in said
    code, _, said = run(capsys, *command, source, "--out", tmp_path / "z.safetensors", "--json")
    assert (code, said) == (0, "")


@pytest.mark.parametrize(("command", "doing"), [(["bake"], "baking"), (["compress", "--rank", 1], "compressing")])
def test_ctrl_c_ends_the_work_calmly_and_leaves_nothing(
    source: Path, tmp_path: Path, capsys, monkeypatch, command: list[object], doing: str
) -> None:
    class Pressed(common.TerminalProgress):
        def update(self, done: int, total: int, text: str = "") -> None:
            super().update(done, total, text)
            if (text, done) == (doing, 1):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(common, "TerminalProgress", Pressed)
    before = signal.getsignal(signal.SIGINT)
    code, _, said = run(capsys, *command, source, "--out", tmp_path / "y.safetensors")
    assert code == 1
    assert "stopping after this step; no file is written" in said
    assert "error: The work was stopped before it was finished" in said
    assert "saving" not in said
    assert list(tmp_path.iterdir()) == [source]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("joined", [True, False])
def test_a_list_that_begins_with_a_minus_is_a_value(source: Path, tmp_path: Path, capsys, joined: bool) -> None:
    vector = "-0.5,1,-2" + ",1" * 14
    given = [f"--weights={vector}"] if joined else ["--weights", vector]
    code, _, said = run(capsys, "bake", source, *given, "--unet", "-.5", "--out", tmp_path / "y.safetensors")
    assert code == 0, said
    before, after = read_lora(source), read_lora(tmp_path / "y.safetensors")
    for key, weight in ((IN01, 1.0), (IN02, -2.0)):
        assert relative(after.adapters[key].delta(), -0.5 * weight * before.adapters[key].delta().numpy()) < 1e-6


@pytest.mark.parametrize("weights", ["LUCKY", "R" + ",1" * 16, "1,U" + ",1" * 15])
def test_random_weights_are_never_written_into_a_file(source: Path, tmp_path: Path, capsys, weights: str) -> None:
    presets = tmp_path / "presets.txt"
    presets.write_text("LUCKY:" + ",".join(["R"] * 17) + "\n", encoding="utf-8")
    arguments = ("bake", source, "--weights", weights, "--presets", presets, "--out", tmp_path / "y.safetensors")
    code, _, said = run(capsys, *arguments)
    assert code == 2
    assert "Random weights" in said
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize("dtype", KOHYA)
@pytest.mark.parametrize("kind", ["linear", "conv3x3", "tucker", "loha", "lokr_whole", "lokr_both_low"])
def test_fp8_is_computed_and_kept_as_wide(tmp_path: Path, capsys, kind: str, dtype: str) -> None:
    parts = sample(kind, dtype=KOHYA[dtype])
    path = save(tmp_path / "x.safetensors", {IN01: parts, IN02: parts})
    wanted = -0.5 * reference({name: tensor.float() for name, tensor in parts.items()})
    orders = (
        ("bake", path, "--unet", "-0.5"),
        ("bake", path, "--unet", "-0.5", "--precision", "fp32"),
        ("compress", path, "--rank", "8"),
        ("label", path, "--set", "title=a"),
        ("inspect", path),
    )
    for number, order in enumerate(orders):
        made = tmp_path / f"{number}.safetensors"
        code, _, said = run(capsys, *order, *([] if order[0] == "inspect" else ["--out", made]))
        assert code == 0, said
        if order[0] == "bake":
            assert relative(read_lora(made).adapters[IN01].delta(), wanted) < 1e-3
            assert all(tensor.element_size() > 1 for tensor in read_tensors(made)[0].values())
    labeled, _ = read_tensors(tmp_path / "3.safetensors")
    assert {tensor.dtype for name, tensor in labeled.items() if not name.endswith("alpha")} == {KOHYA[dtype]}


def test_precision_is_rounded_once_and_its_error_told(tmp_path: Path, capsys) -> None:
    parts = {name: tensor.half() for name, tensor in sample("lokr_whole", alpha=None).items()}
    path, made = save(tmp_path / "x.safetensors", {IN01: parts}), tmp_path / "y.safetensors"
    assert run(capsys, "bake", path, "--unet", "0.3", "--precision", "fp32", "--out", made)[0] == 0
    wanted = 0.3 * reference({name: tensor.float() for name, tensor in parts.items()})
    assert relative(read_lora(made).adapters[IN01].delta(), wanted) < 1e-6
    rough = tmp_path / "z.safetensors"
    code, out, _ = run(capsys, "bake", path, "--unet", "0.3", "--precision", "bf16", "--out", rough, "--json")
    assert code == 0
    told = json.loads(out)["blocks"]["IN01"]["relative_error"]
    assert told == pytest.approx(relative(read_lora(rough).adapters[IN01].delta(), wanted), rel=0.5)
    assert told > 1e-4


def test_a_kind_that_is_not_linear_is_inspected_labeled_and_baked_whole(tmp_path: Path, capsys) -> None:
    path = save(tmp_path / "x.safetensors", {IN01: {**sample("linear"), "dora_scale": torch.ones(1, 8)}})
    code, out, _ = run(capsys, "inspect", path)
    assert code == 0
    assert "dora" in out
    assert "described" not in out
    assert run(capsys, "label", path, "--set", "title=a", "--out", tmp_path / "y.safetensors")[0] == 0
    assert run(capsys, "bake", path, "--out", tmp_path / "w.safetensors")[0] == 0
    assert read_lora(tmp_path / "w.safetensors").adapters[IN01].title == "DoRA"
    code, _, said = run(capsys, "bake", path, "--unet", "0.5", "--out", tmp_path / "z.safetensors")
    assert code == 2
    assert "A DoRA at strength 0.5 has no form as a DoRA" in said


def test_inspect_names_modules_of_no_layer(tmp_path: Path, capsys) -> None:
    path = save(tmp_path / "x.safetensors", {IN01: sample("linear"), "lora_unet_nowhere": sample("linear")})
    assert "1 of 2 modules of x fit no layer of SD1 models (e.g. lora_unet_nowhere)" in run(capsys, "inspect", path)[1]


HOSTILE = "a\x1b]0;x\x07\x1b[2Jb\x9b31m\r\u202egpj.exe\u2066\u2028\x00z"


def test_no_control_character_of_a_file_reaches_the_terminal(tmp_path: Path, capsys) -> None:
    metadata = {"modelspec.title": HOSTILE, "ss_tag_frequency": json.dumps({"1_a": {HOSTILE: 3}})}
    path = save(tmp_path / "x.safetensors", {IN01: sample("linear")}, metadata)
    missing = tmp_path / f"{HOSTILE.replace(chr(0), '')}.safetensors"
    orders = (["inspect", path], ["inspect", path, "--json"], ["inspect", missing], ["inspect", missing, "--json"])
    for order in orders:
        _, out, said = run(capsys, *order)
        assert not [char for char in out + said if char in "\x1b\x07\x9b\r\u202e\u2066\u2028\x00"]
    found = json.loads(run(capsys, "inspect", path, "--json")[1])
    assert found["fields"]["title"] == HOSTILE


def test_a_line_break_in_a_title_makes_no_row_of_ours(tmp_path: Path, capsys) -> None:
    path = save(tmp_path / "x.safetensors", {IN01: sample("linear")}, {"modelspec.title": "a\r\nhash 0123 (as stored)"})
    rows = run(capsys, "inspect", path)[1].split("\n")
    assert [row for row in rows if row.startswith("hash ")][0] == rows[-2]
    assert "title: a" in rows


def test_harmless_texts_stay() -> None:
    kept = "赤いリンゴ 👩‍👩‍👧\tเด็ก\nשלום naïve"
    assert harmless(kept) == kept
    assert harmless("\x1b[2J") == "\\x1b[2J"


def test_with_its_base_a_dora_is_baked_at_any_strength(tmp_path: Path, capsys) -> None:
    model = StudioHost.open(None).model
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    rows, columns = model.layers[key].weight.shape
    parts = {"lora_up.weight": torch.ones(rows, 1), "lora_down.weight": torch.ones(1, columns)}
    path = save(tmp_path / "x.safetensors", {key: {**parts, "dora_scale": torch.ones(rows, 1)}})
    out = tmp_path / "y.safetensors"
    assert run(capsys, "bake", path, "--unet", "0.5", "--out", out)[0] == 2
    code, said, _ = run(capsys, "bake", path, "--unet", "0.5", "--base", POCKET, "--out", out)
    assert code == 0
    assert "1 module is a full difference now" in said
    wanted = read_lora(path).adapters[key].delta(model.layers[key].weight) * 0.5
    torch.testing.assert_close(read_lora(out).adapters[key].delta(), wanted)


def test_a_cover_is_put_in_and_taken_away(source: Path, tmp_path: Path, capsys) -> None:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "cover.png")
    with_one, without = tmp_path / "with.safetensors", tmp_path / "without.safetensors"
    assert run(capsys, "label", source, "--cover", tmp_path / "cover.png", "--out", with_one)[0] == 0
    assert read_cover(read_header(with_one).metadata).size == (64, 48)
    assert run(capsys, "label", with_one, "--remove-cover", "--out", without)[0] == 0
    assert read_cover(read_header(without).metadata) is None
    code, _, said = run(capsys, "label", source, "--out", tmp_path / "z.safetensors")
    assert (code, "Nothing is to be changed" in said) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bake", "--te", "much"), "“much” is no number — te"),
        (("bake", "--te", "101"), "101 is out of range — te. Give a number from -100 to 100."),
        (("bake", "--te", "１.５", "--precision", "fp8"), "“fp8” is unknown — precision"),
        (("compress", "--rank", "0"), "0 is out of range — rank. Give a number from 1 to 100000."),
    ],
)
def test_a_number_is_refused_with_the_sentence_of_every_door(source: Path, tmp_path: Path, capsys, words, said) -> None:
    command, *more = words
    code, _, told = run(capsys, command, source, *more, "--out", tmp_path / "y.safetensors")
    assert code == 2
    assert said in told
    assert not (tmp_path / "y.safetensors").exists()
