"""Captions by a tagger that the user has: tags for each picture, put where the person wants them, with a way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.data.files import Problem
from lib_lora.data.images import load_picture
from lib_lora.data.tag_lines import split_tags, trained_line, with_tag
from lib_lora.data.tagger import Tagger, TagRules, plain
from lib_lora.errors import FileError
from lib_lora.options import REQUIRED, option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say
from lib_lora.services.captions import Captions, Changed, Foreseen

KIND = "tagger"

PLACES: Mapping[str, Callable[[str, str], str]] = {
    "missing": lambda text, tags: text if text.strip() else tags,
    "append": lambda text, tags: with_tag(text, _new(text, tags)),
    "prepend": lambda text, tags: with_tag(text, _new(text, tags), first=True),
    "overwrite": lambda text, tags: tags or text,
}
"""What becomes of a caption that is there; a picture without any tag keeps what it has."""


@dataclass(frozen=True)
class TaggerOptions:
    """How a tagger tags; making one checks it."""

    tagger: str = option(
        REQUIRED,
        "Tagger folder",
        "Folder with a WD14 tagger's model (.onnx) and its selected_tags.csv, which you have on this machine.",
        form="DIR",
    )
    general: float = option(
        0.35,
        "Least for tags",
        "Tags that the tagger is surer of are taken; lower gives more.",
        low=0,
        high=1,
        step=0.01,
    )
    character: float = option(
        0.85, "Least for characters", "The same for names of characters; 1 takes none.", low=0, high=1, step=0.01
    )
    exclude: str = option(
        "",
        "Never these",
        "Tags with commas between, which are left out; *background leaves out every background.",
        form="A,B",
    )
    existing: str = option(
        "missing",
        "Captions that are there",
        "missing leaves them alone, append and prepend add to them, overwrite replaces them.",
        choices=tuple(PLACES),
    )
    underscores: bool = option(
        False, "Keep underscores", "long_hair instead of long hair; faces such as >_< keep theirs in any case."
    )
    preview: bool = option(False, "", "Say what would change, the first few before and after, and change nothing.")

    def __post_init__(self) -> None:
        settle(self)

    @property
    def rules(self) -> TagRules:
        """Which tags are taken, and how they are written."""
        return TagRules(self.general, self.character, self.underscores, self.exclude)


def tag_pictures(
    captions: Captions,
    pictures: Sequence[Path],
    place: Path,
    options: TaggerOptions,
    progress: Progress = QUIET,
    *,
    first: int = 6,
) -> Changed | Foreseen:
    """Tag pictures as one change that can be taken back, or say what would become of the first ones.

    Args:
        captions: of the folder.
        pictures: that are meant.
        place: of the tagger, where the server may read it.
        options: how; with ``preview`` nothing is written.
        progress: told of every picture; a stop leaves all captions as they are.
            One that cannot be read is a problem of the result, and the others are tagged.
        first: how many a preview looks at.

    Raises:
        AtelierError: onnxruntime is missing, or the tagger cannot be used.
        StoppedError: somebody asked to stop.
    """
    tagger = Tagger.open(place)
    if options.existing == "missing":
        pictures = captions.without(pictures)
    meant = pictures[:first] if options.preview else pictures
    changes: dict[Path, Callable[[str], str]] = {}
    problems: list[Problem] = []
    for done, picture in enumerate(meant):
        try:
            tags = ", ".join(tag for tag, _ in tagger.tags(load_picture(picture), options.rules))
            changes[picture] = _change(PLACES[options.existing], tags)
        except FileError as error:
            problems.append(Problem(picture, error.what, error.cure))
        progress.passed(done + 1, len(meant), say("tagging pictures"))
    made: Changed | Foreseen
    made = captions.foresee_each(changes, first=first) if options.preview else captions.change_each(changes)
    return replace(made, problems=(*problems, *made.problems))


def suggest(picture: Path, place: Path, options: TaggerOptions) -> list[tuple[str, float]]:
    """Return the tags of one picture with their probabilities, the surest first; nothing is written.

    Raises:
        AtelierError: onnxruntime is missing, the tagger cannot be used, or the picture cannot be read.
    """
    return Tagger.open(place).tags(load_picture(picture), options.rules)


def _change(act: Callable[[str, str], str], tags: str) -> Callable[[str], str]:
    return lambda text: act(text, tags)


def _new(text: str, tags: str) -> str:
    """Return the tags that the trained line of a caption does not have yet, however they are written there."""
    has = {plain(tag) for tag in split_tags(trained_line(text))}
    return ", ".join(tag for tag in split_tags(tags) if plain(tag) not in has)
