"""A family of models is one object: its tables fit together, and nobody outside compares its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora.architectures.base import BASE, OTHER, Architecture, BlockPrefixes, Labels, Layout, TextEncoder, signature
from lib_lora.architectures.registry import architectures, family_of_checkpoint, registered
from lib_lora.blocks.layouts import block_of_path, full_layout, layout_of, prefixes
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import parse_tag
from lib_lora.blocks.tag_resolve import resolve
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.inspection import inspection
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.merge.make import make
from lib_lora.merge.spec import Ingredient, MergeSpec
from tests.formats.lora_samples import sample
from tools import gates

ROOT = Path(gates.__file__).resolve().parent.parent
FIVE = (BASE, "FIRST", "SECOND", "THIRD", "LAST")
WIDE = (BASE, *(f"P{n:02d}" for n in range(25)))
PLACES = {"FIRST": "towers.0", "SECOND": "towers.1", "THIRD": "towers.2", "LAST": "roof"}
TOY = Architecture(
    name="toy",
    title="Toy",
    detect=signature("toy", r"^lora_unet_(?:towers_\d|roof)"),
    layouts=(Layout(5, "toy", FIVE), Layout(26, "toy", WIDE)),
    blocks={name: BlockPrefixes((path,)) for name, path in PLACES.items()},
    text_encoders=(TextEncoder("te", "toy_text", width=8, layers=1),),
    labels=Labels("toy_v1", "toy-1", "64x64", "toys"),
    checkpoint_signs=("towers.0.",),
)


@pytest.fixture
def toy() -> Iterator[Architecture]:
    with registered(TOY):
        yield TOY


def toy_file(folder: Path) -> Path:
    keys = [f"lora_unet_{path.replace('.', '_')}_mix" for path in PLACES.values()] + ["lora_te_words_0"]
    lora = LoraFile({key: read_adapter(key, sample("linear", seed=n)) for n, key in enumerate(keys)})
    return write_lora(lora, folder / "toy.safetensors")


def strings(source: gates.Source) -> Iterator[tuple[str, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield f"{source.path}:{node.lineno}", node.value


def test_no_code_outside_names_a_family() -> None:
    names = {one.name for one in architectures()}
    outside = [s for s in gates.read_sources(ROOT, ("lib_lora", "scripts")) if "/architectures/" not in s.path]
    assert len(outside) > 100
    assert [place for source in outside for place, text in strings(source) if text in names] == []


@pytest.mark.parametrize("family", architectures(), ids=lambda one: one.name)
def test_tables_of_a_family_fit_together(family: Architecture) -> None:
    assert all(len(layout.names) == len(set(layout.names)) == layout.length for layout in family.layouts)
    for short in family.layouts[1:]:
        assert set(short.names) < set(family.layouts[0].names)
    if family.layouts:
        named = set(family.layouts[0].names) | {OTHER}
        assert set(family.blocks) - {BASE} <= named
        assert named - set(family.blocks) <= {BASE}
        assert {encoder.block for encoder in family.text_encoders} <= named
        assert family.labels is not None
    if family.unet is not None:
        assert {module.block for module in family.modules(conv=True)} <= set(family.layouts[0].names)


def test_checkpoint_is_known_by_its_names() -> None:
    for one in architectures():
        for sign in one.checkpoint_signs:
            found = family_of_checkpoint(["first_stage_model.x", f"{sign}0.weight"])
            assert found is not None
            assert found.title.split(" ")[0] == one.title.split(" ")[0]
    assert family_of_checkpoint(["conditioner.embedders.0.model.x"]) is None  # SDXL's refiner


def test_added_family_has_blocks_and_vectors(toy: Architecture) -> None:
    assert full_layout("toy").names == FIVE
    assert prefixes("third", "toy").ldm == ("towers.2",)
    assert block_of_path("diffusion_model.towers.1.mix", "toy") == "SECOND"
    weights = BlockWeights.parse("1,0,0.5,2,1")
    assert (weights.layout.family, weights["third"]) == ("toy", 2)
    assert fit(weights, "toy") == weights
    tag = resolve(parse_tag("<lora:x:0.5:lbw=1,0,0.5,2,1>"), PresetFile.parse(""), "toy", 0)
    assert tag.multipliers("toy")["THIRD"] == 1


def test_equal_lengths_of_two_families_do_not_collide(toy: Architecture) -> None:
    vector = ",".join(["1"] * 26)
    assert layout_of(26, "toy").names == WIDE
    assert layout_of(26, "sd1") is layout_of(26, "sd2") is full_layout("sd1")
    assert BlockWeights.parse(vector, "toy").layout.family == "toy"
    with pytest.raises(InputError, match="SD1, Toy"):
        BlockWeights.parse(vector)
    with pytest.raises(InputError, match="SD1, Toy"):
        layout_of(26, "sdxl")
    presets = PresetFile.parse(f"P:{vector}")
    assert presets.lookup("P", "toy").layout.family == "toy"
    assert presets.lookup("P", "sd2").layout.family == "sd1"
    assert presets.with_preset("P", vector).names() == ("P",)


def test_family_is_forgotten_with_its_vectors() -> None:
    with registered(TOY):
        pass
    with pytest.raises(InputError, match="got 5"):
        BlockWeights.parse("1,0,0.5,2,1")
    assert BlockWeights.parse(",".join(["1"] * 26)).layout.family == "sd1"


def test_files_of_an_added_family_are_read_labeled_baked_and_merged(toy: Architecture, tmp_path: Path) -> None:
    path = toy_file(tmp_path)
    told = inspection(path)
    assert told["family"] == "toy"
    assert list(told["blocks"]) == [BASE, "FIRST", "SECOND", "THIRD", "LAST"]
    metadata = read_lora(path).metadata
    assert (metadata["ss_base_model_version"], metadata["modelspec.architecture"]) == ("toy_v1", "toy-1/lora")
    rows = (Ingredient(path, blocks="1,0,0.5,1,1"), Ingredient(path))
    made = make(MergeSpec(rows), PresetFile.parse(""))
    assert dict(made.used)["toy"] == dict.fromkeys(FIVE, 1.0)
    assert made.used[0][1]["SECOND"] == 0.5
    assert made.lora.family == "toy"
