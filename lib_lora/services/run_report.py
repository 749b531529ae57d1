"""The report of a training run: ``report.html`` in its folder, in the language of whoever started it.

The studio draws it anew from the folder for whoever looks at it in another language. People hand it on, so it names
folders and files without the place where they lie on this disk.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from lib_lora.architectures.registry import first
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.typed import as_words
from lib_lora.formats.header import read_header
from lib_lora.formats.privacy import without_folders
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words, duration
from lib_lora.options import find
from lib_lora.process import command
from lib_lora.report import write_report
from lib_lora.report.sections import Commands, Curve, PictureRow, Pictures, Report, Section, Series, Table
from lib_lora.sentences import unpacked
from lib_lora.services.finish import every_offer, needs_model
from lib_lora.services.jobs.run_log import RunLogs
from lib_lora.services.jobs.run_state import read_status
from lib_lora.train.options import TrainOptions, usual_values, with_names_only
from lib_lora.train.recipes import ModelFacts
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.sd_scripts.write import sd_scripts_command

COLUMNS = 6
"""Samples of so many steps stand side by side at most: the first, the last, and some between."""


def write_run_report(folder: RunFolder, language: str) -> None:
    """Write the report of a run that is finished or was stopped and saved."""
    write_report(run_report(folder, language), folder.path / "report.html")


def run_report(folder: RunFolder, language: str) -> Report:
    """Return the report of a run in a language, from what lies in its folder."""
    words, options = Words(language), folder.options()
    rows = RunLogs().rows(folder.path)
    total = read_status(folder.path).get("total") or (rows[-1][0] if rows else 0)
    step = rows[-1][0] if rows else 0
    key = "train.report_done" if step >= total else "train.report_stopped"
    verdict = words(key, name=options.name, step=step, total=total, loss=f"{rows[-1][2]:.4f}" if rows else "–")
    sections: list[Section] = [
        *_curves(folder, rows, words),
        _numbers(folder, options, step, total, words),
        _files(folder, words),
    ]
    remarks = _remarks(folder, words)
    if remarks is not None:
        sections.append(remarks)
    pictures = _samples(folder, options, words)
    if pictures is not None:
        sections.insert(0, pictures)
    sections += [
        _options(folder, options, words),
        Commands(
            words("train.report_commands"),
            words("train.report_commands_text", folder=folder.path.name),
            _commands(folder, options),
        ),
        _elsewhere(folder, options, total, words),
    ]
    return Report(words("train.report_title", name=options.name), verdict, words.language, tuple(sections))


def sample_table(folder: Path) -> dict[int, dict[int, Path]]:
    """Return the sample pictures of a run: step to number of the prompt (from 1) to file."""
    found: dict[int, dict[int, Path]] = {}
    for path in sorted((folder / "samples").glob("step-*-*.png")):
        match = re.fullmatch(r"step-(\d+)-(\d+)", path.stem)
        if match:
            found.setdefault(int(match[1]), {})[int(match[2])] = path
    return found


def spread(steps: list[int], limit: int) -> list[int]:
    """Return at most ``limit`` of the steps, evenly, the first and the last among them."""
    if len(steps) <= limit:
        return steps
    return [steps[round(index * (len(steps) - 1) / (limit - 1))] for index in range(limit)]


def _samples(folder: RunFolder, options: TrainOptions, words: Words) -> Pictures | None:
    table = sample_table(folder.path)
    steps = spread(sorted(table), COLUMNS)
    if not steps:
        return None
    columns = tuple(words("train.before") if step == 0 else words("train.step_n", n=step) for step in steps)
    rows = tuple(
        PictureRow(prompt, tuple(table[step].get(number) for step in steps))
        for number, prompt in enumerate(options.sample_prompts, start=1)
    )
    return Pictures(words("train.samples"), words("train.report_samples", seed=options.seed), columns, rows)


def _curves(folder: RunFolder, rows: list[tuple[int, float, float]], words: Words) -> tuple[Section, ...]:
    """Return the losses of a run and, where it was measured, its drift and the loss of each picture."""
    measured = folder.measures()
    series = (
        Series(words("train.loss_step"), tuple((float(step), loss) for step, loss, _ in rows)),
        Series(words("train.loss_mean"), tuple((float(step), mean) for step, _, mean in rows)),
        Series(words("train.loss_steady"), tuple((float(row["step"]), row["steady"]) for row in measured)),
        Series(
            words("train.loss_held"),
            tuple((float(row["step"]), row["held"]) for row in measured if row.get("held") is not None),
        ),
    )
    drawn = tuple(one for one in series if one.points)
    step, loss = words("train.step"), words("train.loss")
    curve = Curve(loss, words("train.report_loss"), drawn, step, loss)
    if len(measured) < 2:
        return (curve,)
    drift = Series(words("train.drift"), tuple((float(row["step"]), 100 * row["drift"]) for row in measured))
    title = words("train.drift")
    return (
        curve,
        Curve(title, words("train.drift_hint"), (drift,), step, f"{title} (%)"),
        _measured_pictures(measured, words),
    )


def _measured_pictures(measured: list[dict[str, Any]], words: Words) -> Table:
    """Return the steady loss of each picture, before the training and now; those that taught least come first."""
    before, now = measured[0]["pictures"], measured[-1]["pictures"]
    losses = sorted(((name, before.get(name, loss), loss) for name, loss in now.items()), key=lambda r: r[1] - r[2])
    rows = tuple((name, f"{was:.4f}", f"{loss:.4f}") for name, was, loss in losses)
    heads = (words("train.group.pictures"), words("train.report_before"), words("train.report_now"))
    return Table(words("train.report_measured"), words("train.report_measured_text"), heads, rows)


def _numbers(folder: RunFolder, options: TrainOptions, step: int, total: int, words: Words) -> Table:
    pictures = _listed(folder, "pictures")
    rows = [
        (words("train.report_steps"), f"{step} / {total}"),
        (words("train.report_pictures"), str(len(pictures))),
        (words("train.report_problems"), str(len(_said(folder)))),
    ]
    seconds = read_status(folder.path).get("seconds")
    if seconds:
        rows.append((words("train.report_time"), duration(seconds, words)))
    if options.trigger:
        rows.append((words.said(find(TrainOptions, "trigger").label), options.trigger))
    headers = (words("train.report_what"), words("train.report_value"))
    return Table(words("train.report_numbers"), "", headers, tuple(rows))


def _remarks(folder: RunFolder, words: Words) -> Table | None:
    """Return what was left out of the training, and what else a person should know of it; None where nothing."""
    rows = tuple((without_folders(sentence_in_words(text, words.language)),) for text in _said(folder))
    return Table(words("train.report_remarks"), "", (words("train.report_problems"),), rows) if rows else None


def _said(folder: RunFolder) -> tuple[str, ...]:
    """Return what is known of a run's pictures and of its course, as its row has it."""
    problems = filter(None, map(unpacked, _listed(folder, "problems")))
    return (*problems, *folder.remarks(), *RunLogs().remarks(folder.path))


