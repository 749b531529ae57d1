"""Pictures come in: a folder is looked at, dropped files are taken into a folder of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_lora.atomic import replace_file
from lib_lora.data.caption_files import CaptionFiles
from lib_lora.data.captions import MAX_BYTES, read_caption
from lib_lora.data.files import CAPTION_SUFFIXES, Problem
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.formats.names import proposed_stem
from lib_lora.i18n.words import Words
from lib_lora.progress import QUIET
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import chosen_by
from lib_lora.services.given_data import check_dataset_file, is_dataset_file
from lib_lora.services.jobs.job import FAILED, STOPPED, Job
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.picture_folder import KIND, Found, Previews, look
from lib_lora.services.run_plan import LOOKS, free_name, measure, sized
from lib_lora.services.uploads import take_picture
from lib_lora.train.encoding import mask_folder
from lib_lora.train.estimate import plan_run
from lib_lora.train.options import TrainOptions
from lib_lora.train.recipes import KINDS
from lib_lora.ui import compat
from lib_lora.ui.messages import error_html, errors_html, follow, note_html, progress_html
from lib_lora.ui.train.inline_actions import act_button
from lib_lora.ui.train.look import problems_html, summary_html, tags_html
from lib_lora.ui.train.options import from_widget

KNOWN = 200
"""Visitors of whom it is known that they asked for a folder, the newest."""


class Intake:
    """Handlers of the first step; they return (message, found, summary, gallery, tags)."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words
        self._previews = Previews()
        self._acted: deque[str] = deque(maxlen=KNOWN)

    def look(
        self, folder: str, kind: str, resolution: Any, visitor: str = "", looks: Sequence[Any] = ()
    ) -> Iterator[tuple]:
        """Look at a folder as a job; yield its progress, then what was found. ``looks``: widgets' values of `LOOKS`."""
        self._acted.append(visitor)
        try:
            if not (folder or "").strip():
                raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
            place = self._atelier.folders.allowed(folder.strip().strip("\"'"), where=folder)
            if is_dataset_file(place):
                check_dataset_file(self._atelier.folders, place)
        except AtelierError as error:
            yield self._nothing(error_html(error, self._words))
            return
        options = self._sized(place, kind, resolution, looks)
        if (yield from self._looked(place, options)):
            yield from self._measured(options)

    def resume(self, visitor: str = "") -> Iterator[tuple]:
        """Look at the folder of the last visit when the page is opened; one that is gone is said, and nothing more.

        Whoever asks for a folder meanwhile sees that one: this gives way.
        """
        settings, same = self._atelier.settings, tuple(compat.update() for _ in range(5))
        folder, kind = settings.get("train.folder"), settings.get("train.kind")
        given = folder.strip() if isinstance(folder, str) else ""
        try:
            place = self._atelier.folders.allowed(given) if given else None
            if place is not None and place.is_file():
                check_dataset_file(self._atelier.folders, place)
        except AtelierError:
            place = None  # remembered by a server that listened to nobody else
        if place is None:
            yield same
        elif not place.exists():
            yield self._nothing(note_html(self._words("train.folder_gone", folder=place)))
        else:
            usual = kind if kind in KINDS else "character"
            for shown in self._looked(place, sized(self._atelier.host.model, place, usual, 0)):
                if visitor and visitor in self._acted:
                    yield same
                    return
                yield shown

    def _looked(self, place: Path, options: TrainOptions) -> Generator[tuple, None, bool]:
        """Look at a folder as a job; yield its progress, then what was found; return whether pictures were."""
        job = self._atelier.files.submit(KIND, place.name, lambda job: self._look(place, options, job))
        for now in follow(job):
            if not now.ended:
                same = compat.update()
                yield self._progress(now, self._atelier.files), same, same, same, same
        if job.state in (FAILED, STOPPED):
            stopped = note_html(self._words("train.look_stopped"))
            yield self._nothing(error_html(job.error, self._words) if job.error else stopped)
            return False
        *result, problems = job.result
        yield (problems_html(problems, (), self._words), *self.shown(*result))
        return True

    def again(self, found: Found | None, kind: str, resolution: Any, *looks: Any) -> tuple:
        """Return (found, summary, gallery, tags) after captions changed; previews are kept, so it is quick."""
        if found is None:
            return None, "", compat.update(), ""
        options = self._sized(found.folder, kind, resolution, looks)
        job = Job(KIND, found.folder.name, lambda _: None)
        return self.shown(*self._look(found.folder, options, job, only=found.only)[:3])

    def filtered(self, found: Found | None, only: str, kind: str, resolution: Any, *looks: Any) -> tuple:
        """Return (message, found, gallery, tags) with the captions in view that a filter takes.

        One that is none is said, and what was in view stays.
        """
        only, same = (only or "").strip(), compat.update()
        if found is None or only == found.only:
            return "", same, same, same
        try:
            chosen_by(found.captions, only)
        except AtelierError as error:
            return error_html(error, self._words), same, same, same
        now = replace(found, only=only)
        return "", now, self._gallery(now, kind, resolution, looks), tags_html(now, self._words)

    def drawn(self, found: Found | None, kind: str, resolution: Any, *looks: Any) -> Any:
        """Return the gallery as masks and background are now; a folder of masks that is none changes nothing."""
        if found is None or (looks and looks[0] and not self._looks(looks)["masks"]):
            return compat.update()
        return self._gallery(found, kind, resolution, looks)

    def _gallery(self, found: Found, kind: str, resolution: Any, looks: Sequence[Any]) -> list[tuple]:
        options = self._sized(found.folder, kind, resolution, looks)
        return self._previews.gallery(found, self._atelier.host.model, options, QUIET)

    def shown(self, found: Found, gallery: list[tuple], buckets: int) -> tuple:
        """Return (found, summary, gallery, tags) as the widgets take them."""
        return found, summary_html(found, buckets, self._words), gallery, tags_html(found, self._words)

    def take(self, files: Any, folder: str, trigger: str) -> tuple[str, str, Any]:
        """Take dropped files into a folder under the pictures; return (message, folder, emptied file widget)."""
        try:
            place = self._place(folder, trigger)
            taken, said = self._take_all(compat.file_paths(files), place)
        except AtelierError as error:
            return error_html(error, self._words), folder, compat.update(value=None)
        note = note_html(self._words("train.taken", n=taken, folder=place.name), kind="good") if taken else ""
        return note + errors_html(said, self._words), str(place), compat.update(value=None)

    def _look(
        self, place: Path, options: TrainOptions, job: Job, *, only: str = ""
    ) -> tuple[Found, list[tuple], int, list[Problem]]:
        model = self._atelier.host.model
        problems: list[Problem] = []
        found = look(place, model, job, only=only)
        gallery = self._previews.gallery(found, model, options, job, problems)
        return found, gallery, len(plan_run(model, options, found.scan).buckets), problems

    def _sized(self, place: Path, kind: str, resolution: Any, looks: Sequence[Any] = ()) -> TrainOptions:
        return sized(self._atelier.host.model, place, kind, _side(resolution), self._looks(looks))

    def _looks(self, raw: Sequence[Any]) -> dict[str, Any]:
        """Return what the widgets of `LOOKS` say; a folder of masks that is none is left out, for the plan says so."""
        looks = {name: from_widget(name, value) for name, value in zip(LOOKS, raw, strict=False)}
        if looks.get("masks"):
            try:
                folder = str(self._atelier.folders.allowed(looks["masks"], where="masks"))
                mask_folder(folder)
            except (AtelierError, OSError):
                folder = ""
            looks["masks"] = folder
        return looks

    def _measured(self, options: TrainOptions) -> Iterator[tuple]:
        """Measure a few steps in passing, where nothing is known of this machine and nobody waits for the model."""
        atelier = self._atelier
        idle = all(job.ended for job in atelier.queue.jobs())
        if not idle or atelier.trainings.paces.get(atelier.host.model, options) is not None:
            return
        yield from self._followed(options)

    def measured(self, kind: str, resolution: Any) -> Iterator[tuple]:
        """Measure a few steps, because somebody asked for the time; yield the progress, and what went wrong."""
        atelier = self._atelier
        try:
            options = sized(atelier.host.model, atelier.folders.pictures, kind or "character", _side(resolution))
        except AtelierError as error:
            yield (error_html(error, self._words), *(compat.update() for _ in range(4)))
            return
        yield from self._followed(options)

    def _followed(self, options: TrainOptions) -> Iterator[tuple]:
        for now in follow(measure(self._atelier, options, self._words("train.measuring"))):
            yield (self._progress(now, self._atelier.queue), *(compat.update() for _ in range(4)))

    def _progress(self, job: Job, queue: JobQueue) -> str:
        """Return a job's progress with a button that stops it; how it ended where it has."""
        stop = "" if job.ended else act_button(f"halt {job.number}", self._words("train.look_stop"))
        return progress_html(job, queue, self._words) + stop

    def _place(self, folder: str, trigger: str) -> Path:
        """Return the folder for dropped files: the one that is open, if it is one of ours, else a new one."""
        pictures = self._atelier.folders.pictures
        if (folder or "").strip():
            given = self._atelier.folders.allowed(folder.strip(), where=folder)
            if given.is_dir() and given != pictures and given.is_relative_to(pictures):
                return given
        number, stem = 1, free_name(self._atelier, trigger or "pictures").rpartition("_v")[0]
        while (pictures / (stem if number == 1 else f"{stem}_{number}")).exists():
            number += 1
        place = pictures / (stem if number == 1 else f"{stem}_{number}")
        place.mkdir(parents=True)
        return place

    def _take_all(self, paths: list[Path], place: Path) -> tuple[int, list[AtelierError]]:
        taken, said = 0, []
        names: dict[str, str] = {}
        for path in sorted(paths, key=_is_caption):  # a caption follows its picture, whatever that is called here
            try:
                if _is_caption(path):
                    _take_caption(path, place, names.get(path.stem) or proposed_stem([path.stem]))
                else:
                    names[path.stem] = take_picture(self._atelier, path, place).stem
                    taken += 1
            except AtelierError as error:
                said.append(error)
        if not any(place.iterdir()):
            place.rmdir()
        return taken, said

    def _nothing(self, message: str) -> tuple:
        return message, None, "", [], ""


def _is_caption(path: Path) -> bool:
    return path.suffix.lower() in CAPTION_SUFFIXES


def _take_caption(path: Path, place: Path, stem: str) -> None:
    """Take a dropped caption under the name that its picture got; one that is there is not replaced.

    Raises:
        FileError: it is no caption, or there is one of this name.
    """
    target = place / f"{stem}{path.suffix.lower()}"
    if path.stat().st_size > MAX_BYTES:
        raise FileError("The file is too long to be a caption (over 1 MB)", where=path.name, cure="Shorten it.")
    if CaptionFiles().find(target) is not None:
        raise FileError("The file exists already", where=path.name, cure="Edit the caption that is there.")
    read_caption(path)
    replace_file(target, path.read_bytes(), what=say("The caption"))  # byte for byte: its encoding may be a guess


def _side(resolution: Any) -> int:
    """Return the training size of a field; 0, the model's own, where it is no number."""
    return int(compat.number(resolution, 0))
