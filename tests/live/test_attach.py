from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from lib_lora.blocks.layouts import full_layout
from lib_lora.errors import InputError
from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.live.attach import Window, at_step, attach, attach_all
from lib_lora.live.targets import find_targets, uniform_multipliers
from lib_lora.merge.bake import bake
from tests.conftest import random_lora

STRATEGIES = ("auto", "factors", "folded")
LATENTS = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
STEPS = torch.tensor([150, 700])


def predict(model, latents=LATENTS, steps=STEPS, captions=("red apple", "krnk")):
    with torch.no_grad():
        return model.predict(latents, steps, model.encode_text(list(captions)))


def fingerprint(model) -> str:
    """Everything that attaching could leave behind: bytes, identity of parameters, hooks, attributes."""
    digest = hashlib.sha256()
    for part in (model.unet, *model.text_encoders):
        for name, module in part.named_modules():
            digest.update(f"{name}{sorted(module.__dict__)}{len(module._forward_hooks)}{module.training}".encode())
            for own, parameter in module.named_parameters(recurse=False):
                digest.update(f"{own}{id(parameter)}{parameter.requires_grad}".encode())
                digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def graded(model, start=0.1, step=0.07):
    """Another number for every block."""
    names = [*full_layout(model.family).names, "other"]
    return {name: round(start + step * n, 3) for n, name in enumerate(names)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_ones_equal_the_plain_lora_exactly(model, lora, strategy):
    with attach(model, lora, strategy=strategy):
        plain = predict(model)
    with attach(model, lora, uniform_multipliers(model.family, 1.0), strategy=strategy):
        assert torch.equal(predict(model), plain)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_zeros_equal_no_lora_exactly(model, lora, strategy):
    without = predict(model)
    with attach(model, lora, 0.0, strategy=strategy):
        assert torch.equal(predict(model), without)
    with attach(model, lora, strategy=strategy) as attached:
        assert not torch.equal(predict(model), without)
        attached.set_weights(uniform_multipliers(model.family, 0.0))
        assert torch.equal(predict(model), without)


@pytest.mark.parametrize("conv", [False, True])
def test_both_strategies_agree(model, conv):
    lora = random_lora(model, conv=conv, rank=3)
    weights = graded(model)
    with attach(model, lora, weights, strategy="factors"):
        factors = predict(model)
    with attach(model, lora, weights, strategy="folded"):
        torch.testing.assert_close(predict(model), factors, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_baked_equals_live(model, lora, strategy, tmp_path):
    weights = graded(model)
    baked, _ = bake(lora, weights)
    again = read_lora(write_lora(baked, tmp_path / "baked.safetensors"))
    with attach(model, lora, weights, strategy=strategy):
        live = predict(model)
    with attach(model, again, strategy=strategy):
        assert (predict(model) - live).abs().max() <= 1e-5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_weights_a_b_a_give_a_again_byte_for_byte(model, lora, strategy):
    first, second = graded(model), graded(model, start=1.0, step=-0.05)
    with attach(model, lora, first, strategy=strategy) as attached:
        one = predict(model)
        attached.set_weights(second)
        other = predict(model)
        attached.set_weights(first)
        assert torch.equal(predict(model), one)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_left_behind(model, lora, strategy):
    before = fingerprint(model)
    with attach(model, lora, graded(model), strategy=strategy):
        assert fingerprint(model) != before
        predict(model)
    assert fingerprint(model) == before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_left_behind_after_an_exception(model, lora, strategy):
    before = fingerprint(model)

    def fail_while_attached():
        with attach(model, lora, strategy=strategy):
            predict(model)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_while_attached()
    assert fingerprint(model) == before


def test_nothing_is_left_behind_when_attaching_itself_fails(model, lora):
    before = fingerprint(model)
    with pytest.raises(InputError, match="No strength"), attach(model, lora, {"BASE": 1.0}, strategy="folded"):
        pass
    assert fingerprint(model) == before


def test_a_batch_with_weights_per_sample_equals_single_runs(model, lora):
    rows = [graded(model), uniform_multipliers(model.family, 0.0), graded(model, start=1.0, step=-0.04)]
    latents, steps = LATENTS[:1].repeat(3, 1, 1, 1), STEPS[:1].repeat(3)
    stacked = {block: torch.tensor([row[block] for row in rows]) for block in rows[0]}
    with attach(model, lora, stacked):
        together = predict(model, latents, steps, ["krnk"] * 3)
        double = predict(model, latents.repeat(2, 1, 1, 1), steps.repeat(2), ["krnk"] * 6)
    torch.testing.assert_close(double[3:], together, atol=1e-5, rtol=1e-5)
    for number, row in enumerate(rows):
        with attach(model, lora, row):
            alone = predict(model, latents[:1], steps[:1], ["krnk"])
        assert (together[number : number + 1] - alone).abs().max() <= 1e-4


def test_two_loras_add_up_and_may_leave_in_any_order(model, lora):
    second = random_lora(model, seed=9)
    before = fingerprint(model)
    one, two = attach(model, lora, strategy="folded"), attach(model, second, strategy="folded")
    one.__enter__()
    alone = predict(model)
    two.__enter__()
    both = predict(model)
    with attach(model, lora, 0.0):
        pass
    one.__exit__(None, None, None)
    rest = predict(model)
    two.__exit__(None, None, None)
    assert fingerprint(model) == before
    with attach(model, second, strategy="folded"):
        assert torch.equal(predict(model), rest)
    with attach(model, lora, strategy="factors"), attach(model, second, strategy="factors"):
        torch.testing.assert_close(predict(model), both, atol=1e-4, rtol=1e-4)
    assert not torch.equal(alone, both)


def test_a_window_acts_in_its_steps_only_and_never_on_text(model, lora):
    for strategy in STRATEGIES:
        with attach(model, lora, window=Window(2, 4), strategy=strategy) as attached:
            text = model.encode_text(["krnk"]).tokens
            seen = []
            for step in range(6):
                attached.at_step(step)
                seen.append(predict(model))
                assert torch.equal(model.encode_text(["krnk"]).tokens, text)
        assert all(torch.equal(seen[0], seen[n]) for n in (1, 4, 5))
        assert torch.equal(seen[2], seen[3])
        assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_weight_for_each_step_is_the_lora_at_that_weight(model, lora, strategy):
    weights, blocks, single = [0.0, 0.25, 1.0, -0.5], {**graded(model), "BASE": 0.0}, []
    for weight in weights:
        scaled = {name: number * weight for name, number in blocks.items()}
        with attach(model, lora, scaled, strategy=strategy):
            single.append(predict(model))
    window = Window(0, 5, lambda step: weights[step % len(weights)])
    with attach(model, lora, blocks, strategy=strategy, window=window) as attached:
        for step in (0, 1, 2, 3, 2, 0):
            attached.at_step(step)
            torch.testing.assert_close(predict(model), single[step], atol=1e-5, rtol=1e-5)
        attached.at_step(5)
        assert torch.equal(predict(model), single[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_paused_is_no_lora_and_comes_back_exactly(model, lora, strategy):
    without = predict(model)
    with attach(model, lora, graded(model), strategy=strategy) as attached:
        on = predict(model)
        with attached.paused():
            assert torch.equal(predict(model), without)
        assert torch.equal(predict(model), on)


def test_only_changed_blocks_are_folded_again(model, lora):
    weights = graded(model)
    with attach(model, lora, weights, strategy="folded") as attached:
        before = {id(t.layer): t.layer.weight for t in attached.targets}
        attached.set_weights({**weights, "M00": 0.0})
        changed = {t.block for t in attached.targets if t.layer.weight is not before[id(t.layer)]}
    assert changed == {"M00"}


def test_training_reaches_the_factors_through_the_same_hooks(model):
    lora = random_lora(model)
    adapters = {k: a.with_parameters([p.requires_grad_() for p in a.parameters()]) for k, a in lora.adapters.items()}
    with attach(model, LoraFile(adapters)) as attached:
        model.predict(LATENTS, STEPS, model.encode_text(["a", "b"])).pow(2).mean().backward()
    # the last text layer's queries and keys still reach the output through attention; every factor must learn
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for t in attached.targets for p in t.adapter.parameters())
    assert all(p.grad is None for p in model.unet.parameters())


def test_element_rules_replace_the_blocks_weight(model, lora):
    class OnlyQueries:
        def ratio(self, block: str, key: str) -> float | None:
            return 0.25 if key.endswith("attn2_to_q") else None

    with attach(model, lora, 0.0, elements=OnlyQueries(), strengths={"unet": 2.0}) as attached:
        acting = {t.adapter.key for n, t in enumerate(attached.targets) if attached._active(n) != 0}
        assert acting == {key for key in lora.adapters if key.endswith("attn2_to_q")}
        assert {attached._active(n) for n, t in enumerate(attached.targets) if t.adapter.key in acting} == {0.5}


def test_kinds_without_cheap_factors_are_folded_and_agree_with_hooks(model):
    generator = torch.Generator().manual_seed(3)
    adapters = {}
    for key in (
        "lora_unet_mid_block_attentions_0_proj_in",
        "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_2",
    ):
        rows, columns = model.layers[key].weight.shape[:2]
        parts = {
            "hada_w1_a": torch.randn(rows, 2, generator=generator),
            "hada_w1_b": torch.randn(2, columns, generator=generator),
            "hada_w2_a": torch.randn(rows, 2, generator=generator) * 0.1,
            "hada_w2_b": torch.randn(2, columns, generator=generator),
        }
        adapters[key] = LohaAdapter.read(key, parts)
    loha = LoraFile(adapters)
    with attach(model, loha) as attached:
        assert all(type(t.layer.weight) is nn.Parameter and not t.layer._forward_hooks for t in attached.targets)
        folded = predict(model)
    with attach(model, loha, strategy="factors"):
        torch.testing.assert_close(predict(model), folded, atol=1e-5, rtol=1e-5)


def test_a_lora_of_another_family_is_refused_by_name(model, lora):
    wrong = {f"lora_unet_input_blocks_4_1_{n}": a for n, a in enumerate(lora.adapters.values())}
    with pytest.raises(InputError, match="0 of"):
        find_targets(model, LoraFile(wrong))


def test_a_lora_of_another_width_is_refused(model, lora):
    key = "lora_unet_mid_block_attentions_0_proj_in"
    wide = lora.adapters["lora_te_text_model_encoder_layers_0_mlp_fc1"]
    with pytest.raises(InputError, match="shape"):
        find_targets(model, LoraFile({key: wide}))


def test_many_loras_are_summed_once_in_each_layer(model, lora, monkeypatch):
    """With a sum for each LoRA that comes or goes, 200 tags cost 200² deltas a layer: minutes."""
    made = []
    real = LoraAdapter.delta
    monkeypatch.setattr(LoraAdapter, "delta", lambda self, weight=None: made.append(self) or real(self, weight))
    before = fingerprint(model)
    with attach(model, lora, 0.6, strategy="folded"):
        layers, wanted = len(made), predict(model)
    made.clear()
    windows = [Window(0, 1)] * 5 + [None]
    with attach_all(attach(model, lora, 0.1, strategy="folded", window=one) for one in windows) as attached:
        assert len(made) == 6 * layers
        torch.testing.assert_close(predict(model), wanted, atol=1e-4, rtol=1e-4)
        at_step(attached, 1)
        assert len(made) <= 7 * layers, "five windows end: in the UNet one LoRA is left"
    assert len(made) <= 7 * layers
    assert fingerprint(model) == before


def test_one_that_cannot_be_attached_leaves_nothing_of_those_before_it(model, lora):
    before = fingerprint(model)
    wide = LoraFile({key: replace(one, down=one.down[:, :-1]) for key, one in lora.adapters.items()})
    with pytest.raises(InputError), attach_all(attach(model, one, strategy="folded") for one in (lora, wide)):
        pass
    assert fingerprint(model) == before
