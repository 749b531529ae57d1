"""Find a LoRA's block weights: from options to questions, the search, the measurement, the pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.analysis.fit.fit import calls_of, find_weights, settings_of
from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.fit.spec import FitResult, FitSpec, State
from lib_lora.analysis.tiers.prediction_tier import WALK
from lib_lora.atomic import make_folder, replace_file
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.weights import BlockWeights
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import GenerateRequest, Host, is_small
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import say
from lib_lora.services.answers import plain
from lib_lora.services.block_tiers import CHUNK, CHUNK_SMALL, lent
from lib_lora.services.files import file_of
from lib_lora.services.fit_measured import calls_to_measure, measured, ways_of
from lib_lora.services.fit_pictures import before_after
from lib_lora.services.fit_questions import ask, counts
from lib_lora.services.fitted import Fitted, told
from lib_lora.services.jobs.job import Job
from lib_lora.services.outputs import new_folder
from lib_lora.services.speed import Speed

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

KIND = "fit"


def submit(atelier: Atelier, options: FitOptions, language: str = "en") -> Job:
    """Queue a search; what it found lies in a folder of the outputs, and the same order goes on where it was stopped.

    ``language``: of the labels in the picture.
    """

    def work(job: Job) -> Fitted:
        folder = atelier.folders.outputs / "fit"
        make_folder(folder)
        name = hashlib.sha256(json.dumps(asdict(options)).encode()).hexdigest()[:16]
        record = folder / f"{name}.rounds"
        found = fit_weights(options, atelier.host, job, record=record)
        record.unlink(missing_ok=True)
        place = new_folder(folder)
        found = replace(found, table=save(found, place / "weights.json"))
        job.show(found)
        return draw(found, options, atelier.host, place / "before_after.png", job, language=language)

    return atelier.queue.submit(KIND, options.lora, work, about=options.lora)


def allowed(options: FitOptions, atelier: Atelier) -> FitOptions:
    """Return an order that came through a page or over HTTP, its folders absolute.

    Raises:
        InputError: a folder is none that this server may use, or the LoRA is not in the list.
    """
    file_of(atelier, options.lora)

    def folder(name: str) -> str:
        value = getattr(options, name)
        return str(atelier.folders.allowed(value, where=name)) if value else ""

    return replace(options, images=folder("images"), masks=folder("masks"))


def predictions(options: FitOptions, host: Host, *, blocks: int) -> int:
    """Return about how many samples the model predicts for an order, its pictures before and after left out."""
    subject, neutral = counts(options, host.model)
    held = round(options.holdout * (subject + neutral))
    walked = neutral if options.images else subject + neutral
    learned = (subject + neutral - held) * options.levels * settings_of(options.rounds, blocks, cut=options.timing)
    return walked * WALK * options.levels + learned + held * options.levels * ways_of(host.presets)


def seconds_for(calls: int, atelier: Atelier) -> float | None:
    """Return how long so many predictions take, by how fast pictures were drawn; None where none was measured."""
    model = atelier.host.model
    half = -(-calls // 2)  # a step of a picture asks twice
    return Speed.of(atelier).seconds(model.name, GenerateRequest("", steps=1), side=model.native_side, pictures=half)


def save(found: Fitted, path: Path) -> Path:
    """Write what was found as JSON."""
    text = json.dumps(plain(told(found)), ensure_ascii=False, allow_nan=False, indent=1)
    return replace_file(path, text.encode(), what=say("The result"))


def draw(
    found: Fitted, options: FitOptions, host: Host, path: Path, progress: Progress, *, language: str = "en"
) -> Fitted:
    """Return what was found with its pictures before and after, drawn into ``path``; without seeds there are none."""
    if not options.seeds:
        return found
    prompts = options.prompts or found.prompts
    picture, notes = before_after(found, options, prompts, host, path, progress, language=language)
    return replace(found, picture=picture, notes=(*found.notes, *notes))


def fit_weights(options: FitOptions, host: Host, progress: Progress, *, record: Path | None = None) -> Fitted:
    """Find the weights, and measure them on what was held out.

    Args:
        options: what is wanted.
        host: whose model is asked.
        progress: is told how far it is, and may stop it.
        record: a file that keeps the rounds; the same order goes on from there.

    Raises:
        InputError: the LoRA does not fit, has not learned the pictures, or nothing says what its trigger is.
        FileError: a picture cannot be read. StoppedError: somebody asked to stop; the rounds that are done are kept.
    """
    lora = host.read_lora(options.lora)
    with lent(host, options.lora):
        model = host.model
        asked = ask(options, model, lora, progress)
        spec = FitSpec(
            options.keep,
            options.low,
            options.high,
            options.rounds,
            options.halves,
            options.clip_skip,
            CHUNK_SMALL if is_small(model.native_side) else CHUNK,
            options.levels if options.timing else 1,
        )
        mark = _mark(options, host, lora)
        state, lost = _kept(record, mark)
        search, measure = calls_of(model, lora, *asked.learned, spec), calls_to_measure(asked, host.presets)
        first = SubProgress(progress, 0, search, search + measure)
        result = find_weights(
            model, lora, *asked.learned, spec, state=state, keep=_keeper(record, mark), progress=first
        )
        rest = SubProgress(progress, search, measure, search + measure, say("measuring on what was held out"))
        ways = measured(model, lora, asked, result, host.presets, spec, rest)
    layout = full_layout(model.family)
    given = {block: value for block, value in result.weights.items() if block in layout.names}
    vector = BlockWeights.uniform(layout, 0.0).replaced(given)
    return Fitted(options.lora, result, vector, ways, (*asked.notes, *lost, *_timed(result)), asked.prompts)


def _timed(result: FitResult) -> tuple[str, ...]:
    """Return what there is to say of the steps in which the LoRA acts."""
    if result.window.is_whole:
        return ()
    start, stop = (100 * share for share in (result.window.start, result.window.stop))
    return (
        say(
            "The LoRA acts from {start:.0f} % to {stop:.0f} % of the steps: the tag says so; a preset and a baked file "
            "cannot.",
            start=start,
            stop=stop,
        ),
    )


def _mark(options: FitOptions, host: Host, lora: LoraFile) -> str:
    """Return what tells this order from another one: options, model, and the file as it is."""
    status = lora.path.stat() if lora.path is not None else None
    file = (str(lora.path), status.st_size, status.st_mtime_ns) if status is not None else ("", 0, 0)
    return hashlib.sha256(json.dumps([asdict(options), host.model.name, file]).encode()).hexdigest()


def _kept(record: Path | None, mark: str) -> tuple[State, tuple[str, ...]]:
    """Return the rounds that an earlier run of the same order kept, none of another order, and what is to be said."""
    if record is None or not record.is_file():
        return State(), ()
    try:
        row: Mapping[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if row["order"] != mark:
            return State(), ()
        steps = tuple((int(first), int(last)) for first, last in row["windows"])
        return State(tuple(dict(point) for point in row["points"]), steps), ()
    except (OSError, ValueError, KeyError, TypeError):
        return State(), (say("The rounds that an earlier run kept cannot be read: the search began anew."),)


def _keeper(record: Path | None, mark: str) -> Callable[[State], None]:
    def keep(state: State) -> None:
        if record is not None:
            text = json.dumps({"order": mark, **asdict(state)})
            replace_file(record, text.encode(), what=say("The state of the search"))

    return keep
