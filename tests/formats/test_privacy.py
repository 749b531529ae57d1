"""What tells of a person's machine is found in every spelling, and what does not is left alone."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from lib_lora.errors import InputError
from lib_lora.formats.metadata import private_keys, remove_private
from lib_lora.formats.privacy import last_name, tells_a_path, without_folders
from lib_lora.host.infotext import PROBLEMS
from lib_lora.host.webui.prompt.record import Notifier, tell_error

PLACES = [
    "/home/me/x",
    "/opt/models/a.safetensors",
    "/opt",
    "/srv/a",
    "/nix/store/thing",
    "/data",
    "~/pictures",
    "~me/pictures",
    "~\\pictures",
    "~",
    "file:///home/me/x",
    "file:/C:/x",
    "see file:///x",
    "C:\\Users\\me",
    "d:/pictures",
    "\\\\server\\share\\x",
    "//server/share",
    "\\\\?\\C:\\x",
    "%USERPROFILE%\\x",
    "$HOME/x",
    "${HOME}/x",
    "path=/home/me/x",
    "model:/home/me/x",
    'from "/Volumes/Disk 1/x"',
    "a, /media/me/disk",
    "(/tmp/x)",
    "「/home/me/x」",
    "“/home/me/x”",
    "保存先：/mnt/x",
    "フォルダC:\\Users\\me",
    "FILE:///C:/x",
    "smb://nas/me",
    "sftp://me@host/x",
    "../../me/train",
    "..\\models\\x",
    "./train/10_me",
]
HARMLESS = [
    "https://github.com/Stability-AI/generative-models",
    "http://home/x",
    "see https://civitai.com/models/1, thanks",
    "1girl, :/, and/or, 1/2, w/o",
    "sd_v1",
    "stable-diffusion-v1/lora",
    "512x512",
    "2026-11-29T10:00:00Z",
    "10:30",
    "a ~ b, ~5",
    "lycoris.kohya",
    "AdamW(weight_decay=0.1)",
    "\\(name\\)",
    "猫/犬/鳥, 赤/青",
    "wait..., a./b",
]


@pytest.mark.parametrize("text", PLACES)
def test_a_place_is_found_and_leaves(text: str) -> None:
    assert tells_a_path(text)
    assert remove_private({"some_key": text, "ss_network_dim": "4"}) == {"ss_network_dim": "4"}
    assert private_keys({"some_key": text}) == ("some_key",)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_place_stays(text: str) -> None:
    assert not tells_a_path(text)
    assert remove_private({"some_key": text}) == {"some_key": text}


@pytest.mark.parametrize(
    "place", ["/home/me/p.toml", "C:\\x\\p.toml", "\\\\nas\\x", "file:///x/p.toml", "~/p", "/opt/p.toml"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_only_the_entry_that_tells_leaves_a_table(place: str, nested: bool) -> None:
    entry = {"file": [place]} if nested else place
    value = json.dumps({"algo": "loha", "preset": entry, "conv_dim": "8"})
    assert json.loads(remove_private({"ss_network_args": value})["ss_network_args"]) == {
        "algo": "loha",
        "conv_dim": "8",
    }


def test_in_a_long_text_only_what_is_a_path_for_sure_counts() -> None:
    picture = "/9j/4AAQSkZJRg" * 10_000
    assert tells_a_path("x" * 100_000 + " /home/me/x")
    assert not tells_a_path(picture)
    assert not tells_a_path(f"data:image/jpeg;base64,{picture}")


def test_prompts_options_and_pictures() -> None:
    private = (
        "ss_sample_prompts",
        "sample_prompts",
        "atelier_options",
        "ot_config",
        "ss_prompt",
        "ss_train_data_dir",
        "hostname",
        "huggingface_token",
        "wandb_api_key",
        "parameters",
        "command_line",
        "captions",
        "ss_wandb_run_name",
    )
    kept = {
        "modelspec.thumbnail": "data:image/jpeg;base64,/9j/4AAQSkZJRg/x/y",
        "ssmd_cover_images": '["/9j/4AAQSkZJRg/x"]',
        "modelspec.description": "I keep it in /home/me/x",
        "ss_network_args": '{"algo": "lokr"}',
        "modelspec.trigger_phrase": "krnk",
        "ss_caption_dropout_rate": "0.1",
        "ss_keep_tokens": "1",
        "ss_max_token_length": "225",
        "ss_caption_extension": ".txt",
    }
    assert remove_private({**dict.fromkeys(private, "girl, red hair"), **kept}) == kept


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "There is no LoRA called “x” — /home/me/loras, C:\\My LoRAs\\b. Put it there.",
            "There is no LoRA called “x” — loras, b. Put it there.",
        ),
        (
            "The file is empty — /home/me/My LoRAs/girl v2.safetensors, lora_unet_x.",
            "The file is empty — girl v2.safetensors, lora_unet_x.",
        ),
        (
            "The file cannot be read: [Errno 13] Permission denied: '/a/b c.safetensors'",
            "The file cannot be read: [Errno 13] Permission denied: 'b c.safetensors'",
        ),
        ("— \\\\nas\\share\\x.safetensors.", "— x.safetensors."),
        ("see https://a.b/c/d and 1/2", "see https://a.b/c/d and 1/2"),
    ],
)
def test_a_sentence_keeps_only_the_last_names(text: str, left: str) -> None:
    assert without_folders(text) == left


def test_last_names_of_every_system() -> None:
    assert [last_name(path) for path in ("/a/b", "C:\\a\\b\\", "b", "", "/a/b/")] == ["b", "b", "b", "", "b"]


def test_a_problem_is_written_into_the_picture_without_folders() -> None:
    p = SimpleNamespace(comments=[], extra_generation_params={}, comment=lambda text: p.comments.append(text))
    error = InputError("There is no LoRA called “x”", where="/home/me/loras", cure="Put the file into this folder.")
    tell_error(p, error, Notifier())
    assert "/home/me/loras" in p.comments[0]
    assert p.extra_generation_params[PROBLEMS] == "There is no LoRA called “x” — loras. Put the file into this folder."
