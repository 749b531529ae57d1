"""What the LoRA tags of a prompt mean, and the chosen one as the accordion shows it; no widget in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from lib_lora.blocks.errors import TagError, shorten
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import ParsedTag, ResolvedTag, broken_tags, find_tags, parse_tag, resolve, strip_tags
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import AtelierError
from lib_lora.host.base import Host
from lib_lora.host.prompt.remarks import tag_remarks, text_remarks
from lib_lora.i18n.words import Words
from lib_lora.services.file_facts import Facts, FileFacts


@dataclass(frozen=True)
class View:
    """What is shown: the tags of the prompt, and the chosen one in numbers.

    Attributes:
        problem: why there are no numbers.
    """

    labels: tuple[str, ...]
    label: str = ""
    tag: ParsedTag | None = None
    facts: Facts | None = None
    weights: BlockWeights | None = None
    problem: AtelierError | None = None

    @property
    def index(self) -> int:
        """Place of the chosen tag among the prompt's tags; -1 where there is none."""
        return self.labels.index(self.label) if self.label else -1

    @property
    def written(self) -> str:
        """The block weights as they stand in the tag: a name, a vector, or nothing."""
        return self.tag.weights.text if self.tag and self.tag.weights else ""


def labels_of(prompt: str) -> tuple[str, ...]:
    """Return a label for each LoRA tag of the prompt: its name, numbered where one comes again."""
    seen: Counter[str] = Counter()
    labels = []
    for match in find_tags(prompt):
        name = match.text.strip("<>").split(":")[1].strip() or shorten(match.text)
        seen[name] += 1
        labels.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(labels)


def index_of(prompt: str, label: str) -> int:
    """Return the place of the tag with this label, of the first tag where none is said; -1 where it is gone.

    What is written is never written into another LoRA's tag.
    """
    labels = labels_of(prompt)
    if not label:
        return min(0, len(labels) - 1)
    return labels.index(label) if label in labels else -1


def view_of(prompt: str, label: str, host: Host, files: FileFacts) -> View:
    """Return what the accordion shows for ``prompt`` with the LoRA ``label`` chosen; the first where it is gone."""
    labels = labels_of(prompt)
    broken = next(iter(broken_tags(prompt)), None)
    if not labels:
        return View(labels, problem=broken)
    index = max(0, index_of(prompt, label))
    tag, facts, weights = None, None, None
    try:
        tag = parse_tag(find_tags(prompt)[index].text)
        facts = files.of(tag.name)
        weights = BlockWeights.uniform(facts.layout, 1.0)
        resolved = resolve(tag, host.presets, facts.family, seed=0)
        if resolved.weights is not None:
            weights = resolved.weights.convert(facts.layout)[0]
    except AtelierError as error:
        return View(labels, labels[index], tag, facts, weights, error)
    return View(labels, labels[index], tag, facts, weights, broken)


@dataclass(frozen=True)
class TagMeaning:
    """One tag as it stands in the prompt, and in numbers."""

    text: str
    tag: ResolvedTag


@dataclass(frozen=True)
class Meaning:
    """What the LoRA tags of a prompt mean on models of a family.

    Attributes:
        prompt: without its tags.
        problems: what cannot be right, each with the tag's text; it harms no other tag.
        notes: what may surprise in the whole prompt, in sentences.
    """

    prompt: str
    family: str
    tags: tuple[TagMeaning, ...]
    problems: tuple[tuple[str, AtelierError], ...]
    notes: tuple[str, ...]


def meaning_of(
    prompt: str, negative: str, presets: PresetFile, family: str, *, seed: int, find: Callable[[str], object]
) -> Meaning:
    """Return what the LoRA tags of a prompt mean.

    Args:
        prompt, negative: what should be in the picture, and what should not.
        presets: where the names of block weights are looked up.
        family: of the model that it is for.
        seed: draws the values of R and U.
        find: refuses a name in a tag that no LoRA has.
    """
    tags: list[TagMeaning] = []
    problems: list[tuple[str, AtelierError]] = [(error.text, error) for error in broken_tags(prompt)]
    for found in find_tags(prompt):
        try:
            tag = resolve(parse_tag(found.text), presets, family, seed)
            tags.append(TagMeaning(found.text, tag))
            find(tag.name)
        except AtelierError as error:
            problems.append((found.text, error))
    notes = (*tag_remarks(prompt, negative), *text_remarks(prompt, negative))
    return Meaning(strip_tags(prompt), family, tuple(tags), tuple(problems), notes)


def title_of(prompt: str, host: Host, words: Words, *, active: bool) -> str:
    """Return the accordion's title: its name and, in a line, what acts on which LoRA."""
    name = words("block_weight.title")
    if not active:
        return f"{name} — {words('block_weight.off')}"
    parts = [_in_short(match.text, host, words) for match in find_tags(prompt)]
    parts += [f"⚠ {shorten(error.text)}" for error in broken_tags(prompt)]
    return f"{name} — {' · '.join(parts) if parts else words('block_weight.no_lora')}"


def _in_short(text: str, host: Host, words: Words) -> str:
    try:
        tag = parse_tag(text)
        if host.model.layers:  # else the family is not known yet, and with it which presets fit
            resolve(tag, host.presets, host.model.family, seed=0)
        path = host.find_lora(tag.name)
    except TagError as error:
        return f"⚠ {shorten(error.text)}"
    except AtelierError:
        return f"⚠ {shorten(text)}"
    written = tag.weights.text if tag.weights else ""
    if not written:
        kind = words("block_weight.short_plain")
    elif tag.sweep:
        kind = tag.sweep
    elif "," in written:
        kind = words("block_weight.short_values", n=written.count(",") + 1)
    else:
        kind = written
    return f"{path.stem if '/' in tag.name else tag.name}: {kind}"


def preset_names(presets: PresetFile, family: str) -> list[str]:
    """Return the names that can be used on a model family, ALL and NONE first."""
    fitting = [preset.name for preset in presets.presets if preset.layout.family == full_layout(family).family]
    return list(dict.fromkeys(["ALL", "NONE", *fitting]))


def element_names(presets: PresetFile) -> list[str]:
    """Return the names of the element presets once each, without the analyzer's mark."""
    return [name for name in dict.fromkeys(one.name for one in presets.elements.presets) if name.upper() != "XYZ"]


def strength_text(value: float) -> str:
    """Return a strength as it stands in its field."""
    return format_number(value)
