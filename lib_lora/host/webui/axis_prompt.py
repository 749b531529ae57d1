"""The LoRA tags of the prompt that a plot is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.blocks.errors import TagError, shorten, suggest
from lib_lora.blocks.tag import find_tags, parse_tag
from lib_lora.blocks.tag_model import ParsedTag
from lib_lora.errors import InputError

WHERE = "X/Y/Z plot"


@dataclass(frozen=True)
class PromptTags:
    """The tags of a prompt that can be read, in their order."""

    tags: tuple[ParsedTag, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The LoRAs' names, each once."""
        return tuple(dict.fromkeys(tag.name for tag in self.tags))

    def chosen(self, key: str) -> frozenset[str] | None:
        """Return the LoRA that ``key`` names, in lower case; None (every LoRA) where it is empty.

        Raises:
            InputError: the prompt has no LoRA, or none of this name.
        """
        self.require()
        if not key:
            return None
        if key.casefold() not in {name.casefold() for name in self.names}:
            cure = suggest(key, self.names) or f"It has: {', '.join(self.names)}."
            raise InputError(f"The prompt has no LoRA “{shorten(key)}”", where=WHERE, cure=cure)
        return frozenset((key.casefold(),))

    def require(self) -> None:
        """Refuse a prompt without a LoRA.

        Raises:
            InputError: there is none.
        """
        if not self.tags:
            cure = "Write <lora:NAME:1> into the prompt."
            raise InputError("The prompt has no LoRA that this axis could change", where=WHERE, cure=cure)

    def of(self, change: Callable[[ParsedTag], ParsedTag]) -> Sequence[ParsedTag]:
        """Return the tags that a change alters, altered."""
        both = ((tag, change(tag)) for tag in self.tags)
        return [after for before, after in both if after is not before]


def tags_of(p: Any) -> PromptTags:
    """Return the tags of the prompts of ``p``, of its styles and its hires pass included; broken ones are left out."""
    texts = [p.prompt, getattr(p, "hr_prompt", "")]
    prompts = [text for each in texts for text in (each if isinstance(each, list) else [each]) if text]
    styles = list(getattr(p, "styles", None) or ())
    if styles:
        from modules import shared

        prompts = [shared.prompt_styles.apply_styles_to_prompt(text, styles) for text in prompts or [""]]
    tags = []
    for match in (match for text in prompts for match in find_tags(text)):
        try:
            tags.append(parse_tag(match.text))
        except TagError:  # the picture's own comments point at it
            continue
    return PromptTags(tuple(tags))
