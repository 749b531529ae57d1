"""The grammar of a LoRA tag, with every spelling that came before ours.

    tag   := "<" ("lora" | "lyco") ":" name { ":" item } ">"
    item  := s                          in order: TE strength, UNet strength, dyn; an empty one keeps its place
           | weights                    legacy, after the strengths; then X value and element preset may follow
           | "te=" s | "unet=" s | "dyn=" int
           | "hr=" s | "hrte=" s | "hrunet=" s          strengths of the hires pass
           | "lbw=" weights | "w=" weights | "lbwe=" name | "x=" n | "other=" n
           | "start=" m | "stop=" m | "end=" m | "step=" [m] "-" [m] | m "-" m
    s     := number | n "@" position {"," n "@" position}, in square brackets or not
    m     := steps | share with a decimal point

Names are case-insensitive and items may stand in any order, with spaces around them. Full-width signs and digits are
read in an item's value and invisible characters passed over; the signs around the items are the WebUI's, `<`, `:`, `>`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache

from lib_lora.blocks.errors import TagError, shorten, suggest
from lib_lora.blocks.key_frames import KeyFrames, are_key_frames, read_key_frames
from lib_lora.blocks.tag_model import Moment, ParsedTag, Span, Strengths
from lib_lora.blocks.tokens import format_number, read_number
from lib_lora.blocks.typed import half_width, without_invisible
from lib_lora.sentences import Sentence, say

_HEAD = re.compile(r"<(?:lora|lyco):", re.IGNORECASE)
_MOMENT = r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
_STEPS = re.compile(rf"{_MOMENT}\s?[-~]\s?(?:{_MOMENT})?")
_WHOLE = re.compile(r"\+?[0-9]{1,9}")  # nine digits: more is a slip of the hand, for ranks as for steps
_SHARE = re.compile(r"[0-9]*\.[0-9]*")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
HIRES = ("hr", "hrte", "hrunet")  # as sd-webui-loractl names them
_KEYS = ("te", "unet", "dyn", "lbw", "w", "lbwe", "x", "other", "start", "stop", "end", "step", *HIRES)
_NAMES = ("lbw", "w", "lbwe")  # their values may be names, which keep their own signs
RENAME = say("Write the name first; where the file's own name has : < > or =, rename the file.")
_MOMENT_FORM = say("Write whole steps like 5, or a share of all steps like 0.3.")


@dataclass
class _Items:
    """The items of one tag, sorted by what they are while it is read."""

    tag: str
    named: dict[str, Span] = field(default_factory=dict)
    strengths: list[tuple[float | KeyFrames | None, Span]] = field(default_factory=list)
    weights: Span | None = None
    x: Span | None = None
    elements: Span | None = None
    notes: list[str] = field(default_factory=list)

    def error(self, what: Sentence, at: Span | int, cure: Sentence | str = "") -> TagError:
        position = at if isinstance(at, int) else at.position
        return TagError(what, text=self.tag, position=position, cure=cure)


@lru_cache(maxsize=512)
def parse_tag(text: str) -> ParsedTag:
    """Read one tag, `<lora:name:…>`, without looking up any name; a text that was read lately is not read again.

    Raises:
        TagError: pointing at the character that is wrong.
    """
    text = without_invisible(text)
    name, pieces = _split(text)
    items = _Items(text)
    placed = max((place for place, piece in enumerate(pieces) if piece.text and "=" not in piece.text), default=-1)
    for place, piece in enumerate(pieces):
        if "=" in half_width(piece.text):
            _read_named(items, piece)
        elif piece.text or place > placed:
            _read_positional(items, piece)
        else:
            items.strengths.append((None, piece))  # <lyco:name:1:1::OUTALL> leaves dyn out
    _join_weights(items)
    first, hires, dyn = _strengths(items)
    start, stop = _moments(items)
    return ParsedTag(
        text=text,
        name=name,
        te=first.te,
        unet=first.unet,
        dyn=dyn,
        weights=items.weights,
        elements=items.elements,
        x=_number(items, "x", items.x),
        start=start,
        stop=stop,
        other=_number(items, "other", None),
        frames=first.frames,
        hires=hires,
        notes=tuple(items.notes),
    )


def _split(text: str) -> tuple[str, list[Span]]:
    """Return the name and the other items of a tag; surrounding spaces do not count."""
    head = _HEAD.match(text)
    if head is None:
        raise TagError("This is no LoRA tag", text=text, position=0, cure="It begins with <lora: or <lyco:.")
    if not text.endswith(">"):
        raise TagError("The tag is not closed", text=text, position=len(text), cure="Write > at its end.")
    for position in range(head.end(), len(text) - 1):
        if text[position] in "<>":
            cure = (
                say("Close the tag with > before the next one.")
                if text[position] == "<"
                else say("Write > only at the end.")
            )
            raise TagError("The tag has an angle bracket inside", text=text, position=position, cure=cure)
    pieces: list[Span] = []
    position = head.end()
    for part in text[position:-1].split(":"):
        pieces.append(Span(part.strip(), position + len(part) - len(part.lstrip())))
        position += len(part) + 1
    name = pieces[0]
    if not name.text:
        raise TagError(
            "The name of the LoRA is missing", text=text, position=name.position, cure="Write <lora:name:1>."
        )
    wide = name.text.rfind("：")
    if wide >= 0 and (read_number(half_width(name.text[wide + 1 :])) is not None or "=" in half_width(name.text)):
        raise TagError(
            "The tag has a full-width colon", text=text, position=name.position + wide, cure="Write : in its place."
        )
    if "=" in name.text:
        raise TagError(
            "The name of a LoRA cannot contain =",
            text=text,
            position=name.position + name.text.index("="),
            cure=RENAME,
        )
    return name.text, pieces[1:]


def _read_named(items: _Items, piece: Span) -> None:
    sign = half_width(piece.text).index("=")
    key, after = half_width(piece.text[:sign]).strip().lower(), piece.text[sign + 1 :]
    value = Span(after.strip(), piece.position + len(piece.text) - len(after.lstrip()))
    if key not in _NAMES:
        value = Span(half_width(value.text), value.position)
    if "=" in after:
        raise items.error(
            say("An item has two ="), value.position + value.text.index("="), say("Write name=value once.")
        )
    if key not in _KEYS:
        cure = suggest(key, _KEYS) or say("Known are {names}.", names=(name + "=" for name in _KEYS))
        raise items.error(say("There is no item “{item}=”", item=shorten(key)), piece, cure)
    if key in items.named:
        raise items.error(say("{item}= is given twice", item=key), piece, say("Keep one of them."))
    if not value.text:
        raise items.error(say("{item}= has no value", item=key), value, say("Write a value after {item}=.", item=key))
    items.named[key] = value


def _read_positional(items: _Items, piece: Span) -> None:
    if not piece.text:
        raise items.error(say("An item is empty"), piece, say("Remove one colon, or write a value between them."))
    number = read_number(half_width(piece.text))
    if number is not None:
        if items.weights is None:
            items.strengths.append((_finite(items, number, piece), piece))
        elif items.x is None:
            items.x = piece
        else:
            raise items.error(
                say("One number too many"), piece, say("After the block weights only the X value follows.")
            )
        return
    _refuse_comma(items, piece)
    if are_key_frames(half_width(piece.text)) and items.weights is None:
        items.strengths.append((_key_frames(items, piece), piece))
    elif _STEPS.fullmatch(half_width(piece.text)) and "step" not in items.named:
        items.named["step"] = Span(half_width(piece.text), piece.position)
    elif items.weights is None:
        items.weights = piece
    elif items.elements is None:
        items.elements = piece
    else:
        raise items.error(say("“{text}” is one name too many", text=shorten(piece.text)), piece, RENAME)


def _refuse_comma(items: _Items, piece: Span) -> None:
    """Refuse ``0,8``: two values are no layout's, and many languages write a decimal comma."""
    typed = half_width(piece.text)
    if _COMMA.fullmatch(typed):
        comma = piece.position + typed.index(",")
        cure = say("Write a point: {number}.", number=typed.replace(",", "."))
        raise items.error(say("The number {number} has a decimal comma", number=typed), comma, cure)


