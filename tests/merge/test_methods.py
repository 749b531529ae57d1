"""TIES, DARE, K-LoRA and projection against dense matrices in fp64, and how far LoRAs overlap."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_lora.errors import InputError, StoppedError
from lib_lora.formats.adapters import LoraAdapter
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.merge.join import Joined, join
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.overlap import overlaps
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.recipe import read_recipe
from lib_lora.merge.shares import Summand
from tests.formats.lora_samples import LINEAR, SHAPES, TEXT, key_for, reference, relative, sample
from tests.merge.test_sum import ONES, part, plain
from tests.told import Told

KINDS = sorted(SHAPES)
PAIRS = [(one, two) for one, two in zip(KINDS, KINDS[1:] + KINDS[:1], strict=True) if key_for(one) == key_for(two)]
WEIGHTS = [(1.0, 1.0), (0.5, -1.0), (2.0, 0.5)]


def top(matrix: np.ndarray, density: float) -> np.ndarray:
    """The largest numbers of a matrix, the others 0."""
    count = int(np.ceil(density * matrix.size - 1e-9))
    least = np.sort(np.abs(matrix).ravel())[-count]
    return np.where(np.abs(matrix) >= least, matrix, 0)


def ties_of(matrices: list[np.ndarray], density: float) -> np.ndarray:
    """TIES, number by number as the paper says it."""
    kept = [top(matrix, density) for matrix in matrices]
    result = np.zeros_like(kept[0])
    for place in np.ndindex(result.shape):
        numbers = [matrix[place] for matrix in kept]
        sign = np.sign(sum(numbers))
        agreeing = [number for number in numbers if number * sign > 0]
        result[place] = np.mean(agreeing) if agreeing else 0
    return result


def best(matrix: np.ndarray, rank: int) -> float:
    """The smallest relative error of a matrix of this rank."""
    sigma = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sqrt((sigma[rank:] ** 2).sum() / (sigma**2).sum()))


def change(joined: Joined, key: str, like: np.ndarray) -> np.ndarray:
    """The saved change of a module in fp64; zeros where it was dropped."""
    found = joined.lora.adapters.get(key)
    return np.zeros_like(like) if found is None else reference(found.tensors())


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_ties_is_the_papers_of_every_kind(first: str, second: str, weights: tuple[float, float]) -> None:
    key, parts = key_for(first), (sample(first, seed=1), sample(second, seed=2))
    wanted = ties_of([w * reference(one) for w, one in zip(weights, parts, strict=True)], 0.3)
    summands = [part({key: one}, w, n) for one, w, n in zip(parts, weights, "ab", strict=True)]
    whole = join(summands, MethodOptions("ties", density=0.3), RankRule("rank", 99))
    assert relative(change(whole, key, wanted), wanted) < 2e-6
    assert isinstance(whole.lora.adapters[key], LoraAdapter)
    small = join(summands, MethodOptions("ties", density=0.3), RankRule("rank", 2))
    got = relative(change(small, key, wanted), wanted)
    assert got == pytest.approx(best(wanted, 2), abs=1e-5)
    assert small.report.rows[0].relative_error == pytest.approx(got, abs=1e-5)
    assert small.report.rows[0].energy_kept == pytest.approx(1 - got**2, abs=1e-5)


def test_ties_of_three_layers_in_blocks_keeps_the_ranks_of_the_sum_and_doubles_with_its_weights() -> None:
    modules = [{LINEAR: plain(2, seed=n, alpha=2.0), TEXT: plain(3, seed=n + 9, alpha=3.0, out=16)} for n in range(3)]
    summands = [
        Summand(part(each, name=str(n)).lora, {**ONES, "BASE": n, "IN01": 1 - n}) for n, each in enumerate(modules)
    ]
    made = join(summands, MethodOptions("ties"))
    for key, weights, rank in ((LINEAR, (1, 0, -1), 4), (TEXT, (0, 1, 2), 6)):
        wanted = ties_of([w * reference(each[key]) for w, each in zip(weights, modules, strict=True) if w], 0.2)
        assert made.lora.adapters[key].rank == rank
        assert relative(change(made, key, wanted), wanted) == pytest.approx(best(wanted, rank), abs=1e-5)
    double = [Summand(one.lora, {block: 2 * q for block, q in one.multipliers.items()}) for one in summands]
    twice = join(double, MethodOptions("ties"))
    for key, adapter in made.lora.adapters.items():
        assert torch.allclose(2 * adapter.delta(), twice.lora.adapters[key].delta(), atol=1e-4)


def test_dare_drops_by_its_seed_and_the_mean_over_seeds_is_the_sum() -> None:
    one, two = plain(2, seed=1, alpha=2.0), plain(2, seed=2, alpha=2.0)
    summands, whole = [part({LINEAR: one}, 0.5), part({LINEAR: two}, -1, "b")], RankRule("rank", 99)
    made = [join(summands, MethodOptions("dare", density=0.5, seed=n), whole) for n in (*range(200), 0)]
    changes = [change(each, LINEAR, reference(one)) for each in made]
    assert np.array_equal(changes[0], changes[-1])
    assert not np.allclose(changes[0], changes[1])
    terms = [0.5 * reference(one), -reference(two)]
    possible = np.stack([2 * a * terms[0] + 2 * b * terms[1] for a, b in itertools.product((0, 1), repeat=2)])
    assert float(np.abs(changes[0] - possible).min(axis=0).max()) < 1e-4 * float(np.abs(possible).max())
    wanted = sum(terms)
    spread = np.sqrt(sum(term**2 for term in terms))  # of one draw: each number is 0 or twice what it is
    mean = np.mean(changes[:-1], axis=0)
    assert float((np.abs(mean - wanted) / (spread + 1e-9)).max()) < 5 / np.sqrt(200)
    everything = join(summands, MethodOptions("dare", density=1.0), whole)
    assert relative(change(everything, LINEAR, wanted), wanted) < 2e-6


@pytest.mark.parametrize("method", ["ties", "dare"])
def test_large_layers_lose_little_more_than_the_optimum(method: str) -> None:
    parts = [plain(4, seed=n, alpha=4.0, out=160, inputs=140) for n in (1, 2)]
    summands = [part({LINEAR: one}, 1, str(n)) for n, one in enumerate(parts)]
    options = MethodOptions(method)
    dense = join(summands, options, RankRule("rank", 140)).lora.adapters[LINEAR].delta().double().numpy()
    small = join(summands, options)
    assert small.lora.adapters[LINEAR].rank == 8
    error = relative(change(small, LINEAR, dense), dense)
    assert best(dense, 8) - 1e-6 <= error <= 1.01 * best(dense, 8)
    assert small.report.relative_error == pytest.approx(error, abs=1e-5)


def loudness(matrices: list[list[np.ndarray]], weights: list[float], count: int) -> list[int]:
    """By layer, the LoRA with the largest numbers, each as a share of all that it says."""
    totals = [sum(np.abs(matrix).sum() for matrix in layers) for layers in matrices]
    chosen = []
    for layer in range(len(matrices[0])):
        tops = [np.sort(np.abs(layers[layer]).ravel())[-count:].sum() for layers in matrices]
        chosen.append(int(np.argmax([abs(w) * t / all_ for w, t, all_ in zip(weights, tops, totals, strict=True)])))
    return chosen


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, -0.7], [0.5, 2.0]])
def test_each_layer_is_that_of_the_lora_that_says_most_there(weights: list[float]) -> None:
    keys = [LINEAR, LINEAR.replace("to_q", "to_k"), LINEAR.replace("to_q", "to_v"), TEXT]
    files = []
    for seed, (rank, loud) in enumerate(((2, 1.0), (3, 40.0))):  # the second was trained far more strongly
        modules = {key: plain(rank, seed=seed + 7 * n, alpha=1.0, out=16) for n, key in enumerate(keys)}
        for n, key in enumerate(keys):
            modules[key]["lora_up.weight"] *= loud * (1 + 0.3 * ((n + seed) % 2))
        files.append(modules)
    made = join([part(files[0], weights[0]), part(files[1], weights[1], "b")], MethodOptions("k_lora"))
    wanted = loudness([[reference(one[key]) for key in keys] for one in files], weights, 6)
    assert 0 < sum(wanted) < 4 or weights[0] != weights[1]
    for key, index in zip(keys, wanted, strict=True):
        whole = weights[index] * reference(files[index][key])
        assert relative(change(made, key, whole), whole) < 1e-6
        assert made.lora.adapters[key].rank == (2, 3)[index]
    counts = made.taken
    assert (counts["IN01"], counts["BASE"]) == ((3 - sum(wanted[:3]), sum(wanted[:3])), (1 - wanted[3], wanted[3]))


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("side", ["shared", "inputs", "outputs", "either"])
@pytest.mark.parametrize("amount", [1.0, 0.25])
def test_projection_takes_out_what_the_second_spans(first: str, second: str, side: str, amount: float) -> None:
    key, (one, two) = key_for(first), (sample(first, seed=1), sample(second, seed=2))
    wanted, removed = dense_projection(0.5 * reference(one), reference(two), side, amount)
    summands = [part({key: one}, 0.5), part({key: two}, amount, "bad")]
    method = MethodOptions("project", side=side)
    if np.linalg.norm(wanted) < 1e-9 * np.linalg.norm(removed):
        with pytest.raises(InputError, match="Nothing is left of the first"):
            join(summands, method)
        return
    made = join(summands, method)
    assert relative(change(made, key, wanted), wanted) < 5e-6
    (row,) = made.removed.values()
    before, after = 0.5 * reference(one), wanted
    assert row.before == pytest.approx(cosine(before, reference(two)), abs=1e-5)
    assert row.after == pytest.approx(cosine(after, reference(two)), abs=1e-5)
    assert row.kept == pytest.approx(float((after**2).sum() / (before**2).sum()), abs=1e-5)
    if amount == 1:
        assert abs(row.after) < 1e-5


def dense_projection(one: np.ndarray, two: np.ndarray, side: str, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """What is left of a matrix, and what was taken out, by projectors of the size of the layer."""
    left, sigma, right = np.linalg.svd(two, full_matrices=False)
    count = int((sigma > 1e-7 * sigma[0]).sum())
    outputs, inputs = left[:, :count] @ left[:, :count].T, right[:count].T @ right[:count]
    rest = (np.eye(len(outputs)) - outputs) @ one @ (np.eye(len(inputs)) - inputs)
    removed = {"shared": outputs @ one @ inputs, "inputs": one @ inputs, "outputs": outputs @ one, "either": one - rest}
    return one - amount * removed[side], removed[side]


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    size = np.linalg.norm(one) * np.linalg.norm(two)
    return float((one * two).sum() / size) if size else 0.0


def test_projection_of_a_sum_gives_back_what_the_second_did_not_say(tmp_path: Path) -> None:
    """A LoRA that learned a style beside its subject loses the style; other blocks and layers stay as they are."""
    subject, style = plain(2, seed=1, alpha=2.0), plain(2, seed=2, alpha=2.0)
    mixed, _ = join([part({LINEAR: subject}), part({LINEAR: style}, 0.8, "style")], MethodOptions()), None
    first = part({LINEAR: mixed.lora.adapters[LINEAR].tensors(), TEXT: plain(3, seed=3, alpha=3.0, out=16)}, 1, "girl")
    first.lora.metadata = {"modelspec.trigger_phrase": "girl"}
    second = part({LINEAR: style, key_for("conv3x3"): sample("conv3x3")}, 1, "bad")
    second.lora.metadata = {"modelspec.trigger_phrase": "bad"}
    made = join([first, second], MethodOptions("project", side="outputs"))
    left = reference(style)
    outside = np.eye(24) - left @ np.linalg.pinv(left)
    assert relative(change(made, LINEAR, left), outside @ reference(subject)) < 1e-5
    assert torch.equal(made.lora.adapters[TEXT].delta(), first.lora.adapters[TEXT].delta())
    assert set(made.lora.adapters) == {LINEAR, TEXT}
    assert (made.removed["BASE"].before, made.removed["BASE"].kept) == (None, 1.0)
    assert made.removed["IN01"].before > 0.3 > 1e-6 > abs(made.removed["IN01"].after)
    saved = read_lora(write_lora(made.lora, tmp_path / "x.safetensors"))
    assert saved.metadata["modelspec.trigger_phrase"] == "girl"
    (step,) = read_recipe(saved.metadata)
    assert (step["op"], step["side"], step["source"]) == ("project", "outputs", "girl")
    assert step["removed"] == {"source": "bad", "blocks": {"IN01": 1.0, "M00": 1.0}}


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_overlap_is_the_cosine_of_the_dense_changes(first: str, second: str) -> None:
    key, (one, two) = key_for(first), (sample(first, seed=1), sample(second, seed=2))
    (found,) = overlaps([part({key: one}, 0.5), part({key: two}, -2, "b")])
    assert found.whole == pytest.approx(cosine(0.5 * reference(one), -2 * reference(two)), abs=1e-6)
    assert list(found.blocks.values()) == [pytest.approx(found.whole)]


def test_the_overlap_counts_all_layers_of_a_block_and_every_pair() -> None:
    to_k = LINEAR.replace("to_q", "to_k")
    one = {LINEAR: plain(2, seed=1, alpha=1.0), to_k: plain(2, seed=2, alpha=1.0), TEXT: plain(1, seed=5, alpha=1.0)}
    two, three = {LINEAR: plain(3, seed=3, alpha=1.0)}, {TEXT: plain(1, seed=5, alpha=1.0)}
    found = overlaps([part(one), part(two, 1, "b"), part(three, -0.5, "c")])
    assert [(each.first, each.second) for each in found] == [(0, 1), (0, 2), (1, 2)]
    stacked = np.concatenate([reference(one[LINEAR]), reference(one[to_k])])
    other = np.concatenate([reference(two[LINEAR]), np.zeros((24, 16))])
    assert found[0].blocks == {"IN01": pytest.approx(cosine(stacked, other), abs=1e-6)}
    assert found[1].blocks == {"BASE": pytest.approx(-1.0)}
    assert (found[2].blocks, found[2].whole) == ({}, 0.0)
    assert found[0].whole == pytest.approx(
        cosine(np.concatenate([stacked, reference(one[TEXT])]), np.concatenate([other, np.zeros((24, 16))])), abs=1e-6
    )


@pytest.mark.parametrize(
    ("method", "more", "count", "said"),
    [
        ("sum", {"density": 0.5}, 2, "density means nothing"),
        ("ties", {"seed": 3}, 2, "seed means nothing"),
        ("dare", {"side": "inputs"}, 2, "side means nothing"),
        ("ties", {"density": 0}, 2, "out of range"),
        ("median", {}, 2, "unknown"),
        ("k_lora", {}, 1, "two LoRAs or more"),
        ("project", {}, 3, "Two LoRAs are needed"),
    ],
)
def test_what_a_method_has_no_meaning_for_is_refused(method: str, more: dict, count: int, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        join([part({LINEAR: plain(2, seed=1, alpha=1.0)})] * count, MethodOptions(method, **more))
    assert caught.value.cure


def test_a_share_below_0_or_above_1_is_refused_and_the_block_is_named() -> None:
    one, two = part({LINEAR: plain(2, seed=1, alpha=1.0)}), part({LINEAR: plain(2, seed=2, alpha=1.0)}, -0.5, "bad")
    with pytest.raises(InputError, match="from 0 to 1, not -0.5") as caught:
        join([one, two], MethodOptions("project"))
    assert caught.value.where == "bad, IN01"


def test_other_shapes_and_families_are_refused_by_every_method() -> None:
    one = part({LINEAR: plain(2, seed=1, alpha=1.0)})
    wide = part({LINEAR: plain(2, seed=1, alpha=1.0, out=8)}, 1, "b")
    sdxl = part({"lora_te1_text_model_encoder_layers_0_self_attn_q_proj": sample("linear")}, 1, "c")
    for method in ("ties", "dare", "k_lora", "project"):
        with pytest.raises(InputError, match="different shapes"):
            join([one, wide], MethodOptions(method))
        with pytest.raises(InputError, match="different models"):
            join([one, sdxl], MethodOptions(method))
    with pytest.raises(InputError, match="different shapes"):
        overlaps([one, wide])


def test_biases_and_normalizations_are_joined_number_by_number() -> None:
    norm = "lora_unet_down_blocks_0_resnets_0_norm1"

    def made(seed: int) -> Summand:
        generator = torch.Generator().manual_seed(seed)
        parts = {**sample("linear", seed=seed), "diff_b": torch.randn(6, generator=generator)}
        norms = {"w_norm": torch.randn(8, generator=generator), "b_norm": torch.randn(8, generator=generator)}
        return part({LINEAR: parts, norm: norms}, name=str(seed))

    one, two = made(1), made(2)
    joined = join([one, two], MethodOptions("ties", density=0.5), RankRule("rank", 6)).lora.adapters
    first, second = one.lora.adapters, two.lora.adapters
    for key, name in ((LINEAR, "diff_b"), (norm, "w_norm"), (norm, "b_norm")):
        numbers = [each[key].tensors()[name].double().numpy() for each in (first, second)]
        assert np.allclose(joined[key].tensors()[name].double().numpy(), ties_of(numbers, 0.5), atol=1e-6)
    left = join([one, two], MethodOptions("project")).lora.adapters
    assert torch.equal(left[LINEAR].tensors()["diff_b"], first[LINEAR].tensors()["diff_b"])
    assert torch.equal(left[norm].tensors()["w_norm"], first[norm].tensors()["w_norm"])
    picked = join([one, two], MethodOptions("k_lora")).lora.adapters
    assert all(picked[key].kind == first[key].kind for key in (LINEAR, norm))


def test_what_depends_on_the_model_is_refused_by_name_and_its_overlap_is_not_known() -> None:
    dora = part({LINEAR: {**sample("linear", seed=1), "dora_scale": torch.ones(1, 8)}}, 1, "dora")
    plain_one = part({LINEAR: sample("linear", seed=2)}, 1, "plain")
    for method in ("ties", "dare", "k_lora", "project"):
        with pytest.raises(InputError, match=f"{method} needs the numbers of every change") as caught:
            join([plain_one, dora], MethodOptions(method))
        assert "dora" in caught.value.where
    (found,) = overlaps([plain_one, dora])
    assert (found.whole, found.blocks) == (None, {"IN01": None})


def test_the_work_can_be_watched_and_ended() -> None:
    summands = [part({LINEAR: sample("linear", seed=n), TEXT: sample("linear")}, 1, str(n)) for n in (1, 2)]
    for method, doing in (("ties", "joining"), ("k_lora", "comparing"), ("project", "joining")):
        told = Told()
        join(summands, MethodOptions(method), progress=told)
        assert told.texts[0] == doing
        with pytest.raises(StoppedError):
            join(summands, MethodOptions(method), progress=Told(stop_at=doing))
    with pytest.raises(StoppedError):
        overlaps(summands, Told(stop_at="comparing"))
