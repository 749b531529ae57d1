"""After the training: which file is taken, what each block of it does, and which block weights keep the subject."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.analysis.tiers.result import PREDICTION
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.typed import as_words
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.analysis_order import analyze_order, order_of
from lib_lora.services.block_tiers import save_tiers, tier_answer
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.fit_order import fit_weights
from lib_lora.services.jobs.delivery import deliver
from lib_lora.services.make.record import CHOOSE, TRAIN
from lib_lora.services.make.work import Work
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.verdict import best_file, best_row

MAIN = 3
"""Blocks that are named as those that do most."""


def choose(work: Work, progress: Progress) -> dict[str, Any]:
    """Choose the file of the training by the rule for its measurements, and put it where prompts find it.

    Raises:
        InputError: nothing was saved. FileError: the folder of LoRAs cannot be written.
    """
    folder = RunFolder.open(work.make.run_folder(TRAIN))
    rows = folder.measures()
    best = best_row(rows)
    last = folder.lora_path()
    at_best = folder.lora_path_at(best["step"]) if best else last
    file = at_best if at_best.is_file() else last
    if not file.is_file():
        raise InputError("This run has saved no LoRA yet", where=str(folder.path), cure="Let it finish.")
    if best is None:
        notes = [say("no file is better than no LoRA by the steady loss; the last one is taken")]
    else:
        notes = [best_file(best, file.name)]
    name = deliver(file, work.loras).stem
    work.host.loras_changed()
    return {"file": str(file), "lora": name, "step": best["step"] if best else None, "notes": notes}


def look_at_blocks(work: Work, progress: Progress) -> dict[str, Any]:
    """Ask the model what each block changes, for the trigger and for other things; keep table and plot.

    Raises:
        AtelierError: the host does not lend its model. StoppedError: asked to stop.
    """
    name, order = work.result(CHOOSE)["lora"], work.options
    words = as_words(", ".join(filter(None, (order.trigger, order.class_word))))
    request = GenerateRequest(f"{words} <lora:{name}:1:XYZ>", seed=order.seed)
    asked = order_of(request, AnalyzeOptions(tier=PREDICTION), work.host, FileFacts(work.host))
    found = analyze_order(asked, work.host, progress).tiers
    files = save_tiers(found, work.make.folder)
    family = work.host.model.family
    told = tier_answer(found, family)
    last = found[-1]
    means = last.means()
    most = sorted(means, key=lambda block: -means[block])[:MAIN]
    notes = [say("what changes the model's answers most: {blocks}", blocks=most), *last.notes]
    return {**told, "files": [path.name for path in files], "notes": notes}


def find_weights(work: Work, progress: Progress) -> dict[str, Any]:
    """Find block weights that keep the subject and change the model least; rounds are kept, and it goes on from there.

    Where the LoRA has learned nothing that could be kept, all blocks stay at 1, and that is said: the proof shows it.

    Raises:
        StoppedError: asked to stop.
    """
    order = work.options
    chosen = FitOptions(
        lora=work.result(CHOOSE)["lora"], images=str(work.train_folder), keep=order.keep, seed=order.seed
    )
    record = work.make.folder / "weights.rounds"
    try:
        found = fit_weights(chosen, work.host, progress, record=record)
    except InputError as error:
        ones = BlockWeights.uniform(full_layout(work.host.model.family), 1.0)
        notes = [say("all blocks stay at 1: {error}", error=error)]
        return {"vector": ones.format(), "weights": ones.as_dict(), "notes": notes}
    record.unlink(missing_ok=True)
    return {**found.answer(), "options": asdict(chosen), "notes": [found.said, *found.notes]}


def path_of(work: Work) -> Path:
    """Return the file that was chosen."""
    return Path(work.result(CHOOSE)["file"])
