"""Brackets without a partner in a prompt: what was meant, and what they do in the WebUI instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lib_lora.blocks.errors import shorten
from lib_lora.blocks.tokens import read_number

_SIGNS = re.compile(r"\\.|[][()]", re.DOTALL)
_OPENING = {"]": "[", ")": "("}
_BEGUN = re.compile(r"[^\n]*[:|][^,\n]*")
_ENDED = re.compile(r"[^,\n]*[:|][^\n]*$")


@dataclass(frozen=True)
class _Lone:
    """A bracket without partner; ``inner`` is the text on the side on which its partner should be, up to a bracket."""

    sign: str
    inner: str
    weighs: bool


def lone_remarks(text: str) -> list[str]:
    """Return what is to be said of the brackets without partner in a prompt without tags; each sentence once."""
    said: list[str] = []
    for lone in _lone(text):
        opens = lone.sign in "[("
        found = (_BEGUN.match if opens else _ENDED.search)(lone.inner)
        meant = found.group().strip() if found else ""
        shown = shorten(f"{lone.sign}{meant}" if opens else f"{meant}{lone.sign}")
        if lone.sign == "[" and meant:
            said.append(f"{shown} is read as words: its bracket is not closed. Write it like [from:to:0.5].")
        elif lone.sign == "]" and _changes(meant):
            said.append(f"{shown} is read as words: its bracket is not opened. Write it like [from:to:0.5].")
        elif lone.sign in "()" and _weighs(meant, opens=opens):
            said.append(f"{shown} has no weight that is read. Write it like (words:1.2).")
        elif lone.weighs:
            sign = lone.sign
            said.append(f"A lone {sign} weighs all words behind it, as in the WebUI. Delete it, or write \\{sign}.")
    return list(dict.fromkeys(said))


def _lone(text: str) -> Iterator[_Lone]:
    """Yield the brackets that the WebUI's emphasis finds no partner for: it pairs round and square ones apart."""
    signs = [sign for sign in _SIGNS.finditer(text) if len(sign.group()) == 1]
    waiting: dict[str, list[int]] = {"[": [], "(": []}
    lone = []
    for number, sign in enumerate(signs):
        if sign.group() in waiting:
            waiting[sign.group()].append(number)
        elif waiting[_OPENING[sign.group()]]:
            waiting[_OPENING[sign.group()]].pop()
        else:
            lone.append(number)
    last_word = max((place for place, char in enumerate(text) if char.isalnum()), default=-1)
    for number in sorted((*lone, *waiting["["], *waiting["("])):
        sign = signs[number]
        if sign.group() in waiting:
            end = signs[number + 1].start() if number + 1 < len(signs) else len(text)
            yield _Lone(sign.group(), text[sign.end() : end], weighs=last_word > sign.start())
        else:
            begin = signs[number - 1].end() if number else 0
            yield _Lone(sign.group(), text[begin : sign.start()], weighs=False)


def _changes(meant: str) -> bool:
    """Tell whether what stands before a lone ``]`` ends as prompt editing does: with a number, or behind a bar."""
    return "|" in meant or (":" in meant and read_number(meant.rpartition(":")[2].strip()) is not None)


def _weighs(meant: str, *, opens: bool) -> bool:
    """Tell whether words and a number are a weight; before a lone ``)`` a time like 12:30 is none."""
    words, colon, last = meant.rpartition(":")
    number = last.strip()
    return bool(colon and words.strip()) and read_number(number) is not None and (opens or "." in number)
