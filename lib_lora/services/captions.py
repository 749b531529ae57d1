"""Captions of a folder of pictures: by the rule for names, a tag added, removed or replaced, one written, undo."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib_lora.atomic import back_up, replace_file
from lib_lora.data.caption_files import USUAL, Endings, captions_of
from lib_lora.data.caption_filter import caption_filter
from lib_lora.data.caption_words import check_words
from lib_lora.data.captions import read_caption
from lib_lora.data.dataset import FolderScan
from lib_lora.data.edit_captions import CaptionChange, CaptionHistory, plan_each, plan_rule_changes
from lib_lora.data.files import Problem
from lib_lora.data.folder import scan
from lib_lora.data.name_rules import FILE, name_rules, read_name_rules, rules_of
from lib_lora.data.tag_lines import split_tags, with_tag, with_tag_replaced, without_tag
from lib_lora.data.tags import CaptionReport, TagLists, write_captions
from lib_lora.errors import AtelierError, InputError
from lib_lora.options import REQUIRED, option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

Change = Callable[[str], str]
"""From a caption to what it becomes."""
RULES_LIMIT = 2**16
"""Bytes of a file of rules; the usual one has two thousand."""
FORESEEN = 6
"""Captions that are shown before and after a change that is not done yet."""

_ESCAPED_SIGN = re.compile(r"(?<!\\)(?:\\\\)*\\[abfnrtv0]")
"""A line end or another control character, as a replacement of a regular expression writes it."""

ACTS: Mapping[str, Callable[[str, str, str], str]] = {
    "add": lambda text, tag, by: with_tag(text, tag),
    "remove": lambda text, tag, by: without_tag(text, tag),
    "replace": with_tag_replaced,
    "regex": lambda text, tag, by: _replaced(text, tag, by),
}


@dataclass(frozen=True)
class TagChange:
    """One change of a tag in all captions; making one checks it."""

    act: str = option(REQUIRED, "", "What is done with the tag in every caption.", choices=tuple(ACTS))
    tag: str = option(REQUIRED, "Tag", "One tag, or several with commas between.")
    by: str = option("", "Replace by", "What takes its place.")
    only: str = option(
        "",
        "Only where",
        "Captions that are meant, by their tags, e.g. hat and not (cat or dog); a * stands for any letters.",
    )
    preview: bool = option(False, "", "Say what would change, the first few before and after, and change nothing.")

    def __post_init__(self) -> None:
        settle(self)
        caption_filter(self.only)
        if self.act == "regex":
            _checked(self.tag, self.by)
            if _ESCAPED_SIGN.search(self.by):
                cure = say("Use commas.")
                raise InputError("A caption has one line, and these words have several", option="by", cure=cure)
            check_words(self.by, option="by")
            return
        for name in ("tag", "by") if self.act != "remove" else ():
            check_words(getattr(self, name), option=name)
        if not split_tags(self.tag):
            raise InputError("No tag was given", option="tag", cure="Type a tag.")
        if self.act == "replace" and not split_tags(self.by):
            raise InputError("The new tag is empty", option="by", cure="Type it, or remove the old one instead.")

    def __call__(self, text: str) -> str:
        """Return a caption with the change, where it is one of those that are meant."""
        return ACTS[self.act](text, self.tag, self.by) if caption_filter(self.only)(text) else text


def _checked(pattern: str, by: str) -> re.Pattern[str]:
    """Return a regular expression.

    Raises:
        InputError: it is none, it would change empty text everywhere, or its replacement does not fit it.
    """
    if not pattern:
        raise InputError("This expression fits everywhere", option="tag", cure="Write what must be there.")
    try:
        made = re.compile(pattern)
        made.sub(by, "")  # a group that the replacement names must be there
    except (re.error, IndexError) as error:
        cure = say(
            "As Python writes them: (\\w+) hair finds a word before hair, and \\1 is that word in the replacement."
        )
        raise InputError("This is no regular expression ({reason})", reason=error, option="tag", cure=cure) from error
    if made.match(""):
        raise InputError("This expression fits everywhere", option="tag", cure="Write what must be there.")
    return made


def _replaced(text: str, pattern: str, by: str) -> str:
    """Return a caption with what fits replaced in every line; tags that become empty go."""
    made = _checked(pattern, by)
    lines = [made.sub(by, line) if made.search(line) else line for line in text.split("\n")]
    if lines == text.split("\n"):
        return text
    return "\n".join(", ".join(split_tags(line)) for line in lines if split_tags(line))


@dataclass(frozen=True)
class NameRule:
    """How captions are written by the rules for file names; making one checks it."""

    trigger: str | None = option(None, "", "Trigger word; without it the folder's name tells it.", form="WORD")
    tags: str = option("", "", "Further tags for every picture of the folder.", form="A,B")
    expressions: str | None = option(None, "", "Tags of the face, in place of the rules' own.", form="A,B")
    backgrounds: str | None = option(None, "", "Background tags, in place of the rules' own.", form="A,B")
    rules: str = option("", "", "A file of rules, such as the data folder's tag_rules.txt.", form="FILE")
    overwrite: bool = option(False, "", "Replace captions that differ, too.")

    def __post_init__(self) -> None:
        settle(self)
        for name in ("trigger", "tags", "expressions", "backgrounds"):
            check_words(getattr(self, name) or "", option=name)


def rules_or_usual(data: Path) -> TagLists:
    """Return a data folder's rules for file names; the usual ones where they cannot be read, which their use says."""
    try:
        return name_rules(data)
    except AtelierError:
        return TagLists()


