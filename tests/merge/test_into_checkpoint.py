"""Into a checkpoint: what is written, against the dense sum; all else byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import FileError, InputError, StoppedError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.header import encode_header, read_header
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.merge.recipe import read_recipe
from lib_lora.merge.spec import Ingredient
from lib_lora.services import into_checkpoint
from lib_lora.services.into_checkpoint import IntoSpec
from tests.merge import checkpoint_pairs as made
from tests.merge.test_extract import KEYS, relative
from tests.told import Told

PRESETS = PresetFile.parse("")
ROOT = Path(__file__).resolve().parents[2]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def lora_parts(rows: int, columns: int, seed: int = 0) -> dict[str, Tensor]:
    up, down = randn(rows, 2, seed=seed) * 0.1, randn(2, columns, seed=seed + 1) * 0.1
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(1.0)}


def lora(path: Path, parts: dict[str, dict[str, Tensor]]) -> Path:
    return write_lora(LoraFile({key: read_adapter(key, one) for key, one in parts.items()}), path, overwrite=True)


def dense(parts: dict[str, Tensor]) -> Tensor:
    return 0.5 * parts["lora_up.weight"].double().flatten(1) @ parts["lora_down.weight"].double().flatten(1)


def simple(folder: Path, family: str = "sd1") -> tuple[Path, dict[str, dict[str, Tensor]]]:
    query, conv, text = KEYS[family]
    conv_parts = {
        "lora_up.weight": randn(made.WIDE, 2, 1, 1),
        "lora_down.weight": randn(2, made.WIDE, 3, 3) * 0.1,
        "alpha": torch.tensor(1.0),
    }
    texts = {f"{text}self_attn_{leaf}_proj": lora_parts(made.TEXT, made.TEXT, seed=n) for n, leaf in enumerate("qkv")}
    if family == "sd1":
        texts = {key: parts for key, parts in texts.items() if "q_proj" in key}
    parts = {query: lora_parts(made.WIDE, made.WIDE), conv: conv_parts, **texts}
    return lora(folder / "girl.safetensors", parts), parts


def raw(path: Path) -> dict[str, bytes]:
    header, data = read_header(path), path.read_bytes()
    start = header.data_start
    return {name: data[start + info.start : start + info.end] for name, info in header.tensors.items()}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_touched_tensors_hold_the_sum_and_all_others_their_bytes(
    tmp_path: Path, family: str, dtype: torch.dtype, bound: float
) -> None:
    base = made.write_original(tmp_path / "base.safetensors", family, dtype=dtype, **{"modelspec.title": "mine"})
    path, parts = simple(tmp_path, family)
    before = made.digest(base), made.digest(path)
    order = IntoSpec(base, (Ingredient(path, 0.5, te=2.0), Ingredient(path, -0.2, unet=0.0)))
    written = into_checkpoint.write(order, tmp_path / "new.safetensors", PRESETS)
    assert (made.digest(base), made.digest(path)) == before
    assert written.sha256 == made.digest(written.path)
    old, new = read_tensors(base)[0], read_tensors(written.path)[0]
    query, conv, text = KEYS[family]
    texts = [parts[key] for key in parts if key.startswith(text)]
    wanted = {
        made.QUERY: 0.5 * dense(parts[query]),
        made.CONV: 0.5 * dense(parts[conv]).reshape(made.WIDE, made.WIDE, 3, 3),
        made.text_weight(family, "q"): torch.cat([0.8 * dense(one) for one in texts]),
    }
    for name, change in wanted.items():
        assert relative(new[name], old[name].double() + change) < bound
    before_bytes, after_bytes = raw(base), raw(written.path)
    assert {name for name in before_bytes if before_bytes[name] != after_bytes[name]} == set(wanted)
    assert list(before_bytes) == list(after_bytes)
    one, other = read_header(base), read_header(written.path)
    assert one.tensors == other.tensors
    assert other.metadata["modelspec.title"] == "mine"
    rows = written.report.by_block()
    assert all(0 <= row["relative_error"] < 0.2 for row in rows.values())
    assert rows["BASE"]["modules"] == 1


def test_the_headers_order_is_kept_even_if_it_is_no_alphabet(tmp_path: Path) -> None:
    base = made.write_original(tmp_path / "base.safetensors", "sd1")
    header, data = read_header(base), base.read_bytes()
    turned = dict(reversed(header.tensors.items()))
    base.write_bytes(encode_header(turned, {"b": "1", "a": "2"}, in_order=True) + data[header.data_start :])
    path, _ = simple(tmp_path)
    written = into_checkpoint.write(IntoSpec(base, (Ingredient(path),)), tmp_path / "new.safetensors", PRESETS)
    assert list(read_header(written.path).tensors) == list(turned)
    assert written.path.read_bytes()[8:10] == b'{"'
    assert list(read_header(written.path).metadata)[:2] == ["b", "a"]


def kinds() -> dict[str, dict[str, Tensor]]:
    """One module of each kind on the query, whose change depends on the weight or is no plain product."""
    plain, wide = lora_parts(made.WIDE, made.WIDE), made.WIDE
    loha = {
        name: randn(*((wide, 2) if name[-1] == "a" else (2, wide)), seed=n) * 0.3
        for n, name in enumerate(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"))
    }
    skew = randn(10, 8, 8) * 0.1
    return {
        "dora": {**plain, "dora_scale": randn(1, wide).abs() + 0.5},
        "dora_on_outputs": {**plain, "dora_scale": randn(wide, 1).abs() + 0.5},
        "oft": {"oft_blocks": skew - skew.transpose(1, 2), "alpha": torch.tensor(1.0)},
        "loha": {**loha, "alpha": torch.tensor(1.0)},
        "lokr": {"lokr_w1": randn(8, 8) * 0.1, "lokr_w2": randn(10, 10) * 0.1},
        "full": {"diff": randn(wide, wide) * 0.1},
        "ia3": {"weight": randn(wide) * 0.1, "on_input": torch.tensor(False)},
    }


@pytest.mark.parametrize("kind", sorted(kinds()))
@pytest.mark.parametrize("q", [1.0, 0.5, -1.0])
def test_every_kind_changes_the_weight_as_it_does_live(tmp_path: Path, kind: str, q: float) -> None:
    base = made.write_original(tmp_path / "base.safetensors", "sd1")
    key, parts = KEYS["sd1"][0], kinds()[kind]
    path = lora(tmp_path / "kind.safetensors", {key: parts, f"{KEYS['sd1'][2]}mlp_fc1": lora_parts(192, 48)})
    order = IntoSpec(base, (Ingredient(path, q), Ingredient(path, q)))
    written = into_checkpoint.write(order, tmp_path / "new.safetensors", PRESETS)
    old, new = read_tensors(base)[0][made.QUERY], read_tensors(written.path)[0][made.QUERY]
    change = read_adapter(key, parts).delta(old).reshape(old.shape)
    assert float(change.norm()) > 0.1
    assert relative(new, old.double() + 2 * q * change.double()) < 1e-6


def test_norms_and_biases_are_changed_and_a_bias_alone_leaves_its_weight(tmp_path: Path) -> None:
    base = made.write_original(tmp_path / "base.safetensors", "sd1")
    norm = "lora_unet_down_blocks_1_attentions_0_norm"
    proj = "lora_unet_down_blocks_1_attentions_0_proj_in"
    parts = {
        norm: {"w_norm": randn(made.WIDE)},
        proj: {"diff_b": randn(made.WIDE)},
        KEYS["sd1"][0]: {**lora_parts(made.WIDE, made.WIDE), "diff_b": randn(made.WIDE)},
    }
    path = lora(tmp_path / "n.safetensors", parts)
    written = into_checkpoint.write(IntoSpec(base, (Ingredient(path, 2.0),)), tmp_path / "new.safetensors", PRESETS)
    old, new = read_tensors(base)[0], read_tensors(written.path)[0]
    assert relative(new[made.NORM], old[made.NORM] + 2 * randn(made.WIDE)) < 1e-6
    assert relative(new[made.BIAS], old[made.BIAS] + 2 * randn(made.WIDE)) < 1e-6
    assert torch.equal(new[made.POINT], old[made.POINT])
    (note,) = [note for _, note in written.plan.notes if "bias" in note]
    assert "has none" in note


def test_block_weights_choose_and_a_block_at_zero_keeps_its_bytes(tmp_path: Path) -> None:
    base = made.write_original(tmp_path / "base.safetensors", "sd1")
    path, parts = simple(tmp_path)
    vector = ",".join("0.25" if name == 4 else "0" for name in range(26))
    order = IntoSpec(base, (Ingredient(path, 1.0, vector),))
    with pytest.raises(InputError, match="every block has weight 0"):
        into_checkpoint.write(order, tmp_path / "new.safetensors", PRESETS)
    vector = ",".join("0.25" if name == 5 else "0" for name in range(26))
    order = IntoSpec(base, (Ingredient(path, 1.0, vector),))
    written = into_checkpoint.write(order, tmp_path / "new.safetensors", PRESETS)
    old, new = read_tensors(base)[0], read_tensors(written.path)[0]
    assert relative(new[made.QUERY], old[made.QUERY] + 0.25 * dense(parts[KEYS["sd1"][0]])) < 1e-6
    text = made.text_weight("sd1", "q")
    assert torch.equal(new[text], old[text])
    (step,) = read_recipe(read_header(written.path).metadata)
    assert step["checkpoint"] == {"name": "base.safetensors", "sha256": made.digest(base)}
    (source,) = step["sources"]  # type: ignore[misc]
    assert (source["source"], source["blocks"]["IN04"], source["blocks"]["BASE"]) == ("girl", 0.25, 0.0)


def test_a_plain_first_convolution_fits_an_inpainting_model(tmp_path: Path) -> None:
    first = made.UNET + "input_blocks.0.0.weight"
    base = made.write_original(tmp_path / "plain.safetensors", "sd1")
    weights, _ = read_tensors(base)
    base = write_tensors(tmp_path / "inpaint.safetensors", {**weights, first: randn(16, 9, 3, 3)}, {})
    parts = {
        "lora_up.weight": randn(16, 2, 1, 1),
        "lora_down.weight": randn(2, 4, 3, 3),
        "alpha": torch.tensor(1.0),
    }
    path = lora(tmp_path / "c.safetensors", {"lora_unet_conv_in": parts, KEYS["sd1"][0]: lora_parts(80, 80)})
    written = into_checkpoint.write(IntoSpec(base, (Ingredient(path),)), tmp_path / "new.safetensors", PRESETS)
    old, new = read_tensors(base)[0][first], read_tensors(written.path)[0][first]
    assert relative((new - old)[:, :4], dense(parts)) < 1e-5
    assert torch.equal(new[:, 4:], old[:, 4:])


def test_what_cannot_be_written_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    base = made.write_original(tmp_path / "base.safetensors", "sd1")
    path, _ = simple(tmp_path)
    query, _, text = KEYS["sdxl"]
    xl_parts = {query: lora_parts(80, 80), f"{text}mlp_fc1": lora_parts(192, 48)}
    xl = lora(tmp_path / "xl.safetensors", xl_parts)
    small = lora(tmp_path / "small.safetensors", {KEYS["sd1"][0]: lora_parts(40, 40)})
    stranger = lora(tmp_path / "strange.safetensors", {"lora_unet_mid_block_attentions_0_proj_in": lora_parts(8, 8)})
    huge = lora(tmp_path / "huge.safetensors", {KEYS["sd1"][0]: {"diff": torch.full((80, 80), 1e30)}})
    half = made.write_original(tmp_path / "half.safetensors", "sd1", dtype=torch.float16)
    eighths = tmp_path / "fp8.safetensors"
    write_tensors(eighths, {n: t.to(torch.float8_e4m3fn) for n, t in read_tensors(base)[0].items()}, {})
    before = {file: made.digest(file) for file in tmp_path.iterdir()}
    target = tmp_path / "new.safetensors"
    for checkpoint, one, words in (
        (base, xl, r"0 of 2\) — xl: made for sdxl, the model is sd1"),
        (base, stranger, r"0 of 1\)"),
        (base, small, "a weight of shape"),
        (half, huge, "too large"),
        (eighths, path, "quantized"),
        (path, path, "This is a LoRA"),
        (tmp_path / "gone.safetensors", path, "no such file"),
    ):
        with pytest.raises((InputError, FileError), match=words):
            into_checkpoint.write(IntoSpec(checkpoint, (Ingredient(one),)), target, PRESETS)
    for name in (base, path):
        with pytest.raises(InputError, match="would replace one"):
            into_checkpoint.write(IntoSpec(base, (Ingredient(path),)), name, PRESETS, overwrite=True)
    with pytest.raises(InputError, match="No LoRA"):
        IntoSpec(base, ())
    assert {file: made.digest(file) for file in tmp_path.iterdir()} == before


def test_modules_that_fit_no_layer_are_listed(tmp_path: Path) -> None:
    base = made.write_original(tmp_path / "base.safetensors", "sd1")
    stranger = "lora_unet_mid_block_attentions_0_proj_in"
    path = lora(tmp_path / "p.safetensors", {KEYS["sd1"][0]: lora_parts(80, 80), stranger: lora_parts(8, 8)})
    written = into_checkpoint.write(IntoSpec(base, (Ingredient(path),)), tmp_path / "new.safetensors", PRESETS)
    assert written.plan.unmatched == {"p": (stranger,)}
    assert any("1 of 2 modules" in note for _, note in written.plan.notes)


def test_a_stored_hash_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    base = made.write_original(tmp_path / "base.safetensors", "sd1", **{"modelspec.hash_sha256": "0x1", "kept": "y"})
    path, _ = simple(tmp_path)
    written = into_checkpoint.write(IntoSpec(base, (Ingredient(path),)), tmp_path / "new.safetensors", PRESETS)
    assert sorted(read_header(written.path).metadata) == ["atelier_order", "atelier_recipe", "kept"]
    assert any("hash" in note for _, note in written.plan.notes)


@pytest.mark.parametrize("doing", ["reading", "hashing", "writing", "checking what was written"])
def test_work_that_is_stopped_leaves_what_was_there(tmp_path: Path, doing: str) -> None:
    base, (path, _) = made.write_original(tmp_path / "base.safetensors", "sd1"), simple(tmp_path)
    target = into_checkpoint.write(IntoSpec(base, (Ingredient(path),)), tmp_path / "new.safetensors", PRESETS).path
    before = {file: made.digest(file) for file in tmp_path.iterdir()}
    with pytest.raises(StoppedError):
        into_checkpoint.write(
            IntoSpec(base, (Ingredient(path, 0.5),)), target, PRESETS, overwrite=True, progress=Told(stop_at=doing)
        )
    assert {file: made.digest(file) for file in tmp_path.iterdir()} == before


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    base, (path, _) = made.write_original(tmp_path / "base.safetensors", "sd1"), simple(tmp_path)
    size = base.stat().st_size
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": size})())
    told = Told()
    with pytest.raises(FileError, match="No space left"):
        into_checkpoint.write(IntoSpec(base, (Ingredient(path),)), tmp_path / "new.safetensors", PRESETS, progress=told)
    assert "writing" not in told.texts
    assert not (tmp_path / "new.safetensors").exists()


def test_the_merged_pocket_model_predicts_what_the_attached_lora_does(tmp_path: Path, studio) -> None:
    from lib_lora.host.studio import POCKET, StudioHost
    from lib_lora.live.attach import attach

    plain = studio.model
    keys = [key for number, key in enumerate(sorted(plain.layers)) if number % 5 == 0]
    parts = {}
    for number, key in enumerate(keys):
        rows, *rest = plain.layers[key].weight.shape
        columns = rest[0] if len(rest) == 1 else rest
        parts[key] = lora_parts(rows, columns, seed=number) if isinstance(columns, int) else _conv_parts(rows, columns)
    path = lora(tmp_path / "all.safetensors", parts)
    order = IntoSpec(POCKET, (Ingredient(path, 0.7, te=0.5),))
    written = into_checkpoint.write(order, tmp_path / "merged.safetensors", PRESETS)
    shutil.copy(POCKET.with_suffix(".yaml"), tmp_path / "merged.yaml")  # it tells the heads, and names the folder
    shutil.copytree(POCKET.parent / "text", tmp_path / "text")
    merged = StudioHost.open(written.path).model
    latents, times = randn(1, 4, 8, 8), torch.tensor([400])
    multipliers = {block: 0.7 * (0.5 if block == "BASE" else 1.0) for block in _blocks()}
    with torch.no_grad():
        untouched = plain.predict(latents, times, plain.encode_text(["a cat"]))
        with attach(plain, LoraFile({k: read_adapter(k, one) for k, one in parts.items()}), multipliers):
            live = plain.predict(latents, times, plain.encode_text(["a cat"]))
        baked = merged.predict(latents, times, merged.encode_text(["a cat"]))
    change = float((live - untouched).norm())
    assert change > 0.05 * float(untouched.norm())
    assert float((baked - live).norm()) < 0.01 * change


def _conv_parts(rows: int, rest: list[int]) -> dict[str, Tensor]:
    up, down = randn(rows, 2, 1, 1) * 0.1, randn(2, *rest) * 0.1
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(1.0)}


def _blocks() -> list[str]:
    from lib_lora.blocks.layouts import BASE, OTHER, full_layout

    return [*full_layout("sd1").names, BASE, OTHER]


MEASURED = """
import hashlib, json, resource, sys
from pathlib import Path
from lib_lora.blocks.presets import PresetFile
from lib_lora.merge.spec import Ingredient
from lib_lora.services import into_checkpoint
from lib_lora.services.into_checkpoint import IntoSpec
presets, folder = PresetFile.parse(""), Path(sys.argv[1])
def run(base):
    order = IntoSpec(folder / base, (Ingredient(folder / "girl.safetensors"),))
    into_checkpoint.write(order, folder / "new.safetensors", presets, overwrite=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([run("small.safetensors"), run("large.safetensors")]))