def _join_weights(items: _Items) -> None:
    """Bring the named weights and elements together with the legacy positional ones."""
    named = items.named
    if "lbw" in named and "w" in named:
        items.notes.append(say("w= was left out because lbw= is there."))
    weights = named.get("lbw") or named.get("w")
    if weights and items.weights:
        cure = say("Keep one of them: as lbw=… or after the strengths.")
        raise items.error(say("The block weights are given twice"), max(weights.position, items.weights.position), cure)
    items.weights = weights or items.weights
    elements = named.get("lbwe")
    if elements and items.elements:
        cure = say("Keep lbwe=.")
        raise items.error(
            say("The element preset is given twice"), max(elements.position, items.elements.position), cure
        )
    items.elements = elements or items.elements


def _strengths(items: _Items) -> tuple[Strengths, Strengths | None, int | None]:
    """Return the strengths of both passes, and dyn, as the WebUI reads them: UNet follows TE, the named items win."""
    placed = items.strengths
    if len(placed) > 3:
        raise items.error(say("One number too many"), placed[3][1], say("The numbers are TE, UNet and dyn."))
    first, second = [number for number, _ in (*placed, (None, None), (None, None))][:2]
    te = _either(_strength(items, "te"), first, 1.0)
    # As in the WebUI the UNet follows te=; but a schedule is the UNet's, and te= only what the text encoder gets of it.
    unet = _either(_strength(items, "unet"), second, first if isinstance(first, KeyFrames) else te)
    hires = None
    if any(key in items.named for key in HIRES):
        both = _strength(items, "hr")
        hires = _pass(_either(_strength(items, "hrte"), both, te), _either(_strength(items, "hrunet"), both, unet))
    if isinstance(te, KeyFrames):
        items.notes.append(
            say(
                "The text encoder reads the prompt once, before the first step, at strength {te}. te= sets another.",
                te=format_number(te.weights[0]),
            )
        )
    return _pass(te, unet), hires, _dyn(items)


