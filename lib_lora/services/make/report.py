"""The report of an order: its result in a sentence, the proof in pictures and numbers, and what each step decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.blocks.typed import as_words
from lib_lora.formats.privacy import without_folders
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words, duration
from lib_lora.process import command
from lib_lora.progress import Progress
from lib_lora.report import write_report
from lib_lora.report.sections import BlockBars, Commands, Curve, PictureRow, Pictures, Report, Section, Series, Table
from lib_lora.sentences import say
from lib_lora.services.make.proof import OURS, WITHOUT
from lib_lora.services.make.record import (
    BLOCKS,
    LABEL,
    PICTURES,
    PLAN,
    PROOF,
    REPORT,
    SHRINK,
    TRAIN,
    USUAL,
    WEIGHTS,
    Make,
)
from lib_lora.services.make.work import Work
from lib_lora.train.run_folder import RunFolder

FILE = "report.html"


def report(work: Work, progress: Progress) -> dict[str, Any]:
    """Write the page.

    Raises:
        FileError: the disk refuses.
    """
    path = write_report(report_of(work.make), work.make.folder / FILE)
    return {"file": str(path), "notes": [say("the report: {path}", path=path.name)]}


def report_of(make: Make) -> Report:
    """Return the report of an order whose other steps are over, in the language of whoever ordered it."""
    words = Words(make.language)
    sections: list[Section] = [_pictures(make, words), _numbers(make, words)]
    sections += [_weights(make, words), _influence(make, words), *_curves(make, words), _decided(make, words)]
    commands = Commands(words("make.commands"), words("make.commands_text"), commands_of(make))
    return Report(words("make.title", name=make.name), verdict(make, words), words.language, (*sections, commands))


def verdict(make: Make, words: Words) -> str:
    """Return the result in a sentence."""
    numbers, pictures = make.results[PROOF]["numbers"], make.results[PICTURES]
    none, ours = numbers[WITHOUT], numbers[OURS]
    shared = {
        "name": make.results[LABEL]["lora"],
        "pictures": pictures["trained"] + len(pictures["held"]),
        "time": duration(sum(make.seconds.values()), words),
        "size": f"{ours['bytes'] / 1e6:.2f}",
        "loss": f"{100 * (1 - ours['subject'] / none['subject']):.0f}",
        "drift": f"{100 * ours['drift']:.1f}",
    }
    if USUAL not in numbers:
        return words("make.verdict_alone", **shared)
    usual = numbers[USUAL]
    return words(
        "make.verdict",
        **shared,
        subject=f"{ours['subject'] / usual['subject']:.2f}",
        less=f"{ours['drift'] / usual['drift'] if usual['drift'] else 1.0:.2f}",
        part=f"{ours['bytes'] / usual['bytes']:.2f}",
    )


def _ways(make: Make) -> tuple[str, ...]:
    return (WITHOUT, USUAL, OURS) if make.options.compare else (WITHOUT, OURS)


def _pictures(make: Make, words: Words) -> Pictures:
    folder, ways = make.folder / "proof", _ways(make)
    rows = []
    for row in make.results[PROOF]["pictures"]:
        what = row["what"]
        label = f"{words(f'make.row_{what}')} · {row['seed']}"
        rows.append(
            PictureRow(label, tuple(folder / row[way] for way in ways), (row["prompt"], *[""] * (len(ways) - 1)))
        )
    columns = tuple(words(f"make.way_{way}") for way in ways)
    return Pictures(words("make.pictures"), words("make.pictures_text"), columns, tuple(rows))


def _numbers(make: Make, words: Words) -> Table:
    numbers = make.results[PROOF]["numbers"]
    rows = []
    for way in _ways(make):
        one = numbers[way]
        size = f"{one['bytes'] / 1e6:.2f} MB" if "bytes" in one else "–"
        rows.append((words(f"make.way_{way}"), f"{one['subject']:.4f}", f"{100 * one['drift']:.2f} %", size))
    heads = tuple(words(f"make.head_{key}") for key in ("way", "subject", "drift", "size"))
    text = words("make.numbers_held" if numbers["held"] else "make.numbers_trained")
    return Table(words("make.numbers"), text, heads, tuple(rows))


def _weights(make: Make, words: Words) -> BlockBars:
    found = {block: float(value) for block, value in make.results[WEIGHTS]["weights"].items()}
    return BlockBars(words("make.weights"), words("make.weights_text"), found)


def _influence(make: Make, words: Words) -> BlockBars:
    last = make.results[BLOCKS]["tiers"][-1]
    key = next(iter(last["units"]))
    means = {block: row.get(key, {}).get("mean") for block, row in last["blocks"].items()}
    known = {block: float(value) for block, value in means.items() if value is not None}
    return BlockBars(words("make.blocks"), words("make.blocks_text"), known)


def _curves(make: Make, words: Words) -> list[Section]:
    """Return steady loss and drift of the trainings, one line a training."""
    steady, drift = [], []
    for step in (TRAIN, USUAL):
        folder = make.run_folder(step)
        rows = RunFolder(folder).measures() if folder.is_dir() else []
        if not rows:
            continue
        name = words(f"make.way_{OURS if step == TRAIN else USUAL}")
        steady.append(Series(name, tuple((float(row["step"]), row["steady"]) for row in rows)))
        drift.append(Series(name, tuple((float(row["step"]), 100 * row["drift"]) for row in rows)))
    if not steady:
        return []
    step_word, loss, drift_word = words("train.step"), words("train.loss_steady"), words("train.drift")
    return [
        Curve(loss, words("make.curve_text"), tuple(steady), step_word, loss),
        Curve(drift_word, words("train.drift_hint"), tuple(drift), step_word, f"{drift_word} (%)"),
    ]


def _decided(make: Make, words: Words) -> Table:
    rows = []
    for step in make.steps:
        if step == REPORT:
            continue
        said = " · ".join(without_folders(sentence_in_words(text, words.language)) for text in make.notes(step)) or "–"
        rows.append((words(f"make.step_{step}"), duration(make.seconds.get(step, 0.0), words), said))
    heads = (words("make.head_step"), words("train.report_time"), words("make.head_said"))
    return Table(words("make.decided"), words("make.decided_text"), heads, tuple(rows))


def commands_of(make: Make) -> tuple[str, ...]:
    """Return the commands that repeat it step by step; of folders only their names, because people hand it on."""
    program, order = command(), make.options
    lora, vector = f"{make.run(TRAIN)}/{Path(make.results['choose']['file']).name}", make.results[WEIGHTS]["vector"]
    size = make.results[SHRINK].get("size")  # orders of before had a share of the energy
    chosen = Path(make.results["choose"]["lora"]).name
    whole = f'{program} make --images "{Path(order.images).name}" --trigger "{order.trigger}" --kind {order.kind}'
    steps = make.results[PLAN]["steps"]
    made = [
        f"{whole} --steps {steps} --seed {order.seed} --name {make.name}_2",
        f"{program} train {make.run(TRAIN)}/options.json --name {make.name}_again",
        f'{program} analyze --prompt "{as_words(order.trigger)} <lora:{chosen}:1:XYZ>" --tier prediction --out blocks',
        f"{program} fit --lora {chosen} --images {make.name}/pictures/train --keep {order.keep:g} --out weights.json",
        f'{program} bake {lora} --weights "{vector}" --out baked.safetensors',
    ]
    if size is not None:
        made.append(f"{program} compress baked.safetensors --size {size:g} --out {make.name}.safetensors")
    return tuple(made)