def _data(folder: RunFolder) -> dict[str, Any]:
    data = folder.read_json("data.json")
    return data if isinstance(data, dict) else {}


def _listed(folder: RunFolder, key: str) -> list:
    """Return a list out of what a run learns from; empty where the file is damaged."""
    known = _data(folder).get(key)
    return known if isinstance(known, list) else []


def _files(folder: RunFolder, words: Words) -> Table:
    rows = tuple(
        (path.name, read_header(path).metadata.get("ss_steps", "–"), f"{path.stat().st_size / 1e6:.2f} MB")
        for path in sorted(folder.path.glob("*.safetensors"))
    )
    headers = (words("train.report_file"), words("train.step"), words("train.report_size"))
    return Table(words("train.report_files"), words("train.report_files_text", folder=folder.path.name), headers, rows)


def _options(folder: RunFolder, options: TrainOptions, words: Words) -> Table:
    """Return every option with its value; those that a person chose away from the recipe are marked."""
    known = _data(folder).get("model")
    facts = ModelFacts(known["native_side"], known["prediction_type"]) if known else None
    usual = usual_values(options.kind, model=facts)
    plain = with_names_only(options).to_dict()
    rows = []
    for one in fields(options):
        value = getattr(options, one.name)
        changed = one.name in usual and value != usual[one.name]
        rows.append((one.name, _shown(plain[one.name]), words("train.changed_mark") if changed else ""))
    headers = (words("train.report_option"), words("train.report_value"), "")
    return Table(words("train.report_options"), words("train.report_options_text"), headers, tuple(rows))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return " | ".join(value) if isinstance(value, list) else str(value)


def _elsewhere(folder: RunFolder, options: TrainOptions, total: int, words: Words) -> Commands:
    """Return the command of sd-scripts that comes nearest, and what it leaves out."""
    family = (_data(folder).get("model") or {}).get("family", first().name)
    told = sd_scripts_command(with_names_only(options), family=family, steps=total)
    notes = [sentence_in_words(note, words.language) for note in told.notes]
    text = words("train.report_sd_scripts_text")
    return Commands(words("train.report_sd_scripts"), " ".join([text, " · ".join(notes)]).strip(), (told.text,))


def _commands(folder: RunFolder, options: TrainOptions) -> tuple[str, ...]:
    place = folder.path.name
    again = f'{command()} train "{place}/{folder.options_path.name}" --name "{options.name}_2"'
    made, presets = folder.own_loras(), PresetFile.shipped()
    name = made[-1].stem if made else options.name
    use = f'{command()} generate --prompt "{as_words(options.trigger)} <lora:{name}:1>" --lora-dir "{place}"'
    hand_on = []
    base = (_data(folder).get("model") or {}).get("name", "MODEL")
    for one in every_offer(options, made[-1], presets) if made else ():
        flags = f"--dim {one.dim}" if one.dim else f"--blocks {one.blocks}"
        if needs_model(one, made[-1], presets):
            flags += f' --base "{base}.safetensors"'
        hand_on.append(f'{command()} finish "{place}" {flags}')
    return again, use, *hand_on
