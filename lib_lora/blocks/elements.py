"""Element rules (`lbwe=`): ratios for parts of blocks, such as the attention inside IN05 to OUT05."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from lib_lora.architectures.registry import architectures
from lib_lora.blocks.block_list import parse_blocks
from lib_lora.blocks.errors import LineProblem, PositionError, shorten, suggest
from lib_lora.blocks.store import read_text, write_text
from lib_lora.blocks.tokens import read_number
from lib_lora.blocks.typed import half_width, without_invisible
from lib_lora.errors import InputError
from lib_lora.sentences import say

_RULE_FORM = say("Write BLOCKS:ELEMENTS:RATIO, like IN05-OUT05:attn:0.5.")
_FORBIDDEN = re.compile(r"[,<>=]")
BESIDE = "elempresets.txt"
"""What a file of element presets is called; it lies beside `lbwpresets.txt`, as in the extension that came before."""
_NAMED = 12
"""How many names a cure tells."""


@dataclass(frozen=True)
class ElementRule:
    """One rule: in these blocks (None = everywhere) modules with these words in their key get this ratio."""

    blocks: frozenset[str] | None
    words: tuple[str, ...]
    without_words: bool
    ratio: float

    def covers(self, block: str, key: str) -> bool:
        """Tell whether the rule holds for a module key of a block; words match anywhere in the key, in any case."""
        if self.blocks is not None and block not in self.blocks:
            return False
        if not self.words:
            return True
        fold = key.casefold()
        return any(word in fold for word in self.words) != self.without_words


@dataclass(frozen=True)
class ElementRules:
    """A named list of rules; the last rule that holds for a module sets its ratio in place of the block weight."""

    name: str
    rules: tuple[ElementRule, ...]
    line: int = 0

    def ratio(self, block: str, key: str) -> float | None:
        """Return the ratio of a module by block name and key, or None when no rule holds for it."""
        found = None
        for rule in self.rules:
            if rule.covers(block, key):
                found = rule.ratio
        return found


@dataclass(frozen=True)
class ElementFile:
    """An element text with its presets in order and what is wrong with it, by line."""

    text: str
    presets: tuple[ElementRules, ...]
    problems: tuple[LineProblem, ...]

    @classmethod
    def parse(cls, text: str) -> ElementFile:
        """Read an element text; never raises, a preset with a broken line is left out and named in `problems`."""
        presets: list[ElementRules] = []
        problems: list[LineProblem] = []
        for paragraph in _paragraphs(text):
            read = _read_preset(paragraph)
            if not isinstance(read, ElementRules):
                problems += read
                continue
            before = [preset for preset in presets if preset.name == read.name]
            if before:
                what = say("{name} is already on line {line}; this one counts", name=read.name, line=before[-1].line)
                problems.append(LineProblem(read.line, what, say("Remove or rename one of them."), fatal=False))
            presets.append(read)
        return cls(text, tuple(presets), tuple(problems))

    @classmethod
    def load(cls, path: Path) -> ElementFile:
        """Read an element file.

        Raises:
            FileError: missing, unreadable or not UTF-8.
        """
        return cls.parse(read_text(Path(path)))

    @classmethod
    def beside(cls, path: Path) -> ElementFile:
        """Return the element presets that are known where a preset file lies: the shipped ones and those beside it.

        A name of the file beside it comes before a shipped one.

        Raises:
            FileError: it is unreadable or not UTF-8.
        """
        own, shipped = Path(path).with_name(BESIDE), cls.shipped()
        if not own.is_file():
            return shipped
        read = cls.load(own)
        return replace(read, presets=(*shipped.presets, *read.presets))

    @classmethod
    @lru_cache(maxsize=1)
    def shipped(cls) -> ElementFile:
        """Return the element presets that come with the project."""
        return cls.load(Path(__file__).with_name("elements.txt"))

    @property
    def broken(self) -> tuple[LineProblem, ...]:
        """The lines whose presets are left out."""
        return tuple(problem for problem in self.problems if problem.fatal)

    def save(self, path: Path, *, allow_empty: bool = False, backups: int = 3) -> None:
        """Write the text atomically, with rotating backups.

        Raises:
            InputError: a line is broken, or there is no preset at all and `allow_empty` is not set.
            FileError: the disk refuses; the old file is then still whole.
        """
        if self.broken or (not self.presets and not allow_empty):
            reasons = [problem.sentence for problem in self.broken] or [say("there is no preset left")]
            raise InputError("The element presets were not saved: {reasons: }", reasons=reasons, where=str(path))
        write_text(Path(path), self.text, backups=backups)

    def resolve(self, name: str) -> ElementRules:
        """Return the rules of a name: exact spelling before any case, the last one wins.

        Raises:
            InputError: no such name, or its lines are broken; near names are listed.
        """
        found = [preset for preset in self.presets if preset.name == name]
        found = found or [preset for preset in self.presets if preset.name.casefold() == name.casefold()]
        if not found:
            known = [preset.name for preset in self.presets]
            others = say("Known are {names}.", names=known[:_NAMED])
            if self.broken:
                others = say("{file} has broken lines: {reasons: }", file=BESIDE, reasons=self.broken)
            cure = suggest(name, known) or others
            raise InputError("There is no element preset “{name}”", name=shorten(name), cure=cure)
        return found[-1]


def _paragraphs(text: str) -> Iterator[list[tuple[int, str]]]:
    """Yield the runs of lines between blank lines as (line number, content); comment lines do not separate."""
    paragraph: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = without_invisible(line.partition("#")[0]).strip()
        if content:
            paragraph.append((number, content))
        elif not line.strip() and paragraph:
            yield paragraph
            paragraph = []
    if paragraph:
        yield paragraph


def _read_preset(paragraph: list[tuple[int, str]]) -> ElementRules | list[LineProblem]:
    first, content = paragraph[0]
    name, colon, rest = content.partition(":" if ":" in content else "：")
    name = name.strip()
    if not colon or not name or _FORBIDDEN.search(name):
        return [
            LineProblem(
                first,
                say("“{text}” does not begin with a name", text=shorten(content)),
                say("Put NAME: first. Write BLOCKS:ELEMENTS:RATIO, like IN05-OUT05:attn:0.5."),
            )
        ]
    rules: list[ElementRule] = []
    problems: list[LineProblem] = []
    for number, line in [(first, rest), *paragraph[1:]]:
        # a comma at the end of a line continues on the next one
        parts = [part.strip() for part in half_width(line).strip().removesuffix(",").split(",")]
        if number == first and parts == [""]:
            continue
        for part in parts:
            read = _read_rule(part, number)
            if isinstance(read, ElementRule):
                rules.append(read)
            else:
                problems.append(read)
    if not rules and not problems:
        problems.append(LineProblem(first, say("{name} has no rule", name=name), _RULE_FORM))
    return problems or ElementRules(name, tuple(rules), first)


def read_rule(text: str) -> ElementRule:
    """Read one rule by itself.

    Raises:
        InputError: it has not three fields, or one of them cannot be read.
    """
    found = _read_rule(half_width(without_invisible(text)).strip(), 1)
    if isinstance(found, ElementRule):
        return found
    raise InputError(found.what, where=shorten(text), cure=found.cure)


def _read_rule(text: str, line: int) -> ElementRule | LineProblem:
    fields = [field.strip() for field in text.split(":")]
    if len(fields) != 3:
        apart = say("Write BLOCKS:ELEMENTS:RATIO, like IN05-OUT05:attn:0.5. Leave a blank line between presets.")
        cure = apart if len(fields) == 4 else _RULE_FORM
        return LineProblem(
            line, say("“{text}” has {n} colons, a rule has 2", text=shorten(text), n=len(fields) - 1), cure
        )
    ratio = read_number(fields[2])
    if ratio is None or not math.isfinite(ratio):
        return LineProblem(line, say("The ratio “{text}” is not a finite number", text=shorten(fields[2])), _RULE_FORM)
    words = fields[1].casefold().split()
    without = bool(words) and words[0] == "not"
    if without and len(words) == 1:
        return LineProblem(line, say("NOT stands alone"), say("Name at least one element after NOT."))
    try:
        blocks = frozenset(_blocks(fields[0])) if fields[0] else None
    except PositionError as error:
        return LineProblem(line, error.what, error.cure or say("Parts of a key belong in the second field."))
    return ElementRule(blocks, tuple(words[1:] if without else words), without, ratio)


def _blocks(text: str) -> tuple[str, ...]:
    """Read block IDs by the names of the first family that has them all: SD1's 26 include SDXL's."""
    wrong: list[PositionError] = []
    for one in architectures():
        if one.layouts:
            try:
                return parse_blocks(text, one.layouts[0])
            except PositionError as error:
                wrong.append(error)
    raise wrong[0]  # most users mean Stable Diffusion's names
