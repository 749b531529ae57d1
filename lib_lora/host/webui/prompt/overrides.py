"""What one generation of the WebUI wants of us besides its prompt, carried on its processing object ``p``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lib_lora.blocks.tag_edit import Change
from lib_lora.blocks.tag_model import ParsedTag
from lib_lora.blocks.weights import BlockWeights
from lib_lora.host.webui.protocols import Processing

ATTRIBUTE = "atelier"


@dataclass(frozen=True)
class GenerationOverrides:
    """Immutable, because the X/Y/Z plot's cells are shallow copies of one ``p``: assign a changed copy.

    Attributes:
        off: the accordion is switched off; tags lose their block weights, steps and elements.
        sweep: for tags marked XYZ or ZYX, the block weights of each picture of the batch.
        changes: what the axes of the X/Y/Z plot change in the tag of a LoRA, by its name; "" changes every LoRA tag.
    """

    off: bool = False
    sweep: tuple[BlockWeights, ...] | None = None
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)

    def changed(self, tag: ParsedTag) -> ParsedTag:
        """Return a tag with the changes of the axes.

        Raises:
            AtelierError: a change does not fit the tag.
        """
        name = tag.name.casefold()
        own = next((found for key, found in self.changes.items() if key and key.casefold() == name), ())
        for change in (*self.changes.get("", ()), *own):
            tag = change(tag)
        return tag

    def made(self, tag: ParsedTag) -> ParsedTag:
        """Return a tag as its picture is made: changed, and plain while the accordion is off."""
        tag = self.changed(tag)
        return plain(tag) if self.off else tag


def overrides_of(p: Processing) -> GenerationOverrides:
    """Return the overrides that ``p`` carries, or plain ones."""
    return getattr(p, ATTRIBUTE, None) or GenerationOverrides()


def plain(tag: ParsedTag) -> ParsedTag:
    """Return a tag without block weights, elements and steps."""
    return replace(tag, weights=None, elements=None, x=None, start=None, stop=None, other=None, frames=None)
