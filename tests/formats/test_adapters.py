from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lib_lora.errors import FileError, InputError
from lib_lora.formats.adapters import LoraAdapter, read_adapter
from tests.formats.lora_samples import IS_3X3, SHAPES, key_for, reference, relative, sample

KINDS = sorted(SHAPES)


def adapter_of(kind: str, **options):
    return read_adapter(key_for(kind), sample(kind, **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [1.5, None, -2.0])
def test_delta_equals_an_independent_dense_reference(kind: str, alpha: float | None) -> None:
    assert relative(adapter_of(kind, alpha=alpha).delta(), reference(sample(kind, alpha=alpha))) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_factors_multiply_to_the_delta(kind: str) -> None:
    adapter = adapter_of(kind)
    factors = adapter.factors()
    assert factors.shape == adapter.shape == tuple(adapter.delta().shape)
    assert relative(factors.up @ factors.down, reference(sample(kind))) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("q", [-1, -0.5, 0, 0.3, 1, 2])
def test_scaled_multiplies_the_delta(kind: str, q: float) -> None:
    scaled = adapter_of(kind).scaled(q)
    again = read_adapter(scaled.key, scaled.tensors())
    assert relative(again.delta(), q * reference(sample(kind))) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_parts_survive_reading_and_writing_bit_for_bit(kind: str) -> None:
    parts = sample(kind, dtype=torch.bfloat16)
    written = adapter_of(kind, dtype=torch.bfloat16).tensors()
    assert written.keys() == parts.keys()
    assert all(torch.equal(written[name], parts[name]) for name in parts if name != "alpha")
    assert written["alpha"].dtype == torch.float32
    assert float(written["alpha"]) == float(parts["alpha"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_apply_equals_the_layer_with_the_delta_added(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    layers: list[nn.Module] = [nn.Linear(8, 6), nn.Conv2d(8, 6, 1)]
    if kind in IS_3X3:
        layers = [nn.Conv2d(8, 6, 3, stride=2, padding=1), nn.Conv2d(8, 6, 3, padding=1, padding_mode="circular")]
    for layer in layers:
        x = torch.randn(2, 8, 5, 5) if isinstance(layer, nn.Conv2d) else torch.randn(2, 5, 8)
        got = adapter_of(kind).apply(x.to(dtype), layer)
        with torch.no_grad():
            before = layer(x)
            layer.weight += torch.from_numpy(reference(sample(kind))).float().reshape(layer.weight.shape)
            wanted = layer(x) - before
        assert got.dtype == dtype
        assert relative(got, wanted.double().numpy()) < (2e-6 if dtype == torch.float32 else 2e-2)


def test_apply_has_gradients_in_every_parameter() -> None:
    for kind in KINDS:
        adapter = adapter_of(kind)
        adapter = adapter.with_parameters([t.requires_grad_() for t in adapter.parameters()])
        layer = nn.Conv2d(8, 6, 3, padding=1) if kind in IS_3X3 else nn.Linear(8, 6)
        x = torch.randn(1, 8, 4, 4) if kind in IS_3X3 else torch.randn(1, 8)
        adapter.apply(x, layer).square().sum().backward()
        assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in adapter.parameters()), kind


@pytest.mark.parametrize("layer", [nn.Linear(8, 6), nn.Conv2d(8, 6, 3, padding=1)])
def test_a_new_adapter_changes_nothing_and_repeats_with_its_seed(layer: nn.Module) -> None:
    made = [LoraAdapter.new("k", layer, rank=3, alpha=1, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(made[0].down, made[1].down)
    assert made[0].delta().abs().max() == 0
    assert made[0].down.abs().max() <= layer.weight[0].numel() ** -0.5
    assert all(t.is_leaf and t.requires_grad and t.dtype == torch.float32 for t in made[0].parameters())


def test_an_adapter_of_another_width_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="lora_unet_down_blocks"):
        adapter_of("linear").apply(torch.randn(1, 9), nn.Linear(9, 6))
    with pytest.raises(InputError):
        adapter_of("conv3x3").apply(torch.randn(1, 8, 4, 4), nn.Conv2d(8, 6, 1))


@pytest.mark.parametrize("part", ["lora_up.weight", "lora_down.weight"])
def test_up_without_down_is_refused_by_module(part: str) -> None:
    parts = sample("linear")
    del parts[part]
    with pytest.raises(FileError, match=f"{part} is missing.*attn1_to_q"):
        read_adapter(key_for("linear"), parts)


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_that_differ_are_refused(kind: str) -> None:
    inner = [name for name in SHAPES[kind] if name.endswith(("up.weight", "_a"))]
    if not inner:  # two whole Kronecker factors have no rank in common
        return
    parts = sample(kind)
    parts[inner[0]] = torch.randn([n + 1 for n in parts[inner[0]].shape])
    with pytest.raises(FileError, match="do not fit"):
        read_adapter(key_for(kind), parts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_missing_part_and_odd_shape_is_a_file_error(kind: str) -> None:
    for name in SHAPES[kind]:
        for odd in (
            None,
            torch.zeros(()),
            torch.zeros(3),
            torch.zeros(2, 0),
            torch.zeros(1, 1, 1),
            torch.zeros(2, 2, dtype=torch.int32),
        ):
            parts = sample(kind)
            parts.pop(name)
            if odd is not None:
                parts[name] = odd
            if odd is None and name in ("lora_mid.weight", "lokr_t2"):
                continue  # without its core it is another, valid or mismatched, module
            with pytest.raises(FileError):
                read_adapter(key_for(kind), parts)


def test_a_whole_weight_takes_the_place_of_the_layers_own() -> None:
    layer, whole = nn.Conv2d(8, 6, 3), torch.randn(6, 8, 3, 3)
    adapter = read_adapter("k", {"set_weight": whole})
    assert relative(adapter.delta(layer.weight) + layer.weight.detach(), whole.double().numpy()) < 1e-6
    assert adapter.scaled(1) is adapter
    with pytest.raises(InputError, match=r"whole weight at strength 0\.5.*with its model loaded"):
        adapter.scaled(0.5)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_tlora_of_a_kernel_is_refused_with_the_reason(kernel: int) -> None:
    parts = {"q_layer.weight": torch.randn(2, 8, 1, 1), "p_layer.weight": torch.randn(6, 2, 1, 1)}
    adapter = read_adapter("k", {**parts, "lambda_layer": torch.randn(1, 2)})
    layer = nn.Conv2d(8, 6, kernel, padding=kernel // 2)
    if kernel == 1:
        assert adapter.fitting_shape(layer) == (6, 8, 1, 1)
        return
    with pytest.raises(InputError, match=r"T-LoRA of a 3×3 convolution.*cannot run either.*conv_dim"):
        adapter.fitting_shape(layer)


@pytest.mark.parametrize(
    "odd",
    [
        {"bias_size": torch.tensor([6, 9])},
        {"bias_indices": torch.tensor([[0, 6], [0, 0]])},
        {"bias_indices": torch.tensor([[0, 0], [0, -1]])},
        {"bias_indices": torch.tensor([[0], [0]])},
        {"bias_indices": torch.zeros(2, 2)},
        {"bias_values": torch.ones(2, dtype=torch.int16)},
        {"bias_values": None},
    ],
)
def test_sparse_numbers_that_do_not_fit_are_refused(odd: dict[str, torch.Tensor | None]) -> None:
    places, size = torch.tensor([[0, 5], [0, 7]]), torch.tensor([6, 8])
    parts = {**sample("linear"), "bias_indices": places, "bias_values": torch.ones(2), "bias_size": size}
    plain, sparse = read_adapter("k", sample("linear")), read_adapter("k", parts)
    more = torch.zeros(6, 8)
    more[0, 0] = more[5, 7] = plain.scale()
    assert torch.allclose(sparse.delta(), plain.delta() + more)
    with pytest.raises(FileError):
        read_adapter("k", {name: tensor for name, tensor in {**parts, **odd}.items() if tensor is not None})


def test_an_unknown_part_is_never_dropped() -> None:
    with pytest.raises(FileError, match="lora_new"):
        read_adapter("lora_unet_x", {**sample("linear"), "lora_new": torch.ones(1)})
    with pytest.raises(FileError, match="unknown kind"):
        read_adapter("lora_unet_x", {"something": torch.ones(1)})


def test_alpha_alone_is_refused_by_module() -> None:
    with pytest.raises(FileError, match="lora_unet_x"):
        read_adapter("lora_unet_x", {"alpha": torch.tensor(1.0)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_alpha_that_is_no_number_is_refused(value: float) -> None:
    parts = {**sample("linear"), "alpha": torch.tensor(value, dtype=torch.float64)}
    with pytest.raises(FileError, match="alpha"):
        read_adapter("lora_unet_x", parts)


def test_alpha_of_one_element_counts_and_zero_means_rank() -> None:
    parts = {**sample("linear"), "alpha": torch.tensor([3.0])}
    assert read_adapter("k", parts).scale() == 1.5
    assert read_adapter("k", {**parts, "alpha": torch.tensor(0.0)}).scale() == 1.0
    with pytest.raises(FileError, match="2 numbers"):
        read_adapter("k", {**parts, "alpha": torch.ones(2)})


@pytest.mark.parametrize("kind", KINDS)
def test_strengths_beyond_fp32_are_zero_or_refused(kind: str) -> None:
    assert np.all(adapter_of(kind).scaled(1e-60).delta().numpy() == 0)
    for q in (float("nan"), float("inf"), 1e60):
        with pytest.raises(InputError):
            adapter_of(kind).scaled(q)


def test_a_strength_too_large_for_fp16_keeps_a_whole_lokr_exact_in_fp32() -> None:
    adapter = adapter_of("lokr_whole", dtype=torch.float16).scaled(1e6)
    assert relative(adapter.delta(), 1e6 * reference(sample("lokr_whole", dtype=torch.float16))) < 1e-6
