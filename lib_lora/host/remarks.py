"""What in a prompt does not act as one may think. It acts as in the WebUI, so it is said, not repaired."""

from __future__ import annotations

from lib_lora.architectures.registry import find_architecture
from lib_lora.blocks.errors import shorten
from lib_lora.blocks.tag import find_tags, meant_as_tag, other_networks
from lib_lora.blocks.typed import without_comments, without_invisible
from lib_lora.host.emphasis import read_emphasis_or_none
from lib_lora.host.schedule import parts_of, schedule_of
from lib_lora.host.word_remarks import word_remarks

_STEPS = 10  # any number of steps shows whether a tag stands in prompt editing
_MARK = 0xE000  # private characters stand for the tags while the text around them is read


def tag_remarks(prompt: str, negative: str) -> list[str]:
    """Return what is to be said of the places where LoRA tags stand."""
    said = []
    if find_tags(negative):
        said.append("A LoRA tag in the negative prompt does nothing: its text counts as words there, as in the WebUI.")
    tags = find_tags(prompt)
    if any(prompt.startswith(">", tag.end) for tag in tags):
        said.append("A > behind a LoRA tag is one too many and is read as a word. Delete it.")
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
                f"{shorten(tag.text)} stands inside prompt editing, but a LoRA acts from the first step to the last, "
                "as in the WebUI. For a LoRA use start= and stop= in its tag."
            )
        elif mark in weighed:
            said.append(
                f"{shorten(tag.text)} stands in brackets, which weigh words and not a LoRA, as in the WebUI. "
                "Write its strength in the tag."
            )
    if len(parts) > 1:
        said.append("A LoRA acts on all parts between which AND stands, as in the WebUI.")
    return said


def text_remarks(prompt: str, negative: str) -> list[str]:
    """Return what is to be said of the words; ``prompt`` still has its tags."""
    said = []
    for tag in other_networks(prompt):
        if not meant_as_tag(tag.text):  # else it is a problem of its own
            said.append(f"{shorten(tag.text)} is left out: only LoRA tags act here.")
    for text in (prompt, negative):
        said += word_remarks(without_comments(text))
    if any("#" in text for text in (prompt, negative)):
        said.append("What stands behind # is a comment and left out, as in the WebUI.")
    hidden = sum(len(text) - len(without_invisible(text)) for text in (prompt, negative))
    if hidden:
        said.append(f"Invisible characters in the prompt were left out: {hidden}.")
    (*_, last) = parts = parts_of(without_comments(prompt))
    if len(parts) == 1 and last.weight != 1:
        said.append(f"The prompt ends with a weight, so all of it counts {last.weight:g} times, as in the WebUI.")
    return said


def model_remarks(family: str, clip_skip: int) -> list[str]:
    """Return what is to be said of clip skip on a model family."""
    said = []
    known = find_architecture(family)
    if known is not None and known.pooled and clip_skip > 1:
        said.append(
            "SDXL always takes the last layer but one of its text encoders, as in the WebUI: clip skip does nothing."
        )
    return said


def _weighed(text: str) -> set[str]:
    """Return the characters of a text that have a weight."""
    return {char for piece in read_emphasis_or_none(text) if piece.weight != 1 for char in piece.text}
