"""Words and brackets that look like the WebUI's syntax, or another program's, and are read as words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lib_lora.blocks.errors import shorten
from lib_lora.blocks.tag import strip_tags
from lib_lora.blocks.tokens import read_number
from lib_lora.blocks.typed import half_width
from lib_lora.host.prompt.editing import Edit, read_editing
from lib_lora.host.prompt.emphasis import read_emphasis_or_none
from lib_lora.host.prompt.schedule import parts_of
from lib_lora.sentences import say

_WEIGHT = re.compile(
    r"(?P<open>[(（][^()（）]*)?(?P<colon>[:：])\s*(?P<number>[^\s()（）:：\[\]|]+)\s*(?P<close>[)）])"
)
_READ = re.compile(r"[+-]?[.\d]+")  # what the WebUI takes for a weight, full-width digits too
_FOREIGN = {
    "NovelAI": re.compile(r"\{{2,}[^{}|]+\}{2,}|\{[^{}|]{3,}\}|-?\d+(?:\.\d+)?::[^:]+(?:::)?"),
    "InvokeAI": re.compile(r"\w{3,}\+{2,}(?!\w)|\)(?:\++|-+)(?=\s*(?:,|$))|\)\d\.\d+"),
}
"""How other programs weigh words. One or two letters are no word of a picture, but a sign (``{x}``) or a name (C++)."""
_EXTENSIONS = {
    "Regional Prompter": re.compile(r"\bADD(?:COMM|COL|ROW|BASE)\b"),
    "Neutral Prompt": re.compile(r"\bAND_(?:SALT|PERP|TOPK)\b"),
    "Dynamic Prompts": re.compile(r"\{[^{}|]*\|[^{}]*\}|__[\w/*-]+__"),
}
_BREAK = re.compile(r"\bBREAK\b")
_FULL_WIDTH = re.compile(r"\[[^\[\]［］\n]*[：｜][^\[\]［］\n]*\]|［[^\[\]［］\n]*］")
_EMBEDDING = re.compile(r"\bembedding:\s*([^\s,:()\[\]]+)", re.IGNORECASE)
_WIDE_WORD = re.compile(r"(?<!\w)(?:ＡＮＤ|ＢＲＥＡＫ)(?!\w)")
_FLAG = re.compile(r"(?<!\S)--(?:n|w|h|d|s|l|g|ss)\s+[^\s-]\S*", re.IGNORECASE)
"""A flag of sd-scripts' sample prompts, with its value's beginning."""
_FILE = re.compile(r"\s*([^\s,<>]+\.(?:txt|json|toml))\s*", re.IGNORECASE)
_PASTED = re.compile(r"^\s*Negative prompt:", re.MULTILINE)
_PREFIXES = ("artist", "style", "character", "copyright", "series", "source", "by", "rating", "general", "meta")
"""Of tags that people de-emphasize: ``[artist:name]`` is no slip."""

_SIGNS = re.compile(r"\\.|[][()]", re.DOTALL)
_OPENING = {"]": "[", ")": "("}
_BEGUN = re.compile(r"[^\n]*[:|][^,\n]*")
_ENDED = re.compile(r"[^,\n]*[:|][^\n]*$")


def word_remarks(text: str) -> list[str]:
    """Return what is to be said of the words of a prompt without comments."""
    said: list[str] = []
    for found in _slips(text):
        said.append(say("{words} has no weight that is read. Write it like (words:1.2).", words=shorten(found)))
    for name, theirs in _EXTENSIONS.items():
        found_there = theirs.search(text)
        if found_there:
            shown = shorten(found_there.group())
            said.append(say("{words} is read as words: it belongs to the extension {name}.", words=shown, name=name))
    words = strip_tags(text, others=True)
    for name in _EMBEDDING.findall(words):
        said.append(
            say("embedding: is ComfyUI's spelling and is read as a word. Write {name} alone.", name=shorten(name))
        )
    if _BREAK.search(text) and any("BREAK" in piece.text and piece.weight < 0 for piece in read_emphasis_or_none(text)):
        said.append(say("BREAK inside brackets is a word, as in the WebUI. Put it outside to begin a new chunk."))
    said += _other_programs(words)
    for part in parts_of(words):
        said += _editing_remarks(part.text)
    for found in _FULL_WIDTH.findall(words):
        if _is_editing(half_width(found)):
            said.append(
                say(
                    "{words} is read as words: its signs are full-width. Write it like [from:to:0.5].",
                    words=shorten(found),
                )
            )
    return list(dict.fromkeys((*said, *lone_remarks(words))))


def _other_programs(words: str) -> Iterator[str]:
    """Yield what is to be said of a sample prompt's flags, a file's name and pasted settings, which are no prompt."""
    for wide in dict.fromkeys(_WIDE_WORD.findall(words)):
        yield say(
            "{words} is read as a word: its letters are full-width. Write {plain}.", words=wide, plain=half_width(wide)
        )
    for name, weighed in _FOREIGN.items():
        found = weighed.search(words)
        if found:
            yield say(
                "{words} is read as words: so {name} weighs them. Write it like (words:1.2).",
                words=shorten(found.group()),
                name=name,
            )
    flag, file = _FLAG.search(words), _FILE.fullmatch(words)
    if flag:
        yield say(
            "{words} is read as words: such flags are for the sample prompts of a training. Here there are fields or "
            "options for it.",
            words=shorten(flag.group()),
        )
    if file:
        yield say("{words} is read as words, not as a file of prompts.", words=shorten(file[1]))
    if _PASTED.search(words):
        yield say("“Negative prompt:” and what stands behind it are read as words. Put them into the fields for them.")


def _is_editing(text: str) -> bool:
    read = read_editing(text)
    return bool(read.edits) or read.swaps


def _slips(text: str) -> Iterator[str]:
    """Yield what was meant as words with a weight, and whose weight is not read."""
    for found in _WEIGHT.finditer(text):
        exact = found["colon"] == ":" and found["close"] == ")" and not (found["open"] or "").startswith("（")
        if exact and _READ.fullmatch(found["number"]):
            continue
        begun = found["open"] or re.search("[(（]", text[: found.start()])
        if begun and _is_number(found["number"]):
            yield found.group()


def _is_number(typed: str) -> bool:
    """Tell whether a person meant a number: full-width signs, a decimal comma, a percent sign."""
    number = half_width(typed).strip().removesuffix("%").replace(",", ".")
    return read_number(number) is not None or number.lower().lstrip("+-") in ("nan", "inf")


def _editing_remarks(text: str) -> list[str]:
    """Return what is to be said of prompt editing in one part of a prompt."""
    said: list[str] = []
    read = read_editing(text)
    for found in dict.fromkeys(read.unread):
        *before, last = found[1:-1].split(":")
        if len(before) > 1 or _is_number(last):
            said.append(
                say(
                    "{words} is read as words: its last item is no number. Write it like [from:to:0.5].",
                    words=shorten(found),
                )
            )
        elif _meant_to_change(before[0], last):
            said.append(
                say(
                    "{words} is read as words: it does not say when. Write it like [from:to:0.5].", words=shorten(found)
                )
            )
    for when in dict.fromkeys(_too_late(read.edits)):
        said.append(
            say(
                "{number} in prompt editing is behind the last step. Write a share like 0.5, or whole steps like 5.",
                number=when,
            )
        )
    for when in dict.fromkeys(edit.when for edit in read.edits if edit.when.strip().startswith("-")):
        said.append(
            say(
                "{number} in prompt editing is before the first step. Write a share like 0.5, or whole steps like 5.",
                number=when,
            )
        )
    if read.gave_up:
        said.append(
            say("A lone {sign} makes words of all prompt editing, as in the WebUI. Delete it.", sign=read.gave_up)
        )
    if read.lone:
        said.append(
            say("A lone {sign} behind prompt editing can make it words, as in the WebUI. Delete it.", sign=read.lone)
        )
    return said


def _meant_to_change(before: str, after: str) -> bool:
    has_words = all(any(char.isalpha() for char in each) for each in (before, after))
    return has_words and len(after.strip()) > 1 and before.strip().lower() not in _PREFIXES


def _too_late(edits: list[Edit]) -> Iterator[str]:
    """Yield the shares above 1, which are mostly meant as weights."""
    for edit in edits:
        if "." in edit.when and float(edit.when) > 1:
            yield edit.when


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
            said.append(
                say("{words} is read as words: its bracket is not closed. Write it like [from:to:0.5].", words=shown)
            )
        elif lone.sign == "]" and _changes(meant):
            said.append(
                say("{words} is read as words: its bracket is not opened. Write it like [from:to:0.5].", words=shown)
            )
        elif lone.sign in "()" and _weighs(meant, opens=opens):
            said.append(say("{words} has no weight that is read. Write it like (words:1.2).", words=shown))
        elif lone.weighs:
            sign = lone.sign
            said.append(
                say(
                    "A lone {sign} weighs all words behind it, as in the WebUI. Delete it, or write \\{sign}.",
                    sign=sign,
                )
            )
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