def kept_rules(data: Path) -> str:
    """Return the text of a data folder's rules for file names; the usual ones, written, where it has none yet.

    A file that cannot be right is returned as it is: to be mended.

    Raises:
        FileError: it cannot be read, or the disk refuses.
    """
    path = data / FILE
    if not path.is_file():
        name_rules(data)
    return f"{read_caption(path).text}\n"


def save_rules(data: Path, text: str) -> TagLists:
    """Save the rules for file names; the file before becomes a backup.

    Raises:
        InputError: a line is none, or the text is too long; nothing was written. FileError: the disk refuses.
    """
    path = data / FILE
    try:
        kept = text.encode()
    except UnicodeEncodeError as error:  # half a pair, as JSON can write it
        raise InputError("The text has a character that no file can hold", where=FILE, cure="Take it out.") from error
    if len(kept) > RULES_LIMIT:
        raise InputError("This text is too long", where=FILE, cure="Shorten it.")
    rules = rules_of(text, Path(FILE))
    if path.is_file() and path.read_bytes() != kept:
        back_up(path)
    replace_file(path, kept, what=say("The rules for file names"))
    return rules


def write_by_rule(folder: Path, options: NameRule) -> CaptionReport:
    """Write the captions that the names of a folder's pictures call for, and report every file."""
    rules = read_name_rules(Path(options.rules)) if options.rules else TagLists()
    if options.backgrounds is not None:
        rules = replace(rules, backgrounds=tuple(split_tags(options.backgrounds)))
    if options.expressions is not None:
        rules = replace(rules, expressions=tuple(split_tags(options.expressions)))
    return write_captions(
        folder,
        keyword=(options.trigger or "").strip() or None,
        folder_tags=split_tags(options.tags),
        lists=rules,
        overwrite=options.overwrite,
    )


@dataclass(frozen=True)
class Changed:
    """How many captions changed, and which could not."""

    count: int
    problems: Sequence[Problem] = field(default=())


@dataclass(frozen=True)
class Foreseen:
    """What a change would do: to how many captions, the first of them, and which could not be changed."""

    count: int
    first: Sequence[CaptionChange]
    problems: Sequence[Problem]


def read_folder(folder: Path, only: str = "", progress: Progress = QUIET) -> tuple[FolderScan, dict[Path, str]]:
    """Return what is in a folder of pictures, and the captions of its training pictures that a filter takes.

    Raises:
        InputError: the filter is none, it is no folder, or no picture in it can be used.
        StoppedError: somebody asked to stop.
    """
    caption_filter(only)
    found = scan(folder, progress=progress)
    captions = captions_of(picture.path for picture in found.train)
    return found, {path: captions[path] for path in chosen_by(captions, only)}


def chosen_by(captions: Mapping[Path, str], only: str) -> list[Path]:
    """Return the pictures whose captions a filter takes (`caption_filter`), in their order.

    Raises:
        InputError: the filter is none.
    """
    test = caption_filter(only)
    return [path for path, text in captions.items() if test(text)]


class Captions:
    """The captions of one folder. Every change can be taken back, whichever door it came through.

    Args:
        data: the data folder, in which the way back is kept.
        folder: of pictures.
        endings: of caption files, where a dataset file has others than the usual ones.
    """

    def __init__(self, data: Path, folder: Path, endings: Endings = USUAL) -> None:
        self._data, self._folder, self._endings = data, folder, endings
        self._history = CaptionHistory(data / "undo", folder)

    @property
    def depth(self) -> int:
        """How many changes can be taken back."""
        return self._history.depth

    def without(self, pictures: Sequence[Path]) -> list[Path]:
        """Return the pictures that have no caption."""
        return [path for path, text in captions_of(pictures, self._endings).items() if not text.strip()]

    def foresee(self, pictures: Sequence[Path], change: Change, *, first: int = FORESEEN) -> Foreseen:
        """Return what `change` would do; nothing is written."""
        return self.foresee_each(dict.fromkeys(pictures, change), first=first)

    def foresee_each(self, changes: Mapping[Path, Change], *, first: int = FORESEEN) -> Foreseen:
        """Return what a change of its own for each picture would do; nothing is written."""
        problems: list[Problem] = []
        planned = plan_each(changes, problems, self._endings)
        return Foreseen(len(planned), planned[:first], problems)

    def change(self, pictures: Sequence[Path], change: Change) -> Changed:
        """Change the captions of some pictures, such as with a `TagChange`."""
        return self.change_each(dict.fromkeys(pictures, change))

    def change_each(self, changes: Mapping[Path, Change]) -> Changed:
        """Change captions, each in its own way, as one step that undo takes back."""
        problems: list[Problem] = []
        return self._apply(plan_each(changes, problems, self._endings), problems)

    def follow_rule(self, pictures: Sequence[Path], trigger: str, also: Collection[str]) -> Changed:
        """Write the captions that the names of pictures call for, and those tags of ``also`` that no name says.

        Raises:
            InputError: no picture is named by the rule, the data folder's rules cannot be right, or they do not have
                what is ``also`` true.
        """
        check_words(trigger, option="trigger")
        problems: list[Problem] = []
        rules, endings = name_rules(self._data), self._endings
        changes = plan_rule_changes(
            pictures, self._folder, trigger.strip(), also, rules=rules, endings=endings, problems=problems
        )
        return self._apply(changes, problems)

    def undo(self) -> tuple[int, list[Path]]:
        """Take the newest change back; return how many files it touched, and those kept as they changed since.

        Raises:
            InputError: there is nothing to take back.
        """
        return self._history.undo()

    def _apply(self, changes: Sequence[CaptionChange], problems: list[Problem]) -> Changed:
        return Changed(self._history.apply(changes, problems), problems)
