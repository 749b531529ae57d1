"""Ways to need less memory: the loss stays, the model comes back byte for byte, a step that does not fit goes on."""

from __future__ import annotations

import hashlib
import itertools

import pytest
import torch
from torch import nn

from lib_lora.errors import AtelierError, InputError
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train import network
from lib_lora.train.gradients import batch_loss
from lib_lora.train.loop import run
from lib_lora.train.memory import compiling, fit
from lib_lora.train.memory.blocks import blocks_of
from lib_lora.train.memory.ladder import saving
from lib_lora.train.memory.planner import choose, largest_batch
from lib_lora.train.memory.storage import FLOAT8, in_main_memory, stored
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import states_of
from lib_lora.train.step import one_step
from lib_lora.train.training import start


@pytest.fixture
def begun(model, options_for, tmp_path):
    names = itertools.count()

    def make(**changes):
        usual = {"steps": 3, "optimizer": "AdamW", "learning_rate": 1e-3, "text_encoder_ratio": 0.5, "dim": 2}
        options = options_for(**usual | changes)
        return start(model, options, RunFolder.create(tmp_path / f"run{next(names)}", options), Progress())

    return make


def fingerprint(model) -> str:
    digest = hashlib.sha256()
    for part in model.networks:
        for name, value in [*part.named_parameters(), *part.named_buffers()]:
            digest.update(f"{name} {value.dtype} {value.device} {id(value)}".encode() + value.numpy().tobytes())
        digest.update(str([name for name, module in part.named_modules() if "forward" in module.__dict__]).encode())
    return digest.hexdigest()


def step(training, rung):
    """The loss and the gradients of a step on a rung."""
    with attach(training.model, training.lora, 1.0, strategy="factors") as attached, saving(training.model, rung):
        training.attached = attached
        loss = batch_loss(training, training.next_batches()[0], torch.Generator().manual_seed(1))
        loss.backward()
    parameters = [p for adapter in training.lora.adapters.values() for p in adapter.parameters()]
    slopes = [p.grad.clone() for p in parameters if p.grad is not None]
    training.optimizer.zero_grad()
    return loss.item(), slopes


def test_recomputed_and_swapped_steps_are_the_plain_one_and_the_model_comes_back(begun, model):
    training, before = begun(), fingerprint(model)
    loss, slopes = step(training, "plain")
    for rung in ("checkpointing", "swap"):
        again, others = step(training, rung)
        assert again == loss
        assert all(torch.equal(one, two) for one, two in zip(slopes, others, strict=True))
        assert fingerprint(model) == before


@pytest.mark.skipif(FLOAT8 is None, reason="this torch has no float8")
def test_weights_in_8_bits_change_the_loss_a_little_and_come_back_to_the_byte(begun, model):
    training, before = begun(), fingerprint(model)
    loss, _ = step(training, "plain")
    rounded, slopes = step(training, "fp8")
    assert 0 < abs(rounded - loss) < 0.05 * loss
    assert all(slope.isfinite().all() for slope in slopes)
    assert fingerprint(model) == before


def kept_for_backward(work) -> int:
    """The bytes that autograd keeps between the forward and the backward pass."""
    kept: dict[int, int] = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return sum(kept.values())


def test_a_recomputed_step_keeps_a_third_or_less_until_its_backward_pass(begun, model):
    training = begun(text_encoder_ratio=0)
    weights = sum(p.untyped_storage().nbytes() for part in model.networks for p in part.parameters())
    kept = {}
    for rung in ("plain", "checkpointing"):
        with attach(model, training.lora, 1.0, strategy="factors"), saving(model, rung):
            loss = lambda: batch_loss(training, training.next_batches()[0], torch.Generator().manual_seed(1))  # noqa: E731
            kept[rung] = kept_for_backward(loss)
    assert kept["checkpointing"] * 3 < kept["plain"], (kept, weights)


def test_blocks_are_found_in_either_naming_and_none_lies_in_another(model):
    blocks = blocks_of(model.networks[:1])
    inside = {id(part) for block in blocks for part in block.modules() if part is not block}
    assert not inside & set(map(id, blocks))
    covered = sum(p.numel() for block in blocks for p in block.parameters())
    assert covered > 0.9 * sum(p.numel() for p in model.unet.parameters())
    ldm = nn.Module()
    ldm.input_blocks = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]) for _ in range(3)])
    ldm.middle_block = nn.ModuleList([nn.Linear(2, 2)])
    deep = nn.Module()
    deep.transformer_blocks = nn.ModuleList([nn.Linear(2, 2) for _ in range(10)])
    ldm.output_blocks = nn.ModuleList([nn.ModuleList([deep])])
    assert len(blocks_of([ldm])) == 6 + 1 + 10


def test_one_block_at_a_time_has_its_weights_in_place(model):
    blocks = blocks_of(model.networks[:1])
    with stored(blocks, in_main_memory) as known, torch.no_grad():
        model.predict(torch.zeros(1, 4, 8, 8), torch.tensor([5]), model.encode_text(["x"]))
        assert (known.most, known.running) == (1, set())


class OutOfReach(RuntimeError):
    """What torch raises where memory does not suffice."""

    def __init__(self) -> None:
        super().__init__("CUDA out of memory. Tried to allocate 20.00 MiB")


