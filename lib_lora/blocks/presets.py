"""Named block weights: one `NAME:values` per line, checked line by line, saved with a backup."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib_lora.architectures.registry import layouts_of_length
from lib_lora.blocks.elements import ElementFile
from lib_lora.blocks.errors import LineProblem, PositionError, shorten, suggest
from lib_lora.blocks.layouts import Layout, full_layout, layout_of
from lib_lora.blocks.store import read_text, write_text
from lib_lora.blocks.tokens import Token, parse_tokens, read_number, read_tokens
from lib_lora.blocks.typed import half_width, without_invisible
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

_ALL_BLOCKS = re.compile(r"(?:(none)|all\s*(.*))", re.IGNORECASE)
_ODD_NUMBER = re.compile(r"[+-]?(?:[\d.½¼¾]|(?:nan|inf|infinity)$)", re.IGNORECASE)
"""How a name begins that was meant as a number, unless a preset has nearly that name: 1/2, 100%, nan."""
_NUMBER_LIKE = re.compile(r"[+-]?(?:[\d.,/%½¼¾]+|nan|inf|infinity)", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[,:<>=#\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Preset:
    """One named vector as it was written: R, U and X stay open until it is used. `line` counts from 1, 0 = built in.

    `layout` is that of the first family with vectors of this length, until `lookup` says for which one it is wanted.
    """

    name: str
    layout: Layout
    tokens: tuple[Token, ...]
    line: int

    @property
    def families(self) -> tuple[str, ...]:
        """The families that have a layout of this length."""
        return tuple(layout.family for layout in layouts_of_length(len(self.tokens)))

    @property
    def written(self) -> str:
        """The values with commas between them, R, U and X as they are."""
        return ",".join(token.text for token in self.tokens)

    def for_family(self, family: str) -> Preset:
        """Return the preset in the layout that its length has for a family.

        Raises:
            InputError: several other families have vectors of this length, and it is not known which is meant.
        """
        return replace(self, layout=layout_of(len(self.tokens), family))

    def weights(self, *, x: float = 1.0, rng: random.Random | None = None) -> BlockWeights:
        """Return the numbers, in the layout in which the preset was written."""
        return BlockWeights.from_tokens(self.layout, self.tokens, x=x, rng=rng)


@dataclass(frozen=True)
class PresetFile:
    """A preset text with its presets in order and what is wrong with it. The text keeps comments and broken lines.

    ``elements`` are the element presets (`lbwe=`) that are known where its names are.
    """

    text: str
    presets: tuple[Preset, ...]
    problems: tuple[LineProblem, ...]
    elements: ElementFile = field(default_factory=ElementFile.shipped)

    @classmethod
    def parse(cls, text: str) -> PresetFile:
        """Read a preset text; never raises, broken lines become `problems`. `#` begins a comment anywhere in a line."""
        presets: list[Preset] = []
        problems: list[LineProblem] = []
        for number, line in enumerate(text.splitlines(), start=1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            read = _read_line(content, number)
            if isinstance(read, LineProblem):
                problems.append(read)
                continue
            problems += _duplicates(read, presets)
            presets.append(read)
        return cls(text, tuple(presets), tuple(problems))

    @classmethod
    def load(cls, path: Path) -> PresetFile:
        """Read a preset file, ours or one of the extension that came before, and the element presets beside it.

        Raises:
            FileError: missing, unreadable or not UTF-8. Broken lines do not raise, they are in `problems`.
        """
        return replace(cls.parse(read_text(Path(path))), elements=ElementFile.beside(path))

    @classmethod
    def shipped(cls) -> PresetFile:
        """Return the presets that come with the project."""
        return cls.load(Path(__file__).with_name("presets.txt"))

    def save(self, path: Path, *, allow_empty: bool = False, backups: int = 3) -> None:
        """Write the text atomically; the replaced contents stay as `.bak1` (newest) to `.bakN`.

        Raises:
            InputError: a line is broken, or there is no preset at all and `allow_empty` is not set.
            FileError: the disk refuses; the old file is then still whole.
        """
        broken = [problem for problem in self.problems if problem.fatal]
        if broken:
            raise InputError(
                "The presets were not saved: {reasons: }",
                reasons=broken,
                where=str(path),
                cure="Correct these lines.",
            )
        if not self.presets and not allow_empty:
            raise InputError(
                "The presets were not saved: {reasons: }",
                reasons=[say("there is no preset left")],
                where=str(path),
                cure="Write at least one preset.",
            )
        write_text(Path(path), self.text, backups=backups)

    def names(self) -> tuple[str, ...]:
        """Return every preset name once, in the order of the file."""
        return tuple(dict.fromkeys(preset.name for preset in self.presets))

    def has(self, name: str) -> bool:
        """Tell whether the file itself has a preset of this name, in any case."""
        return any(preset.name.casefold() == name.casefold() for preset in self.presets)

    def lookup(self, name: str, family: str) -> Preset:
        """Return the preset of a name: exact spelling before any case, the model's family before others, last wins.

        ALL, NONE and ALL with a number (ALL0.5) mean every block of the family, whatever length the file wrote, as
        long as the file gives all their blocks the same number (or does not list them at all).

        Raises:
            InputError: no such name (with near matches), or no layout for this family.
        """
        full = full_layout(family)
        named = [preset for preset in self.presets if preset.name == name]
        named = named or [preset for preset in self.presets if preset.name.casefold() == name.casefold()]
        chosen = next((preset for preset in reversed(named) if full.family in preset.families), None)
        chosen = chosen or (named[-1] if named else None)
        value = _all_blocks_value(name, chosen)
        if value is not None:
            line = chosen.line if chosen else 0
            return Preset(name, full, (Token("number", value),) * full.length, line)
        if chosen is None:
            raise InputError("There is no preset “{name}”", name=shorten(name), cure=self._cure(name.strip()))
        return chosen.for_family(family)

    def _cure(self, name: str) -> Sentence:
        """Return what to write in place of a name that the file does not have."""
        numbers = re.split(r"[\s;|/]+", name)
        if len(numbers) > 2 and all(read_number(number) is not None for number in numbers):
            return say("Put commas between the numbers: {numbers}.", numbers=shorten(",".join(numbers)))
        near = None if _NUMBER_LIKE.fullmatch(name) else suggest(name, (*self.names(), "ALL", "NONE"))
        if near is None and _ODD_NUMBER.match(name):
            return say(
                "Write a strength like 0.8; block weights are a preset's name, or one number for each block with "
                "commas between."
            )
        return near or say("Look at the list of presets, or add it.")

    def vector(self, text: str, family: str) -> Preset:
        """Return what a text means as block weights: a vector where it is written as one, else the preset of that name.

        What the file has as a name is that name; a number or what has commas, in full width too, is a vector otherwise.

        Raises:
            InputError: no such name, or no layout for this family. PositionError: a vector that cannot be right.
        """
        if self.has(text):
            return self.lookup(text, family)
        typed = half_width(text)
        if "," in typed or read_number(typed) is not None:
            layout, tokens = parse_tokens(typed, family)
            return Preset("", layout, tokens, line=0)
        return self.lookup(typed, family)

    def resolve(
        self, name: str, family: str, *, x: float = 1.0, rng: random.Random | None = None, fill: float = 0.0
    ) -> BlockWeights:
        """Return a preset's numbers for every block of a family; blocks without attention it does not name get `fill`.

        Raises:
            InputError: unknown name, or the preset's blocks do not fit the family.
        """
        return fit(self.lookup(name, family).weights(x=x, rng=rng), family, fill=fill)

    def with_preset(self, name: str, values: str) -> PresetFile:
        """Return a copy in which the preset of this exact name and family has these values; added when it is new."""
        families = {layout.family for layout in layouts_of_length(len(read_tokens(values)))}
        lines = self.text.splitlines()
        same = [p for p in self.presets if p.name == name and families.intersection(p.families)]
        if same:
            lines[same[-1].line - 1] = f"{name}:{values}"
        else:
            lines.append(f"{name}:{values}")
        return PresetFile.parse("\n".join(lines) + "\n")


def _read_line(content: str, number: int) -> Preset | LineProblem:
    content = without_invisible(content)
    name, colon, values = content.partition(":" if ":" in content else "：")
    name, values = name.strip(), half_width(values)
    if not colon:
        return LineProblem(
            number,
            say("“{text}” is no preset", text=shorten(content)),
            say("Write NAME:values, or # before a comment."),
        )
    bad = list(dict.fromkeys([*_FORBIDDEN.findall(name), *values.partition(":")[1]]))
    if bad:
        return LineProblem(
            number,
            say("The name of a preset cannot contain {characters: }", characters=bad),
            say("Use letters, digits, _ or -."),
        )
    if not name or read_number(half_width(name)) is not None:
        return LineProblem(number, say("A preset needs a name that is no number"), say("Write NAME:values."))
    try:
        tokens = read_tokens(values.strip())
    except PositionError as error:
        return LineProblem(number, say("{name}: {said}", name=name, said=error.what), error.cure)
    return Preset(name, layouts_of_length(len(tokens))[0], tokens, number)


def _duplicates(new: Preset, presets: list[Preset]) -> list[LineProblem]:
    """Warn when a name comes twice for one family; the same name for another family is meant to be there."""
    same = [p for p in presets if p.name == new.name and set(new.families).intersection(p.families)]
    if not same:
        return []
    what = say("{name} is already on line {line}; this line is the one that counts", name=new.name, line=same[-1].line)
    return [LineProblem(new.line, what, say("Remove or rename one of them."), fatal=False)]


def _all_blocks_value(name: str, preset: Preset | None) -> float | None:
    """Return the one number that ALL, NONE or ALL0.5 means, or None when the name or the file says otherwise."""
    match = _ALL_BLOCKS.fullmatch(name)
    if match is None:
        return None
    number = 0.0 if match[1] else 1.0 if not match[2] else read_number(match[2])
    if number is None or not math.isfinite(number):
        return None
    if preset is None:
        return number
    first = preset.tokens[0]
    return first.number if first.kind == "number" and set(preset.tokens) == {first} else None
