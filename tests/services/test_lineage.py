"""Where a file comes from: the command that it notes really makes it again, its tree says what is at hand."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lib_lora import demo
from lib_lora.cli import main as cli
from lib_lora.errors import InputError
from lib_lora.formats.hashes import tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.lora_names import named_files
from lib_lora.formats.metadata import ORDER
from lib_lora.host.studio import POCKET
from lib_lora.merge.provenance import read_order
from lib_lora.services import repeated
from lib_lora.services.command_lines import command_line
from lib_lora.services.labels import LabelOptions
from lib_lora.services.labels import write as label
from lib_lora.services.lineage import HERE, MISSING, OTHER, Files
from tests.merge import checkpoint_pairs
from tests.merge.test_extract import pair_of

LAYERS = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (320, 320),
    "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_k": (320, 768),
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
}


def trained(path: Path, seed: int, rank: int) -> Path:
    """Save a LoRA as a trainer does."""
    draw = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for key, (out, into) in LAYERS.items():
        tensors[f"{key}.lora_down.weight"] = torch.randn(rank, into, generator=draw).half()
        tensors[f"{key}.lora_up.weight"] = torch.randn(out, rank, generator=draw).half()
        tensors[f"{key}.alpha"] = torch.tensor(rank / 2).half()
    safetensors.torch.save_file(tensors, path, {"ss_steps": "120", "ss_network_module": "networks.lora"})
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (name, rank) in enumerate((("girl: a", 4), ("dress, b", 8), ("style", 2))):
        trained(tmp_path / f"{name}.safetensors", seed, rank)
    return tmp_path


def run(*arguments: object) -> None:
    assert cli.main([*map(str, arguments), "--json"]) == 0


def files(folder: Path) -> Files:
    known = named_files([folder])
    return Files(known, known)


def line_of(path: Path) -> list[str]:
    order = read_order(read_header(path).metadata)
    assert order is not None
    return shlex.split(command_line(order, path, files(path.parent)).removeprefix("python run.py "))


G, D, S = "girl: a.safetensors", "dress, b.safetensors", "style.safetensors"
ORDERS = {
    "bake": ["bake", G, "--weights", "MIDD", "--te", "0.7", "--strength", "-0.9", "--precision", "fp32"],
    "bake short": ["bake", G, "--weights", ",".join(["0.5"] * 17), "--fill", "1", "--other", "0.25"],
    "compress": ["compress", G, "--sv-ratio", "3.3", "--max-rank", "3"],
    "sum": ["merge", f"{G}:0.7:OUTALL", f"{D}:te=0.3:unet=-0.5", f"{S}:te=0.3:unet=0", "--precision", "bf16"],
    "small": ["merge", f"{G}:0.7:lbw=X{',0.3' * 25}:x=2", "--energy", "0.9", "--max-rank", "6"],
    "ties": ["merge", G, D, "--method", "ties", "--density", "0.3", "--rank", "4"],
    "dare": ["merge", G, D, S, "--method", "dare", "--seed", "7"],
    "k_lora": ["merge", G, D, "--method", "k_lora"],
    "project": ["merge", G, f"{D}:0.5", "--method", "project", "--side", "either"],
    "size": ["compress", D, "--size", "0.02"],
    "parts": ["compress", D, "--rank", "4", "--parts", "BASE::2", "IN01:attn1:3"],
    "convert": ["convert", D, "--to", "diffusers", "--precision", "fp32"],
    "prune": ["prune", D, "--text-encoders", "--modules", "attn2", "--zero"],
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_command_that_is_shown_makes_the_same_tensors(folder: Path, capsys, monkeypatch, name: str) -> None:
    monkeypatch.chdir(folder)
    run(*ORDERS[name], "--out", folder / "made.safetensors")
    made = folder / "made.safetensors"
    words = line_of(made)
    assert words[0] == ("repeat" if name == "size" else ORDERS[name][0])
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    run(*words)
    again = folder / "made_again.safetensors"
    assert tensor_hash(again) == tensor_hash(made)
    once_more = repeated.repeat(made, folder / "x.safetensors", files(folder))
    assert (once_more.same, once_more.hash) == (True, tensor_hash(made))
    assert read_header(again).metadata[ORDER] == read_header(made).metadata[ORDER]
    assert name != "size" or 19_000 < made.stat().st_size <= 20_000


QUERY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
WITH_BASE = {
    "bake": ["bake", "dora.safetensors", "--unet", "0.5"],
    "merge": ["merge", "dora.safetensors:0.5", "plain.safetensors:-0.3", "--precision", "fp32"],
    "merge small": ["merge", "dora.safetensors", "plain.safetensors", "--rank", "3"],
    "compress": ["compress", "plain.safetensors", "--base-ratio", "0.05"],
    "compress dora": ["compress", "dora.safetensors", "--energy", "0.9"],
}


@pytest.fixture
def beside_model(tmp_path: Path) -> Path:
    """A folder with the pocket model, a DoRA and a LoRA of one of its layers."""
    for name in (POCKET.name, POCKET.with_suffix(".yaml").name):
        shutil.copy(POCKET.with_name(name), tmp_path)
    layer = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
    rows, columns = read_header(POCKET).tensors[layer].shape
    draw = torch.Generator().manual_seed(1)
    sides = {"lora_up.weight": (rows, 4), "lora_down.weight": (4, columns)}
    parts = {part: torch.randn(size, generator=draw) for part, size in sides.items()}
    for name, more in (("plain", {}), ("dora", {"dora_scale": torch.rand(rows, 1, generator=draw) + 0.5})):
        tensors = {f"{QUERY}.{part}": tensor for part, tensor in {**parts, **more}.items()}
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.mark.parametrize("name", WITH_BASE)
def test_an_order_with_its_model_is_made_again_by_the_command_that_is_shown(
    beside_model: Path, capsys, monkeypatch, name: str
) -> None:
    monkeypatch.chdir(beside_model)
    made, base = beside_model / "made.safetensors", ["--base", POCKET.name]
    run(*WITH_BASE[name], *base, "--out", made)
    words = line_of(made)
    assert words[-2:] == ["--base", str(beside_model / POCKET.name)]
    (beside_model / "elsewhere").mkdir()
    monkeypatch.chdir(beside_model / "elsewhere")
    run(*words)
    assert tensor_hash(beside_model / "made_again.safetensors") == tensor_hash(made)
    run("repeat", made, *base[:1], beside_model / POCKET.name, "--out", beside_model / "x.safetensors")
    assert tensor_hash(beside_model / "x.safetensors") == tensor_hash(made)


def test_a_dora_in_a_checkpoint_is_written_again_and_extracted_again(beside_model: Path, capsys) -> None:
    original, whole = beside_model / POCKET.name, beside_model / "whole.safetensors"
    run("into-checkpoint", original, f"{beside_model / 'dora.safetensors'}:0.7", "--out", whole)
    run(*line_of(whole))
    assert tensor_hash(beside_model / "whole_again.safetensors") == tensor_hash(whole) != tensor_hash(original)
    learned = beside_model / "learned.safetensors"
    run("extract", whole, original, "--rank", "8", "--out", learned)
    run(*line_of(learned))
    assert tensor_hash(beside_model / "learned_again.safetensors") == tensor_hash(learned)


@pytest.mark.parametrize("by", ["text", "blocks"])
def test_a_part_is_made_again_alone(folder: Path, capsys, by: str) -> None:
    run("split", folder / G, "--by", by)
    for made in sorted(folder.glob("girl_ a_*.safetensors") or folder.glob("girl: a_*.safetensors")):
        run(*line_of(made))
        assert tensor_hash(made.with_name(f"{repeated.again(made)}.safetensors")) == tensor_hash(made)


def test_checkpoints_are_parents_too(tmp_path: Path, capsys) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    for number, more in enumerate((["--rank", "4"], ["--size", "0.01", "--no-text"])):
        made = tmp_path / f"learned{number}.safetensors"
        run("extract", tuned, original, *more, "--out", made)
        run(*line_of(made))
        again = made.with_name(f"learned{number}_again.safetensors")
        assert tensor_hash(again) == tensor_hash(made)
    whole = tmp_path / "whole.safetensors"
    weights = ",".join(["0.5"] * 17)
    run("into-checkpoint", original, f"{tmp_path / 'learned0.safetensors'}:0.7:{weights}", "--out", whole)
    run(*line_of(whole))
    assert tensor_hash(tmp_path / "whole_again.safetensors") == tensor_hash(whole)
    tuned.unlink()
    checkpoint_pairs.tuned_from(original, tuned, lambda _, tensor: tensor * 2)
    with pytest.raises(InputError, match="has other tensors than the one"):
        repeated.repeat(tmp_path / "learned0.safetensors", tmp_path / "y.safetensors", files(tmp_path))


def test_the_tree_reaches_back_and_says_what_is_at_hand(folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    run("bake", G, "--weights", "MIDD", "--out", "face.safetensors")
    run("compress", "face.safetensors", "--rank", "2", "--out", "small.safetensors")
    run("merge", "small.safetensors:0.5", f"{D}:-1", "--out", "both.safetensors")
    both = folder / "both.safetensors"
    tree = files(folder).tree(both)
    assert [one.name for one in tree.parents] == ["small", "dress, b"]
    (small, dress), (face,) = tree.parents, tree.parents[0].parents
    (girl,) = face.parents
    assert {one.state for one in (small, dress, face, girl)} == {HERE}
    assert (small.order.verb, face.order.verb, girl.facts["steps"]) == ("compress", "bake", "120")
    (folder / G).unlink()
    (folder / "face.safetensors").rename(folder / "renamed.safetensors")
    shutil.copy(folder / S, folder / D)
    label(folder / "small.safetensors", LabelOptions(title="other words").order())
    tree = files(folder).tree(both)
    (small, dress), (face,) = tree.parents, tree.parents[0].parents
    assert [one.state for one in (small, dress, face, face.parents[0])] == [HERE, OTHER, HERE, MISSING]
    assert face.path == folder / "renamed.safetensors"
    with pytest.raises(InputError, match="has other tensors than the one"):
        repeated.repeat(both, folder / "z.safetensors", files(folder))
    for name in ("small", "renamed"):
        (folder / f"{name}.safetensors").unlink()
    tree = files(folder).tree(both)
    assert tree.parents[0].parents[0].parents[0].name == "girl: a"
    with pytest.raises(InputError, match="is not here"):
        repeated.repeat(both, folder / "z.safetensors", files(folder))
    with pytest.raises(InputError, match="does not say"):
        repeated.order_of(folder / S)


def test_a_file_is_not_taken_for_the_parent_of_its_name(folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    made, copies = folder / "out" / S, folder / "copies"
    for one in (made.parent, copies):
        one.mkdir()
    run("compress", S, "--rank", "1", "--out", made)
    shutil.copy(made, copies / "copy.safetensors")
    shutil.copy(made, copies / S)
    for known in (files(made.parent), files(copies), Files({"style": made, "copies/style": copies / S})):
        assert known.tree(made).parents[0].state == MISSING
        with pytest.raises(InputError, match="is not here"):
            repeated.repeat(made, folder / "z.safetensors", known)
    assert line_of(made)[0] == "repeat"  # "compress style.safetensors" would take the file itself
    known = Files({"style": made, "more/style": folder / S})
    assert (known.tree(made).parents[0].state, repeated.repeat(made, folder / "z.safetensors", known).same) == (
        HERE,
        True,
    )


def test_the_shipped_lora_says_that_its_parent_is_not_here() -> None:
    shipped = Path(demo.__file__).with_name("shipped") / "krnk_demo.safetensors"
    (parent,) = files(shipped.parent).tree(shipped).parents
    assert (parent.name, parent.state) == ("krnk_demo", MISSING)


def nested(depth: int) -> str:
    text = '{"command": "merge", "parents": [{"name": "a", "hash": ""}]}'
    for _ in range(depth):
        text = '{"command": "merge", "parents": [{"name": "a", "hash": "", "made": ' + text + "}]}"
    return text


HOSTILE = [
    "{",
    "[]",
    "7",
    "[" * 100_000,
    nested(3000),
    json.dumps({"command": "rm -rf", "parents": [{"name": "a"}]}),
    json.dumps({"command": "merge", "parents": []}),
    json.dumps({"command": "merge", "parents": [{"name": "a"}] * 1000}),
    json.dumps({"command": "merge", "parents": [{"name": "a", "row": {"strength": "x", "blocks": 7}}]}),
    json.dumps({"command": "merge", "parents": [{"name": "../../etc/passwd\x00", "row": {"te": []}}]}),
    json.dumps({"command": "merge", "parents": [{"name": "; rm -rf $HOME"}], "options": {"rule": 7, "x": {"y": []}}}),
    json.dumps({"command": "extract", "parents": [{"name": "style", "kind": "checkpoint"}], "error": "much"}),
    json.dumps({"command": "convert", "parents": [{"name": "style"}], "options": {"to": 7}}),
    json.dumps({"command": "prune", "parents": [{"name": "x" * 5000}], "options": {"modules": 3}}),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_an_order_that_nobody_of_ours_wrote_does_no_harm(folder: Path, text: str, capsys) -> None:
    path = folder / "odd.safetensors"
    tensors = safetensors.torch.load_file(folder / S)
    known = text.replace('"hash": ""', f'"hash": "{tensor_hash(folder / S)}"')
    safetensors.torch.save_file(tensors, path, {ORDER: known})
    found = files(folder).tree(path)
    assert found.name == "odd"
    assert cli.main(["inspect", str(path)]) == 0
    if found.order is not None:
        for word in shlex.split(command_line(found.order, path, files(folder)))[2:]:
            assert "\x00" not in word
    with pytest.raises(InputError):
        repeated.repeat(path, folder / "z.safetensors", files(folder))


def test_what_is_remembered_stays_short(folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    before = folder / S
    for number in range(12):
        run("bake", before, "--strength", "0.9", "--out", f"{number}.safetensors")
        before = folder / f"{number}.safetensors"
    text = read_header(before).metadata[ORDER]
    assert (text.count('"command"'), len(text) < 4000) == (9, True)
