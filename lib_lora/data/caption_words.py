"""Words that a person gives for captions: what no caption can hold, or nobody could see in it, is refused."""

from __future__ import annotations

from lib_lora.blocks.typed import without_invisible
from lib_lora.data.tag_lines import strip_network_tags
from lib_lora.errors import InputError
from lib_lora.options import control_characters, named


def check_words(text: str, *, where: str = "", option: str = "") -> None:
    """Refuse words for captions that would come to something else there: a caption has one line, without network tags.

    Raises:
        InputError: naming what it is.
    """
    if len(text.strip().splitlines()) > 1:
        raise InputError(
            "A caption has one line, and these words have several", where=where, option=option, cure="Use commas."
        )
    unseen = control_characters(text) or sorted(set(text) - set(without_invisible(text)))
    if unseen:
        raise InputError(
            "These words hold characters that nobody sees: {characters}",
            characters=named(unseen),
            where=where,
            option=option,
            cure="Type them anew instead of pasting them.",
        )
    if strip_network_tags(text)[1]:
        raise InputError(
            "These words hold a network tag such as <lora:…>, which is no text to train on",
            where=where,
            option=option,
            cure="Write the words alone; a LoRA is used in the prompt.",
        )