"""


def test_memory_stays_at_the_largest_tensor_and_a_little(tmp_path: Path) -> None:
    """A checkpoint of 160 MB, whose largest changed tensor has 10 MB, beside a small one in the same process."""
    made.write_original(tmp_path / "small.safetensors", "sd1", dtype=torch.float16)
    simple(tmp_path)
    weights, _ = read_tensors(tmp_path / "small.safetensors")
    wide, rows = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj", 4000
    name = made.UNET + "middle_block.1.transformer_blocks.0.ff.net.0.proj.weight"
    weights[name] = torch.zeros(rows, 1200, dtype=torch.float16)
    weights |= {f"first_stage_model.filler.{n}": torch.zeros(3_000_000, dtype=torch.float16) for n in range(25)}
    write_tensors(tmp_path / "large.safetensors", weights, {})
    parts = {KEYS["sd1"][0]: lora_parts(80, 80), wide: lora_parts(rows, 1200)}
    lora(tmp_path / "girl.safetensors", parts)
    run = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], cwd=ROOT, capture_output=True, check=True)
    small, large = json.loads(run.stdout)
    largest = rows * 1200 * 4  # in fp32
    assert large - small < 2.5 * largest + 30e6
    assert large - small < 0.6 * (tmp_path / "large.safetensors").stat().st_size
    assert any(raw(tmp_path / "new.safetensors")[name])
