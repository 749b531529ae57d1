from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lib_lora.errors import FileError, InputError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.editing import Edit, write_copy
from lib_lora.formats.hashes import tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import FIELDS, complete, describe, label, network_facts, remove_private
from tests.formats.lora_samples import key_for, sample


def test_every_user_field_comes_back_from_each_programs_key() -> None:
    labeled = label({"ss_seed": "1"}, {field: f"text of {field}" for field in FIELDS})
    assert describe(labeled).fields == {field: f"text of {field}" for field in FIELDS}
    assert labeled["ssmd_keywords"] == labeled["modelspec.trigger_phrase"] == "text of trigger_words"
    assert labeled["ss_seed"] == "1"
    assert label(labeled, dict.fromkeys(FIELDS, " ")) == {"ss_seed": "1"}


def test_a_leading_brace_is_kept_from_being_read_as_json() -> None:
    labeled = label({}, {"notes": "{a}", "description": "{}"})
    assert not labeled["ssmd_description"].startswith("{")
    assert describe(labeled).fields["description"] == "{}"


def test_unknown_fields_and_endless_texts_are_refused() -> None:
    with pytest.raises(InputError, match="color"):
        label({}, {"color": "red"})
    with pytest.raises(InputError, match="notes"):
        label({}, {"notes": "x" * 100_001})


def test_facts_and_common_tags_are_shown_and_broken_ones_left_out() -> None:
    tags = {"10_a": {"cat": 3, "hat ": 5}, "1_b": {"cat": 4, "bad": "x"}, "c": None}
    shown = describe({"ss_network_dim": "32", "ss_seed": "None", "ss_tag_frequency": json.dumps(tags)})
    assert shown.facts == {"rank": "32"}
    assert shown.tags == (("cat", 7), ("hat", 5))
    for broken in ("{", "[]", "3", "[" * 100_000):
        assert describe({"ss_tag_frequency": broken}).tags == ()


def test_private_training_data_is_removed_and_the_rest_stays() -> None:
    private = ["ss_tag_frequency", "ss_dataset_dirs", "ss_datasets", "ss_training_comment", "ss_sd_model_name"]
    kept = {"ss_network_dim": "4", "modelspec.title": "t", "ss_base_model_version": "sd_v1"}
    assert remove_private({**dict.fromkeys(private, "secret"), "sshs_cp0": "secret", **kept}) == kept


def test_relabeling_leaves_tensor_bytes_identical_and_repairs_the_hash(tmp_path: Path) -> None:
    source = tmp_path / "x.safetensors"
    tensors = {f"{key_for('linear')}.{name}": tensor for name, tensor in sample("linear").items()}
    safetensors.torch.save_file(tensors, source, {"ss_seed": "1", "sshs_model_hash": "wrong"})
    target = write_copy(source, tmp_path / "y.safetensors", Edit({"author": "私"}))
    data = [path.read_bytes()[read_header(path).data_start :] for path in (source, target)]
    assert data[0] == data[1]
    metadata = read_header(target).metadata
    assert metadata["sshs_model_hash"] == tensor_hash(source) == tensor_hash(target)
    assert (metadata["ss_seed"], metadata["ssmd_author"], metadata["ss_output_name"]) == ("1", "私", "y")
    with pytest.raises(FileError, match="exists"):
        write_copy(source, source, Edit())
    write_copy(source, source, Edit({"title": "t"}), overwrite=True)
    assert read_header(source).metadata["modelspec.title"] == "t"


def adapters(**kinds: str) -> dict:
    return {key: read_adapter(key, sample(kind)) for key, kind in kinds.items()}


def test_rank_and_alpha_are_dynamic_only_where_modules_differ() -> None:
    assert network_facts(adapters(a="linear", b="conv1x1")) == {
        "ss_network_module": "networks.lora",
        "ss_network_dim": "2",
        "ss_network_alpha": "1.5",
        "ss_network_args": "{}",
    }
    with_conv = network_facts(adapters(a="linear", b="conv3x3"))
    assert json.loads(with_conv["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1.5"}
    mixed = {**adapters(a="linear"), "b": adapters(b="linear")["b"].scaled(0.5)}
    facts = network_facts(mixed)
    assert (facts["ss_network_dim"], facts["ss_network_alpha"]) == ("2", "Dynamic")
    assert json.loads(network_facts(adapters(a="loha"))["ss_network_args"]) == {"algo": "loha"}
    assert json.loads(network_facts(adapters(a="tucker"))["ss_network_args"])["algo"] == "locon"


@pytest.mark.parametrize(
    ("family", "version", "v2"), [("sd1", "sd_v1", "False"), ("sd2", "sd_v2", "True"), ("sdxl", "sdxl_", "False")]
)
def test_a_file_tells_its_family_to_every_reader(family: str, version: str, v2: str) -> None:
    found = complete({"modelspec.title": "mine"}, adapters(a="linear"), family=family, name="n")
    assert found["ss_base_model_version"].startswith(version)
    assert found["ss_v2"] == v2
    assert found["modelspec.architecture"].endswith("/lora")
    assert found["modelspec.title"] == "mine"
    assert torch.tensor([isinstance(value, str) for value in found.values()]).all()