def _either(*values: float | KeyFrames | None) -> float | KeyFrames:
    """Return the first that is there."""
    return next(value for value in values if value is not None)


def _pass(te: float | KeyFrames, unet: float | KeyFrames) -> Strengths:
    begin = te.weights[0] if isinstance(te, KeyFrames) else te
    return Strengths(begin, 1.0, unet) if isinstance(unet, KeyFrames) else Strengths(begin, unet)


def _dyn(items: _Items) -> int | None:
    placed = items.strengths
    third = placed[2][1] if len(placed) > 2 and placed[2][0] is not None else None
    if third and items.weights and items.x is None and not _WHOLE.fullmatch(half_width(third.text)):
        items.x, third = third, None  # a rank is whole, so this can only be the value of X
    rank = items.named.get("dyn", third)
    if rank is None:
        return None
    typed = half_width(rank.text)
    if not _WHOLE.fullmatch(typed) or int(typed) < 1:
        raise items.error(
            say("The value “{text}” of dyn is no rank", text=shorten(rank.text)),
            rank,
            say("Write a whole number from 1."),
        )
    return int(typed)


def _strength(items: _Items, key: str) -> float | KeyFrames | None:
    """Return what a named strength says: a number, or numbers over the steps."""
    span = items.named.get(key)
    return _key_frames(items, span) if span and are_key_frames(span.text) else _number(items, key, span)


def _key_frames(items: _Items, span: Span) -> KeyFrames:
    frames = read_key_frames(half_width(span.text))
    if frames is None:
        raise items.error(
            say("The strengths over the steps “{text}” cannot be read", text=shorten(span.text)),
            span,
            say("Write weight@position pairs such as 0@0,1@0.5: positions from 0 to 1, or whole steps."),
        )
    return frames


def _number(items: _Items, key: str, default: Span | None) -> float | None:
    span = items.named.get(key, default)
    if span is None:
        return None
    number = read_number(half_width(span.text))
    if number is not None:
        return _finite(items, number, span)
    _refuse_comma(items, span)
    raise items.error(
        say("The item {item}= needs a number, not “{text}”", item=key, text=shorten(span.text)),
        span,
        say("Write a number like 0.8."),
    )


def _finite(items: _Items, number: float, span: Span) -> float:
    if not math.isfinite(number):
        raise items.error(say("The number is too large"), span, say("Write a finite number like 0.8."))
    return number


def _moments(items: _Items) -> tuple[Moment | None, Moment | None]:
    """Return start and stop from `start=`, `stop=` or `step=A-B`."""
    named = items.named
    span = named.get("step")
    start, stop = named.get("start"), named.get("stop")
    if "end" in named:
        if stop:
            raise items.error(say("The items stop= and end= say the same"), named["end"], say("Keep one of them."))
        stop = named["end"]
    if span is not None:
        if start or stop:
            cure = say("Keep step=A-B, or start= and stop=.")
            raise items.error(say("The item step= stands beside start= or stop="), span, cure)
        start, stop = _range(items, span)
    first = _moment(items, start) if start else None
    last = _moment(items, stop) if stop else None
    if first and last and first.is_share == last.is_share and first.value > last.value:
        raise items.error(say("The range ends before it starts"), stop or 0, say("Write the smaller number first."))
    return first, last


def _range(items: _Items, span: Span) -> tuple[Span | None, Span | None]:
    form = say("Write step=5-10, step=5- or step=-10.")
    before, dash, after = span.text.replace("~", "-").partition("-")
    if not dash:
        raise items.error(say("The item step= needs a range"), span.position + len(span.text), form)
    if "-" in after:
        raise items.error(
            say("The item step= has more than one -"), span.position + len(before) + 1 + after.index("-"), form
        )
    if not before.strip() and not after.strip():
        raise items.error(say("The item step= has no number"), span, form)
    start = Span(before.strip(), span.position) if before.strip() else None
    place = span.position + len(span.text) - len(after.lstrip())
    return start, Span(after.strip(), place) if after.strip() else None


def _moment(items: _Items, span: Span) -> Moment:
    if _WHOLE.fullmatch(span.text):
        return Moment(int(span.text), is_share=False)
    if _SHARE.fullmatch(span.text) and span.text != ".":
        share = float(span.text)
        if share <= 1.0:
            return Moment(share, is_share=True)
        raise items.error(say("{text} is more than all steps", text=span.text), span, _MOMENT_FORM)
    raise items.error(say("“{text}” is no moment of sampling", text=shorten(span.text)), span, _MOMENT_FORM)
