"""What in a prompt does not act as one may think. It acts as in the WebUI, so it is said, not repaired."""

from __future__ import annotations

from collections.abc import Iterable

from lib_lora.architectures.registry import find_architecture
from lib_lora.blocks.errors import shorten
from lib_lora.blocks.layouts import BASE
from lib_lora.blocks.tag import find_tags, meant_as_tag, other_networks
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.blocks.typed import without_comments, without_invisible
from lib_lora.formats.keys import block_of_key
from lib_lora.host.prompt.emphasis import read_emphasis_or_none
from lib_lora.host.prompt.schedule import parts_of, schedule_of
from lib_lora.host.prompt.word_remarks import word_remarks
from lib_lora.sentences import say

_STEPS = 10  # any number of steps shows whether a tag stands in prompt editing
_MARK = 0xE000  # private characters stand for the tags while the text around them is read


def tag_remarks(prompt: str, negative: str) -> list[str]:
    """Return what is to be said of the places where LoRA tags stand."""
    said: list[str] = []
    if find_tags(negative):
        said.append(
            say("A LoRA tag in the negative prompt does nothing: its text counts as words there, as in the WebUI.")
        )
    tags = find_tags(prompt)
    if any(prompt.startswith(">", tag.end) for tag in tags):
        said.append(say("A > behind a LoRA tag is one too many and is read as a word. Delete it."))
    if any(prompt.endswith("<", 0, tag.start) for tag in tags):
        said.append(say("A < before a LoRA tag is one too many and is read as a word. Delete it."))
    if not tags or not any(sign in prompt for sign in ("[", "(", "AND")):
        return said
    marked = without_comments(prompt)
    for number, tag in reversed(list(enumerate(tags))):
        marked = marked[: tag.start] + chr(_MARK + number) + marked[tag.end :]
    parts = [part.text for part in parts_of(marked)]
    moments = [{moment.text for moment in schedule_of(part, _STEPS)} for part in parts]
    weighed = set().union(*(_weighed(text) for texts in moments for text in texts))
    for number, tag in enumerate(tags):
        mark = chr(_MARK + number)
        if not all(mark in text for part, texts in zip(parts, moments, strict=True) if mark in part for text in texts):
            said.append(
                say(
                    "{tag} stands inside prompt editing, but a LoRA acts from the first step to the last, as in "
                    "the WebUI. For a LoRA use start= and stop= in its tag.",
                    tag=shorten(tag.text),
                )
            )
        elif mark in weighed:
            said.append(
                say(
                    "{tag} stands in brackets, which weigh words and not a LoRA, as in the WebUI. Write its "
                    "strength in the tag.",
                    tag=shorten(tag.text),
                )
            )
    if len(parts) > 1:
        said.append(say("A LoRA acts on all parts between which AND stands, as in the WebUI."))
    return said


def text_remarks(prompt: str, negative: str) -> list[str]:
    """Return what is to be said of the words; ``prompt`` still has its tags."""
    said: list[str] = []
    for tag in other_networks(prompt):
        if not meant_as_tag(tag.text):  # else it is a problem of its own
            said.append(say("{tag} is left out: only LoRA tags act here.", tag=shorten(tag.text)))
    for text in (prompt, negative):
        said += word_remarks(without_comments(text))
    if any("#" in text for text in (prompt, negative)):
        said.append(say("What stands behind # is a comment and left out, as in the WebUI."))
    hidden = sum(len(text) - len(without_invisible(text)) for text in (prompt, negative))
    if hidden:
        said.append(say("Invisible characters in the prompt were left out: {n}.", n=hidden))
    (*_, last) = parts = parts_of(without_comments(prompt))
    if len(parts) == 1 and last.weight != 1:
        said.append(
            say("The prompt ends with a weight, so all of it counts {n:g} times, as in the WebUI.", n=last.weight)
        )
    return said


def model_remarks(family: str, clip_skip: int) -> list[str]:
    """Return what is to be said of clip skip on a model family."""
    said: list[str] = []
    known = find_architecture(family)
    if known is not None and known.pooled and clip_skip > 1:
        said.append(
            say(
                "SDXL always takes the last layer but one of its text encoders, as in the WebUI: clip skip "
                "does nothing."
            )
        )
    return said


def idle_notes(tag: ResolvedTag, keys: Iterable[str], family: str, steps: int | None) -> list[str]:
    """Return what is to be said of a LoRA, or of its UNet part, that cannot act; nothing where it does.

    Strength 0 and weights that are all 0 are wishes, and so is a tag that waits for the analyzer's vector.

    Args:
        tag: in numbers.
        keys: of the file's modules that fit the model.
        family: of the model.
        steps: of the picture; None where they are not known yet.
    """
    notes: list[str] = []
    if tag.sweep or tag.sweeps_elements:
        return notes
    places = [(block_of_key(key, family), key) for key in keys]
    table = tag.multipliers(family)
    on = {block for block, key in places if (tag.multiplier(block, key, family) if tag.elements else table[block])}
    if not on:
        if places and any(table.values()):
            notes.append(say("It does not act: its file has none of the blocks that its weights leave on."))
        return notes
    if on == {BASE} or steps is None or any(tag.active(step, steps) for step in range(steps)):
        return notes
    late = tag.start is not None and tag.start.index(steps) >= steps
    if BASE in on and late:
        notes.append(say("Its text encoder part alone acts: its steps begin after the last of {n}.", n=steps))
    elif BASE in on:
        notes.append(say("Its text encoder part alone acts: its steps end before they begin, of {n}.", n=steps))
    elif late:
        notes.append(say("It does not act: its steps begin after the last of {n}.", n=steps))
    else:
        notes.append(say("It does not act: its steps end before they begin, of {n}.", n=steps))
    return notes


def _weighed(text: str) -> set[str]:
    """Return the characters of a text that have a weight."""
    return {char for piece in read_emphasis_or_none(text) if piece.weight != 1 for char in piece.text}
