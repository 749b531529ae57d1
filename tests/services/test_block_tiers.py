"""An analysis' tiers through the service: what is asked, what is refused, what is saved, what goes into the prompt."""

from __future__ import annotations

import json

import pytest

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.blocks.layouts import full_layout
from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.host.request import GenerateRequest
from lib_lora.progress import QUIET
from lib_lora.services.analysis_order import analyze_order, order_of, save
from lib_lora.services.block_tiers import NEUTRAL_SMALL, tier_answer, vector_of
from lib_lora.services.file_facts import FileFacts


@pytest.fixture(scope="module")
def host(studio, lora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(lora, folder / "plain.safetensors")
    write_lora(LoraFile(lora.adapters, {"modelspec.trigger_phrase": "krnk"}), folder / "named.safetensors")
    before, studio.lora_folders = studio.lora_folders, (folder,)
    yield studio
    studio.lora_folders = before


def order(host, prompt="", **options):
    return order_of(GenerateRequest(prompt, seed=1, steps=2), AnalyzeOptions(**options), host, FileFacts(host))


def test_norms_need_a_lora_and_nothing_else(host):
    found = analyze_order(order(host, lora="plain", tier="norms", beside=("named",)), host, QUIET)
    assert [one.tier for one in found.tiers] == ["norms"]
    assert found.analyses == ()
    assert found.tiers[0].means("cosine_1") == pytest.approx(dict.fromkeys(found.tiers[0].ranking(), 1.0))


def test_the_trigger_is_the_prompt_then_what_the_file_says_else_it_is_refused(host):
    asked = order(host, "red apple, <lora:named:1>", tier="prediction").quick
    assert (asked.triggers, asked.neutrals) == (("red apple",), NEUTRAL_SMALL)
    asked = order(host, lora="named", tier="prediction").quick
    assert asked.triggers == ("krnk",)
    assert any("krnk" in note for note in asked.notes)
    own = order(host, lora="named", tier="prediction", trigger=("a", "b"), neutral=("c",)).quick
    assert (own.triggers, own.neutrals) == (("a", "b"), ("c",))
    with pytest.raises(InputError, match="not known what triggers plain"):
        order(host, lora="plain", tier="prediction")
    assert order(host, lora="plain", tier="norms").quick.triggers == ()


def test_another_lora_of_the_prompt_is_said_to_be_left_out(host):
    asked = order(host, "red apple <lora:plain:1:XYZ> <lora:named:1>", tier="norms").quick
    assert any("without the other LoRAs" in note for note in asked.notes)


def test_another_lora_is_never_taken_for_the_one_that_is_named(host):
    prompt = "<lora:plain:1> <lora:named:1>"
    assert order(host, prompt, lora="NAMED", tier="norms").quick.tag.name == "named"
    assert order(host, prompt, tier="norms").quick.tag.name == "plain"
    with pytest.raises(InputError, match="no LoRA “nameed”") as error:
        order(host, prompt, lora="nameed", tier="norms")
    assert "named" in str(error.value.cure)


def test_blocks_and_ranges_are_read_as_a_japanese_keyboard_writes_them(host):
    asked = order(host, "<lora:plain:1:XYZ>", blocks="ＩＮ０４、mid、IN04,", range="0．5／1", also=("２，０",))
    assert asked.plans[0].entries == (("IN04",), ("M00",))
    assert [(plan.examined, plan.others) for plan in asked.plans] == [(0.5, 1.0), (2.0, 0.0)]


def test_what_is_in_no_block_cannot_be_examined_and_is_refused_at_once(host):
    with pytest.raises(InputError, match="cannot be examined"):
        order(host, "<lora:plain:1:XYZ>", blocks="IN04,other")


def test_all_tiers_are_saved_with_tables_plots_and_maps_and_agree(host, tmp_path):
    asked = order(
        host, "red apple <lora:plain:1>", tier="all", blocks="IN01,M00,OUT05", trigger=("apple",), neutral=("star",)
    )
    found = save(analyze_order(asked, host, QUIET), tmp_path)
    assert [one.tier for one in found.tiers] == ["norms", "prediction", "pictures"]
    names = {path.name for path in found.files}
    assert {f"tier_{tier}.{end}" for tier in ("norms", "prediction", "pictures") for end in ("csv", "png")} <= names
    assert "maps.png" in names
    answer = json.loads(json.dumps(tier_answer(found.tiers, "sd1"), allow_nan=False))
    assert [one["tiers"] for one in answer["agreement"]] == [
        ["norms", "prediction"],
        ["norms", "pictures"],
        ["prediction", "pictures"],
    ]
    assert all(one["blocks"] == 3 for one in answer["agreement"])


def test_a_vector_keeps_the_fewest_blocks_that_carry_the_measure(host):
    (norms,) = analyze_order(order(host, lora="plain", tier="norms"), host, QUIET).tiers
    weights = vector_of(norms, "sd1", share=0.5)
    kept = {name for name, value in weights.as_dict().items() if value}
    assert kept == set(norms.carrying(0.5))
    assert weights.layout == full_layout("sd1")
    assert 0 < len(kept) < 17
