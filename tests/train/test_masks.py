"""Dropout, ranks by timestep, bounds on norms and rank-stabilized strengths."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lokr import LokrAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile, read_lora
from lib_lora.progress import Progress, Stoppable
from lib_lora.train import network
from lib_lora.train.loop import run
from lib_lora.train.network.masks import allowed_ranks
from lib_lora.train.options import from_mapping
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.conftest import same

KEY = "lora_unet_down_blocks_0_attentions_0_proj_in"
LINEAR, CONV = nn.Linear(12, 10), nn.Conv2d(5, 6, 3, padding=1)


def masks_for(timesteps=1000, **changes):
    options = from_mapping({"images": "p", "name": "n", **changes}, where="t")
    return network.Masks(options, timesteps=timesteps)


def full(kind, layer, key=KEY, rank=4):
    """A kind whose change is nowhere 0."""
    fresh = kind.new(key, layer, rank=rank, alpha=2.0, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    return fresh.with_parameters(
        [torch.randn(p.shape, generator=generator).requires_grad_() for p in fresh.parameters()]
    )


def one(masks, adapter):
    return next(iter(masks.around(LoraFile({adapter.key: adapter})).adapters.values()))


@pytest.mark.parametrize(("layer", "x"), [(LINEAR, torch.randn(3, 7, 12)), (CONV, torch.randn(3, 5, 4, 4))])
def test_rank_dropout_leaves_out_whole_ranks_of_a_sample_and_makes_the_rest_stronger(layer, x):
    adapter, masks = full(LoraAdapter, layer), masks_for(rank_dropout=0.5)
    seen = one(masks, adapter)
    masks.begin(11, torch.tensor([1, 2, 3]))
    y = seen.apply(x, layer)
    for sample in range(3):  # some set of ranks gives exactly this, twice as strong
        fits = []
        for chosen in range(2**4):
            kept = torch.tensor([bool(chosen >> n & 1) for n in range(4)])
            up = adapter.up * kept.reshape(1, -1, *[1] * (adapter.up.ndim - 2)) * 2
            expected = adapter.with_parameters([up, adapter.down]).apply(x, layer)[sample]
            fits.append(torch.allclose(expected, y[sample], atol=1e-5))
        assert sum(fits) == 1


def test_masks_follow_from_the_step_and_act_only_where_gradients_are_recorded():
    adapter, masks = full(LoraAdapter, LINEAR), masks_for(rank_dropout=0.5, network_dropout=0.3)
    seen, x = one(masks, adapter), torch.randn(3, 7, 12)
    masks.begin(11, torch.tensor([1, 2, 3]))
    first = seen.apply(x, LINEAR)
    assert torch.equal(first, seen.apply(x, LINEAR))  # as a checkpointed block asks for it twice
    masks.begin(12, torch.tensor([1, 2, 3]))
    assert not torch.equal(first, seen.apply(x, LINEAR))
    with torch.no_grad():
        assert torch.equal(seen.apply(x, LINEAR), adapter.apply(x, LINEAR))


def test_processes_that_share_a_batch_draw_what_one_would():
    adapter, masks = full(LoraAdapter, LINEAR), masks_for(rank_dropout=0.5, network_dropout=0.3, timestep_rank=True)
    seen, x, steps = one(masks, adapter), torch.randn(4, 7, 12), torch.tensor([10, 400, 700, 999])
    masks.begin(11, steps)
    whole = seen.apply(x, LINEAR)
    for rows in (slice(0, 3), slice(3, 4)):
        masks.begin(11, steps, rows)
        torch.testing.assert_close(seen.apply(x[rows], LINEAR), whole[rows])


def test_network_dropout_keeps_the_mean():
    adapter, masks = full(LoraAdapter, LINEAR), masks_for(network_dropout=0.25)
    seen, x = one(masks, adapter), torch.randn(1, 1, 12).expand(1, 20000, 12)
    masks.begin(3, torch.tensor([5]))
    torch.testing.assert_close(seen.apply(x, LINEAR).mean(1), adapter.apply(x, LINEAR).mean(1), rtol=0.05, atol=0.05)


def test_module_dropout_leaves_out_layers_but_never_all():
    adapters = {f"{KEY}_{n}": full(LoraAdapter, LINEAR, f"{KEY}_{n}") for n in range(40)}
    masks, x = masks_for(module_dropout=0.5), torch.randn(2, 12)
    seen = masks.around(LoraFile(adapters)).adapters
    shares = []
    for step in range(20):
        masks.begin(step, torch.tensor([1, 2]))
        shares.append(sum(not bool(a.apply(x, LINEAR).any()) for a in seen.values()) / 40)
    assert 0.4 < sum(shares) / 20 < 0.6
    alone = masks_for(module_dropout=0.9)
    last = one(alone, adapters[f"{KEY}_0"])
    for step in range(30):
        alone.begin(step, torch.tensor([1]))
        assert last.apply(x, LINEAR).any()


@pytest.mark.parametrize("kind", [LohaAdapter, LokrAdapter])
@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(("layer", "x"), [(LINEAR, torch.randn(3, 7, 12)), (CONV, torch.randn(3, 5, 4, 4))])
def test_rank_dropout_of_other_kinds_leaves_out_rows_of_the_change_as_lycoris(kind, decomposed, layer, x):
    inner, masks = full(kind, layer, rank=1), masks_for(rank_dropout=0.5)
    adapter = DoraAdapter.around(inner, layer.weight) if decomposed else inner
    masks.begin(4, torch.tensor([1, 2, 3]))
    y = one(masks, adapter).apply(x, layer)
    kept = masks.rows(layer.weight.shape[0], 0, x.device)
    assert 0 < kept.sum() < len(kept)
    rows = kept.reshape(-1, *[1] * (layer.weight.ndim - 1))
    change = inner.delta().reshape(layer.weight.shape) * rows
    if decomposed:
        whole = layer.weight.detach() + change
        lengths = whole.transpose(0, 1).flatten(1).norm(dim=1) + torch.finfo(torch.float32).eps
        along = (1, -1, *[1] * (whole.ndim - 2))
        change = whole * (adapter.dora_scale.flatten() / lengths).reshape(along) - layer.weight.detach()
    expected = layer._conv_forward(x, change, None) if x.ndim == 4 else nn.functional.linear(x, change)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


def test_noisy_steps_have_fewer_ranks_as_t_lora_says():
    steps = torch.tensor([0, 1, 250, 500, 999])
    assert allowed_ranks(steps, 16, least=0, timesteps_in_all=1000).tolist() == [16, 15, 14, 12, 8]
    assert allowed_ranks(steps, 64, least=1, timesteps_in_all=1000).tolist() == [
        int((1000 - t) / 1000 * 63) + 1 for t in steps.tolist()
    ]
    assert allowed_ranks(steps, 4, least=9, timesteps_in_all=1000).tolist() == [4] * 5


@pytest.mark.parametrize(("layer", "x"), [(LINEAR, torch.randn(2, 7, 12)), (CONV, torch.randn(2, 5, 4, 4))])
def test_each_sample_uses_the_first_ranks_of_its_timestep(layer, x):
    adapter, masks = full(LoraAdapter, layer), masks_for(timestep_rank=True, timestep_rank_min=1)
    masks.begin(0, torch.tensor([0, 999]))
    y = one(masks, adapter).apply(x, layer)
    least = adapter.with_parameters([torch.cat([adapter.up[:, :1], adapter.up[:, 1:] * 0], 1), adapter.down])
    torch.testing.assert_close(y[0], adapter.apply(x, layer)[0])
    torch.testing.assert_close(y[1], least.apply(x, layer)[1])
    text = full(LoraAdapter, LINEAR, "lora_te_text_model_encoder_layers_0_mlp_fc1")
    words = torch.randn(2, 7, 12)
    torch.testing.assert_close(one(masks, text).apply(words, LINEAR), text.apply(words, LINEAR))


@pytest.mark.parametrize("kind", [LoraAdapter, LohaAdapter, LokrAdapter])
@pytest.mark.parametrize("layer", [LINEAR, CONV])
def test_a_change_is_never_longer_than_the_bound_and_keeps_its_direction(kind, layer):
    loud, quiet = full(kind, layer, rank=1), full(kind, layer, f"{KEY}_q", rank=1)
    with torch.no_grad():
        quiet.parameters()[0].mul_(1e-3)
    before = [adapter.delta().detach().clone() for adapter in (loud, quiet)]
    norms = network.limit_norms(LoraFile({loud.key: loud, quiet.key: quiet}), 1.0)
    assert (norms.scaled, norms.largest) == (1, pytest.approx(1.0, rel=1e-4))
    torch.testing.assert_close(loud.delta().detach(), before[0] / before[0].norm(), rtol=1e-3, atol=1e-5)
    assert torch.equal(quiet.delta().detach(), before[1])
    assert norms.mean == pytest.approx((1 + before[1].norm().item()) / 2, rel=1e-3)


class StopAfter(Stoppable):
    def update(self, done: int, total: int, text: str = "") -> None:
        if text.startswith("loss"):
            self.stop()


EVERYTHING = {
    "network": "locon",
    "conv_dim": 2,
    "alpha": 2.0,
    "rslora": True,
    "network_dropout": 0.1,
    "rank_dropout": 0.2,
    "module_dropout": 0.2,
    "scale_weight_norms": 0.05,
    "timestep_rank": True,
    "loraplus_lr_ratio": 4.0,
    "down_lr_weight": "cosine+0.1",
    "train_blocks": "BASE, IN05-OUT02",
}


def test_a_run_with_all_of_it_goes_on_to_the_bit_and_its_file_is_what_was_trained(model, options_for, tmp_path):
    options = options_for(steps=3, optimizer="AdamW", learning_rate=1e-2, **EVERYTHING)

    def go(name, progress=None):
        path = tmp_path / name
        folder = RunFolder.open(path) if path.exists() else RunFolder.create(path, options)
        training = start(model, options, folder, Progress())
        return training, run(training, progress or Progress())

    whole, result = go("whole")
    go("parts", StopAfter())
    parts, _ = go("parts")
    ways = [network.parameters_of(training.lora) for training in (whole, parts)]
    for name, value in ways[0].items():
        assert same(value, ways[1][name]), name
    saved = read_lora(result.lora)
    for key, adapter in whole.lora.adapters.items():
        torch.testing.assert_close(saved.adapters[key].delta(), adapter.delta().detach(), atol=1e-4, rtol=1e-2)
        assert adapter.delta().norm() <= 0.05 * 1.001
    still = sum(not bool(adapter.delta().any()) for adapter in whole.lora.adapters.values())  # left out three times
    assert still <= 0.05 * len(whole.lora.adapters)
    rows = whole.folder.read_log()
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["keys_scaled"] > 0
    assert any("layers held at the norm 0.05" in text for text in whole.folder.remarks())
    said = json.loads(saved.metadata["ss_network_args"])
    assert (said["rs_lora"], said["module_dropout"], said["loraplus_lr_ratio"]) == ("True", "0.2", "4.0")
    assert (saved.metadata["ss_network_dropout"], saved.metadata["ss_scale_weight_norms"]) == ("0.1", "0.05")


def test_a_rank_stabilized_strength_is_saved_as_every_program_reads_it(model, options_for):
    plain, stable = (
        network.new_lora(model, options_for(dim=16, alpha=2.0, rslora=stable, train_blocks="M00"))
        for stable in (False, True)
    )
    for key, adapter in stable.adapters.items():
        assert adapter.tensors()["alpha"] == pytest.approx(8.0)  # 2 · √16
        assert adapter.scale() == pytest.approx(2 / math.sqrt(16))
        assert plain.adapters[key].scale() == pytest.approx(2 / 16)
