"""The grammar of prompt editing, `[from:to:when]` and `[a|b]`, as the WebUI's own parser resolves it.

    edit := "[" [text ":"] text ":" number "]"
    swap := "[" text { "|" text } "]"
    text := { edit | swap | "(" text [":" text] ")" | "[" text "]" | words }

A text has no lone bracket, colon or bar, so which brackets belong together is not open to choice: one pass with a stack
finds them, however deep they are nested. What is neither edit nor swap comes through unchanged. Only where a
lone sign stands right behind an edit, the WebUI may take the edit for words: its own parser is asked (`lone_brackets`).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib_lora.host.prompt.lone_brackets import resolved

_SIGNS = re.compile(r"(?:[^\\\[\]():|]|\\.)+|[\[\]():|]")
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")
_PARTNER = {")": "(", "]": "["}
_CLOSING = tuple(_PARTNER)


@dataclass(frozen=True)
class Edit:
    """One text up to a call of the denoiser, another behind it."""

    before: Sequence[Item]
    after: Sequence[Item]
    when: str

    def turn(self, calls: int) -> int:
        """Return the call behind which the edit takes place: a number with a point is a share of all."""
        value = float(self.when) * (calls if "." in self.when else 1)
        return min(calls, int(value)) if math.isfinite(value) else calls

    def at(self, call: int, calls: int) -> Sequence[Item]:
        """Return what stands there at a call."""
        return self.before if call <= self.turn(calls) else self.after


@dataclass(frozen=True)
class Swap:
    """Texts that take turns, call by call."""

    texts: Sequence[Sequence[Item]]

    def at(self, call: int, calls: int) -> Sequence[Item]:
        """Return what stands there at a call."""
        return self.texts[(call - 1) % len(self.texts)]


Item = str | Edit | Swap


@dataclass
class Editing:
    """A prompt whose edits and swaps are known.

    Attributes:
        items: of the prompt, in order.
        edits: all, those inside others too.
        swaps: whether there is any swap.
        unread: bracketed texts with a colon that are no edit.
        lone: a sign without partner right behind an edit or swap, which makes it uncertain; "" for none.
        gave_up: a lone ``|`` or backslash because of which the WebUI takes all edits and swaps for words; "" for none.
    """

    items: list[Item]
    edits: list[Edit] = field(default_factory=list)
    swaps: bool = False
    unread: list[str] = field(default_factory=list)
    lone: str = ""
    gave_up: str = ""

    def at(self, call: int, calls: int) -> str:
        """Return the text at a call of the denoiser."""
        return "".join(self._words(call, calls))

    def _words(self, call: int, calls: int) -> Iterator[str]:
        waiting = self.items[::-1]  # no recursion: brackets may be nested as deep as a prompt is long
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                yield item
            else:
                waiting += reversed(item.at(call, calls))


@dataclass
class _Open:
    """A bracket that is not closed yet: where it stands in the text and in the items, and the marks behind it."""

    bracket: str
    start: int
    place: int
    marks: list[tuple[str, int]] = field(default_factory=list)


@functools.lru_cache(maxsize=64)
def read_editing(text: str) -> Editing:
    """Return the edits and swaps of one part of a prompt; never fails."""
    reader = _Reader(text)
    if "[" in text:
        reader.read()
    return reader.found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.found = text, Editing([text])
        self.items: list[Item] = []
        self.stack: list[_Open] = []
        self.lone = ""
        self.alone: set[int] = set()

    def read(self) -> None:
        """Fill `found`."""
        end = 0
        for sign in _SIGNS.finditer(self.text):
            if sign.start() != end:
                break
            end = sign.end()
            self._take(sign.group(), sign.start())
        self._let_go()
        if end < len(self.text):
            self.lone = "\\"
        acts = bool(self.found.edits or self.found.swaps)
        if acts and self.lone:
            self.found = Editing([self.text], unread=self.found.unread, gave_up=self.lone)
        elif acts:
            self.found.items = self.items
            first = min(filter(self._is_behind_edit, self.alone), default=None)
            if first is not None:
                self._ask(str(self.items[first]))

    def _is_behind_edit(self, place: int) -> bool:
        """Tell whether the item before is an edit or swap, brackets that end there aside."""
        place -= 1
        while place >= 0 and self.items[place] in _CLOSING and place not in self.alone:
            place -= 1
        return place >= 0 and not isinstance(self.items[place], str)

    def _ask(self, lone: str) -> None:
        """Read a text in which ``lone`` stands right behind an edit as the WebUI's parser does, where that is there."""
        found = Editing([], unread=self.found.unread, lone=lone)

        def edit(*parts: Any) -> Edit:
            found.edits.append(Edit(*parts))
            return found.edits[-1]

        def swap(texts: Any) -> Swap:
            found.swaps = True
            return Swap(texts)

        asked = resolved(self.text, edit, swap)
        if asked is None:
            self.found.lone = lone
        else:
            found.items, self.found = asked, found

    def _take(self, sign: str, start: int) -> None:
        if sign in ("[", "("):
            self.stack.append(_Open(sign, start, len(self.items)))
        elif sign in _PARTNER:
            self._close(sign, start)
            return
        elif sign in (":", "|"):
            if self.stack:
                self.stack[-1].marks.append((sign, len(self.items)))
            elif sign == "|":
                self.lone = sign
            else:
                self.alone.add(len(self.items))
        self.items.append(sign)

    def _close(self, sign: str, start: int) -> None:
        opened = self.stack[-1] if self.stack else None
        if opened is None or opened.bracket != _PARTNER[sign]:
            self._let_go()
            self.alone.add(len(self.items))
            self.items.append(sign)
            return
        marks = "".join(mark for mark, _ in opened.marks)
        if marks == "" or (marks == ":" and sign == ")"):  # emphasis: it stays as it is
            self.stack.pop()
            self.items.append(sign)
            return
        made = self._made(opened, marks) if sign == "]" else None
        if made is None:
            if sign == "]" and ":" in marks:
                self.found.unread.append(self.text[opened.start : start + 1])
            self._let_go()
            self.alone.add(len(self.items))
            self.items.append(sign)
            return
        self.stack.pop()
        self.items[opened.place :] = [made]

    def _made(self, opened: _Open, marks: str) -> Edit | Swap | None:
        """Return what a pair of square brackets with ``marks`` directly in it is, None where it is nothing."""
        places = [opened.place, *(place for _, place in opened.marks), len(self.items)]
        texts = [tuple(self.items[a + 1 : b]) for a, b in zip(places, places[1:], strict=False)]
        if set(marks) == {"|"}:
            self.found.swaps = True
            return Swap(texts)
        number = _NUMBER.fullmatch(texts[-1][0]) if len(texts[-1]) == 1 and isinstance(texts[-1][0], str) else None
        if number is None or marks not in (":", "::"):
            return None
        edit = Edit(texts[0] if marks == "::" else (), texts[-2], number[1])
        self.found.edits.append(edit)
        return edit

    def _let_go(self) -> None:
        """Take all brackets that are open for words: no pair can reach over what stands here."""
        if any(mark == "|" for opened in self.stack for mark, _ in opened.marks):
            self.lone = "|"
        for opened in self.stack:
            self.alone.update((opened.place, *(place for _, place in opened.marks)))
        self.stack.clear()