def test_a_step_that_does_not_fit_is_made_again_on_the_next_rung_and_the_run_is_the_same(begun, monkeypatch):
    plain = begun(text_encoder_ratio=0)
    run(plain, Progress())
    training = begun(text_encoder_ratio=0)
    failed = []

    def short_of_memory(given):
        if given.step == 1 and training.fit.rung == "plain":
            failed.append(given.step)
            raise OutOfReach
        return one_step(given)

    monkeypatch.setattr("lib_lora.train.loop.one_step", short_of_memory)
    assert run(training, Progress()).finished
    assert failed == [1]
    assert "checkpointing" in training.folder.remarks()[0]
    assert [row["loss"] for row in training.folder.read_log()] == [row["loss"] for row in plain.folder.read_log()]
    assert training.folder.read_json(fit.RUNG) == {"rung": "checkpointing"}


def test_where_no_rung_helps_the_run_ends_in_a_sentence_and_its_state_stays(begun, monkeypatch):
    training = begun(text_encoder_ratio=0)

    def short_of_memory(given):
        if given.step == 1:
            raise OutOfReach
        return one_step(given)

    monkeypatch.setattr("lib_lora.train.loop.one_step", short_of_memory)
    with pytest.raises(AtelierError, match="does not suffice") as caught:
        run(training, Progress())
    assert "resume" in caught.value.cure
    assert len(states_of(training.folder.states)) == 1
    monkeypatch.undo()
    again = start(training.model, training.options, training.folder, Progress())
    assert again.step == 1
    assert run(again, Progress()).finished


def test_a_step_that_fails_inside_the_optimizer_is_not_made_twice(begun, monkeypatch):
    training = begun(text_encoder_ratio=0)

    def fails(*_):
        raise OutOfReach

    monkeypatch.setattr(training.optimizer, "step", fails)
    with pytest.raises(AtelierError, match="does not suffice"):
        run(training, Progress())
    assert not states_of(training.folder.states)


class Scale:
    """A device whose steps need so many bytes, in the order in which they are tried."""

    def __init__(self, free, needs):
        self._free, self._needs, self.tried = free, iter(needs), 0

    def free(self):
        return self._free

    def begin(self):
        self.tried += 1

    def needed(self):
        return next(self._needs)


GIGA = 2**30


@pytest.mark.parametrize(
    ("needs", "rung", "told"),
    [
        ([5], "plain", ""),
        ([9, 5], "checkpointing", "9.0 GB with plain"),
        ([9, 8, 5], "fp8", "8.0 GB with checkpointing"),
        ([9, 8, 8, 1], "swap", "6.0 GB are free"),
        ([9, 9, 9, 9], "swap", "may not fit"),
    ],
)
def test_the_planner_takes_the_first_rung_that_fits_and_says_why(begun, needs, rung, told):
    training = begun(text_encoder_ratio=0)
    with attach(training.model, training.lora, 1.0, strategy="factors"):
        found = choose(training, Scale(6 * GIGA, [need * GIGA for need in needs]))
    assert found.rung == rung
    assert told in found.why
    assert all(p.grad is None for adapter in training.lora.adapters.values() for p in adapter.parameters())


def test_a_dry_step_changes_nothing_and_takes_the_largest_bucket(begun):
    training = begun(text_encoder_ratio=0, batch_size=3)
    assert len(largest_batch(training)) == 3
    before = {name: value.clone() for name, value in network.parameters_of(training.lora).items()}
    torch.manual_seed(9)
    drawn = torch.rand(1)
    torch.manual_seed(9)
    with attach(training.model, training.lora, 1.0, strategy="factors"):
        choose(training, Scale(6 * GIGA, [GIGA]))
    assert torch.equal(torch.rand(1), drawn)
    assert all(torch.equal(value, before[name]) for name, value in network.parameters_of(training.lora).items())
    assert not training.optimizer.inner.state


def test_a_run_in_bf16_trains_and_fp16_asks_for_a_gpu(begun):
    training = begun(precision="bf16", text_encoder_ratio=0, steps=2)
    plain = begun(text_encoder_ratio=0, steps=2)
    rows = [run(one, Progress()).loss for one in (training, plain)]
    assert rows[0] != rows[1]
    assert rows[0] == pytest.approx(rows[1], rel=0.05)
    with pytest.raises(InputError, match="Training in fp16 needs a GPU"):
        begun(precision="fp16")


def test_blocks_that_cannot_be_compiled_run_as_they_are_and_it_is_said(begun, monkeypatch):
    def refuses(_):
        def fast(*_given, **_named):
            raise RuntimeError("no compiler was found\nmore")

        return fast

    monkeypatch.setattr(compiling.torch, "compile", refuses)
    training, plain = begun(compile=True, text_encoder_ratio=0), begun(text_encoder_ratio=0)
    assert run(training, Progress()).loss == run(plain, Progress()).loss
    assert [text for text in training.folder.remarks() if "no compiler was found" in text]
    assert len(training.folder.remarks()) == 1


def test_the_studio_attends_with_pytorchs_fused_kernels(model):
    kinds = {type(processor).__name__ for processor in model.unet.attn_processors.values()}
    assert kinds == {"AttnProcessor2_0"}
    assert {encoder.config._attn_implementation for encoder in model.text_encoders} == {"sdpa"}
