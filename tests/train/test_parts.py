"""A batch in parts: the same gradients as in one piece, the same bits with one thread or many."""

from __future__ import annotations

import threading

import pytest
import torch

from lib_lora import process
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train import gradients, network, parts
from lib_lora.train.batch import draw
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start

LONG = ", ".join(["a very long caption of a red circle on white"] * 12)


@pytest.fixture
def begun(model, options_for, pictures, tmp_path):
    """Make a training whose batch has eight rows, two parts; one caption needs a second chunk of tokens."""
    (pictures / "1.txt").write_text(LONG, encoding="utf-8")
    made = []

    def make(**changes):
        usual = {"batch_size": 8, "repeats": 2, "steps": 2, "optimizer": "AdamW", "learning_rate": 1e-3}
        options = options_for(**(usual | changes))
        folder = RunFolder.create(tmp_path / f"run {len(made)}", options)
        made.append(start(model, options, folder, Progress()))
        return made[-1]

    return make


def of_first_batch(training, *, whole: bool, monkeypatch) -> tuple[float, list[torch.Tensor]]:
    """The loss and the gradients of the first batch; the zero half of a fresh LoRA is filled, so that all flow."""
    generator = torch.Generator().manual_seed(3)
    parameters = [p for one in training.lora.adapters.values() for p in one.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
            parameter.grad = None
    if whole:
        monkeypatch.setattr(gradients, "can_be_parted", lambda training: False)
    with attach(training.model, training.lora, 1.0, strategy="factors"):
        drawn = draw(training, training.next_batches()[0], torch.Generator().manual_seed(1))
        loss = gradients.backward(training, drawn, parameters, share=1.0)
    return loss.item(), [p.grad for p in parameters]


@pytest.mark.parametrize("text", [0.0, 0.5])
def test_parts_come_to_the_gradients_of_the_whole(begun, monkeypatch, text):
    training = begun(text_encoder_ratio=text)
    assert parts.can_be_parted(training)
    loss, split = of_first_batch(training, whole=False, monkeypatch=monkeypatch)
    expected, one = of_first_batch(training, whole=True, monkeypatch=monkeypatch)
    assert loss == pytest.approx(expected, rel=1e-5)
    for found, wanted in zip(split, one, strict=True):
        assert (found - wanted).norm() <= 1e-3 * wanted.norm() + 1e-9


def test_one_thread_and_two_come_to_the_same_bits(begun, monkeypatch):
    seen, real = set(), gradients.loss_of

    def noting(*given):
        seen.add(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(gradients, "loss_of", noting)
    results = []
    for count in (1, 2):
        monkeypatch.setattr(process, "at_once", lambda count=count: count)
        training = begun()
        run(training, Progress())
        results.append([p.detach().clone() for p in network.parameters_of(training.lora).values()])
    assert len(seen) == 3
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("change", [{"network_dropout": 0.1}, {"compile": True}])
def test_what_acts_on_all_layers_at_once_keeps_a_batch_whole(begun, change):
    assert not parts.can_be_parted(begun(**change))


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (4, [4]), (5, [2, 3]), (8, [4, 4]), (9, [3, 3, 3]), (0, [0])])
def test_a_batch_falls_into_even_parts(count, sizes):
    found = parts.parted(slice(2, 2 + count))
    assert [part.stop - part.start for part in found] == sizes
    assert (found[0].start, found[-1].stop) == (2, 2 + count)
    assert all(one.stop == two.start for one, two in zip(found, found[1:], strict=False))
