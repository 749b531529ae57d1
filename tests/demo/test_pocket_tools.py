"""The tools that make the pocket model: what it learns from, what is held out, and that its file fits its config."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "pocket"
sys.path.insert(0, str(TOOLS))

import export  # noqa: E402  (a script folder, not a package)
import muon  # noqa: E402
import pictures  # noqa: E402
import scenes  # noqa: E402
import shipped  # noqa: E402
import train_model  # noqa: E402
import train_vae  # noqa: E402
from architecture import new_unet, new_vae  # noqa: E402
from compose import Composer  # noqa: E402
from export import config_yaml, unet_tensors, vae_tensors  # noqa: E402
from progress import Training, clock_of  # noqa: E402

from lib_lora.formats.files import write_tensors  # noqa: E402
from lib_lora.host.studio.checkpoint import load_checkpoint  # noqa: E402
from lib_lora.host.studio.host import POCKET  # noqa: E402


def test_no_composition_that_is_measured_is_ever_learned() -> None:
    learned = {scene.caption for scene in scenes.training_scenes(pairs=500)}
    asked = scenes.held_out_scenes(40)
    assert len(asked) == 40
    assert sum(isinstance(scene, scenes.Pair) for scene in asked) == 20
    assert not learned & {scene.caption for scene in asked}


def test_every_word_that_is_measured_is_learned_from_other_compositions() -> None:
    words = {word for scene in scenes.training_scenes(pairs=500) for word in scene.caption.replace(",", "").split()}
    asked = {word for scene in scenes.held_out_scenes(40) for word in scene.caption.replace(",", "").split()}
    assert asked <= words


@pytest.mark.skipif(not pictures.FONT.is_file(), reason="Noto Color Emoji is not installed")
def test_composed_pictures_are_colors_and_crops_have_their_size() -> None:
    composer = Composer.of(["\N{RED APPLE}", "\N{DOG FACE}"], torch.device("cpu"))
    for side in (64, 128):
        made = composer(3, side)
        assert made.shape == (3, 3, side, side)
        assert made.min() >= -1.01
        assert made.max() <= 1.01
        assert made.std() > 0.05


def test_the_exported_file_opens_with_the_exported_config(tmp_path: Path) -> None:
    parts = unet_tensors(new_unet().state_dict()) | vae_tensors(new_vae().state_dict())
    text = {name: t for name, t in load_file(POCKET).items() if name.startswith("cond_stage_model.")}
    path = tmp_path / "pocket.safetensors"
    write_tensors(path, {name: tensor.half().contiguous() for name, tensor in (parts | text).items()}, {})
    (tmp_path / "pocket.yaml").write_text(config_yaml(0.5, 1), encoding="utf-8")
    (tmp_path / "text").symlink_to(POCKET.parent / "text")
    opened = load_checkpoint(path)
    assert opened.latent_scale == 0.5
    assert path.stat().st_size <= 40e6
    shown = opened.vae.config
    assert (shown.block_out_channels, shown.layers_per_block) == ((96, 96, 96, 96), 1)


def test_a_model_that_learns_on_begins_as_the_shipped_one(tmp_path: Path) -> None:
    shipped.unpack(tmp_path)
    start = torch.load(tmp_path / shipped.START, weights_only=True)
    learner = train_model.Learner.new(start["text"]["embeddings.token_embedding.weight"].shape[0], torch.device("cpu"))
    learner.begin_with(start)
    facts = {"seed": 1, "step": 0, "batch": 1, "minutes": 0.0, "scenes": 0, "log": []}
    weights = {"average_unet": learner.average_unet.values, "average_text": learner.average_text.values}
    torch.save(weights | facts | {"scale": start["scale"]}, tmp_path / "model.pt")
    shutil.copytree(shipped.SHIPPED / "text", tmp_path / "tokenizer")
    export.write(tmp_path, tmp_path / "out")
    again, first = load_file(tmp_path / "out" / "pocket.safetensors"), load_file(POCKET)
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    assert (tmp_path / "out" / "pocket.yaml").read_text("utf-8") == POCKET.with_suffix(".yaml").read_text("utf-8")


def test_the_inner_levels_are_left_alone_for_noisy_samples_only() -> None:
    torch.manual_seed(1)
    inner = train_model.InnerAlone(new_unet())
    steps = torch.cat([torch.full((400,), train_model.CUT_FROM - 1), torch.full((400,), train_model.CUT_FROM)])
    inner.pick(steps, torch.zeros(1, 77, 128))
    assert inner.levels is not None
    assert inner.levels[:400].max() == 0
    for levels, share in train_model.INNER_ALONE.items():
        assert (inner.levels[400:] == levels).float().mean().item() == pytest.approx(share, abs=0.06)


def test_outer_levels_that_are_cut_hear_no_words_and_inner_ones_do() -> None:
    torch.manual_seed(1)
    unet = new_unet().eval()
    inner, noisy, step = train_model.InnerAlone(unet), torch.randn(1, 4, 16, 16), torch.tensor([900])
    words, heard = torch.randn(1, 77, 128), {}
    inner.empty = torch.zeros(1, 77, 128)
    for name, module in unet.named_modules():
        if name.endswith("transformer_blocks.0.attn2.to_k"):
            module.register_forward_pre_hook(lambda _, args, name=name: heard.update({name: args[0].abs().max() > 0}))
    answers = []
    with torch.no_grad():
        for levels in (0, 3):
            inner.levels = torch.tensor([levels])
            answers.append(unet(noisy, step, words).sample)
            within = {name for name, is_heard in heard.items() if is_heard}
            assert within == {name for name in heard if not levels or name.startswith("mid_block")}
    assert (answers[1] - answers[0]).abs().max() > 1e-3


def test_a_training_that_was_stopped_goes_on_at_its_step_and_time(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    first = Training(tmp_path / "state.pt", {"layer": layer}, minutes=5, used=2.0, step=40, log=[{"step": 40}])
    first.save()
    other = torch.nn.Linear(2, 2)
    second = Training(tmp_path / "state.pt", {"layer": other}, minutes=5)
    assert second.load()
    assert (second.step, second.used, second.log) == (40, 2.0, [{"step": 40}])
    assert torch.equal(other.weight, layer.weight)
    assert next(second.steps()) == pytest.approx(0.4, abs=0.01)


def test_time_that_other_work_takes_does_not_count_on_a_cpu(tmp_path: Path) -> None:
    training = Training(tmp_path / "state.pt", {}, minutes=5, clock=clock_of(torch.device("cpu")))
    steps = training.steps()
    next(steps)
    time.sleep(0.3)
    next(steps)
    assert training.used < 0.2 / 60


def test_equal_pictures_are_wholly_alike_and_blurred_ones_less() -> None:
    torch.manual_seed(1)
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    assert train_vae.structure(x, x).item() == pytest.approx(1, abs=1e-5)
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    assert train_vae.structure(x, blurred).item() < 0.9


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 16)])
def test_a_step_of_muon_moves_a_weight_in_all_its_directions_alike(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    weight = torch.nn.Parameter(torch.zeros(shape))
    noise = torch.randn(shape).flatten(1)
    weight.grad = (noise + 5 * noise[:, :1] @ noise[:1]).view(shape)  # one direction far above the others
    muon.Muon([weight], lr=0.1).step()
    sizes = torch.linalg.svdvals(weight.detach().flatten(1)) / (0.1 * 0.2 * max(noise.shape) ** 0.5)
    assert sizes.min() > 0.5
    assert sizes.max() < 1.5
    assert (weight.detach() * weight.grad).sum() < 0
