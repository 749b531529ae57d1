"""Blocks: what a file does block by block, weights for it, and where they go: a preset, the prompt, a baked file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.analysis.facts import BlockFacts, LoraFacts, described, summary_of
from lib_lora.analysis.fit.window import WHOLE, Window
from lib_lora.blocks.tag import parse_tag
from lib_lora.blocks.tag_text import short_tag
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.contents import contents_of
from lib_lora.formats.lora import read_lora
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.merge.spec import Ingredient, resolve_blocks, shown_weights
from lib_lora.options import find
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import files as file_work
from lib_lora.services import presets as presets_file
from lib_lora.services.atelier import Atelier
from lib_lora.services.fitted import in_steps
from lib_lora.ui.compat import COPYABLE, dropdown, event_kw, gr, update
from lib_lora.ui.messages import error_html, note_html, notes_html
from lib_lora.ui.workshop import finder, planner, work
from lib_lora.ui.workshop.tables import block_table, megabytes

KIND = "measure"

Facts = dict[str, Any]
"""What the page keeps of the chosen file: name, family, blocks with their numbers. Plain, for `gr.State`."""


@dataclass(frozen=True)
class BlocksPanel:
    """The widgets that other tabs and the app use."""

    file: gr.Dropdown
    preset: gr.Dropdown
    vector: gr.Textbox
    facts: gr.State
    said: gr.HTML
    bake: gr.Button
    row: Any
    uses: tuple[tuple[Any, gr.Textbox], ...]
    finder: finder.FinderPanel
    found: Any
    lists: tuple[Any, ...]
    refresh: Any


class Handlers:
    """The events of the tab in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words = atelier, words

    def refresh(self, name: str | None, preset: str | None) -> list[Any]:
        """Return the lists as they are now."""
        return [work.choices(self.atelier, name), work.listed(file_work.presets(self.atelier), preset)]

    def look(self, name: str | None) -> Iterator[tuple[Any, ...]]:
        """Read a file and measure its blocks; yields (message, summary, vector, facts, table, cancel button)."""
        idle = update(visible=False)
        if not name:
            yield "", work.choose_first(self.atelier, self.words), "", {}, "", idle
            return
        try:
            path = file_work.file_of(self.atelier, name)
        except AtelierError as error:
            yield error_html(error, self.words), "", "", {}, "", idle
            return
        job = file_work.submit(self.atelier, name, lambda progress: self._measure(name, path, progress), kind=KIND)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", "", {}, "", update(visible=not job.ended)
        if job.result is not None:
            facts, vector = job.result
            weights = BlockWeights.parse(vector).as_dict() if vector else {}
            told = notes_html(facts["notes"], self.words)
            yield told, self.summary(facts), vector, facts, block_table(_lines(facts), weights, self.words), idle

    def _measure(self, name: str, path: Path, progress: Progress) -> tuple[Facts, str]:
        contents = contents_of(path)
        if contents.not_applied:  # it can be described; Use and Bake will say why they cannot
            return {**asdict(described(contents)), "name": name}, ""
        model = self.atelier.host.model
        facts = summary_of(read_lora(path), model, progress)
        facts = dataclasses.replace(facts, notes=contents.remarks())
        return {**asdict(facts), "name": name}, self._first_vector(facts)

    def _first_vector(self, facts: LoraFacts) -> str:
        """Return the weights that the file recommends, else 1 for every block that it has; nothing for strangers."""
        try:
            stored = resolve_blocks(facts.recommended, self._presets(), facts.family)
        except AtelierError:
            stored = None  # a stranger's text in the file; the plain vector takes its place
        try:
            weights = stored or self._presets().resolve(find(Ingredient, "blocks").default, facts.family)
            return shown_weights(weights, facts.block_names, facts.family).format()
        except InputError:
            return ""

    def _presets(self) -> Any:
        return self.atelier.host.presets

    def summary(self, facts: Facts) -> str:
        """Return the line that says what the file is."""
        kinds = (sentence_in_words(kind, self.words.language) for kind in facts["kinds"])
        parts = [
            facts["family"].upper(),
            self.words("workshop.fact_kind", kind=" + ".join(kinds), rank=facts["rank"]),
            self.words("workshop.fact_blocks", n=len(facts["blocks"]), modules=facts["modules"]),
            megabytes(facts["size"]),
        ]
        if facts["trigger"]:
            parts.append(self.words("workshop.fact_trigger", words=facts["trigger"]))
        return f'<p class="atelier-sum">{escape(" · ".join(parts))}</p>'

    def choose(self, preset: str | None, facts: Facts) -> tuple[Any, str]:
        """Return a preset's numbers for the chosen file as vector text, and a message."""
        if not preset or not facts:
            return update(), ""

        def numbers() -> str:
            weights = resolve_blocks(preset, self._presets(), facts["family"])
            blocks = [line["block"] for line in facts["blocks"]]
            return shown_weights(weights, blocks, facts["family"]).format() if weights else ""

        vector, message = work.tried(self.words, numbers)
        return (update() if vector is None else vector), message

    def draw(self, vector: str, facts: Facts) -> tuple[Any, str]:
        """Return the table with a vector's numbers, and what is wrong with them."""
        if not facts or not vector:
            return update(), ""
        weights, message = work.tried(self.words, lambda: self._weights(vector, facts))
        if weights is None:
            return update(), message
        return block_table(_lines(facts), weights.as_dict(), self.words), ""

    def _weights(self, vector: str, facts: Facts) -> BlockWeights:
        if not facts:
            raise InputError("No LoRA is chosen", cure="Choose one from the list.")
        weights = resolve_blocks(vector, self._presets(), facts["family"])
        if weights is None:
            raise InputError("There are no block weights", where=say("vector"), cure="Choose a preset or type numbers.")
        return shown_weights(weights, [line["block"] for line in facts["blocks"]], facts["family"])

    def save_preset(self, name: str, vector: str, facts: Facts, replace: bool) -> tuple[str, Any]:
        """Save the numbers under a name; returns a message and the list of presets."""

        def save() -> str:
            presets_file.save_preset(self.atelier, name, self._weights(vector, facts).format(), replace=replace)
            return name.strip()

        saved, message = work.tried(self.words, save)
        if saved is None:
            return message, update()
        note = note_html(self.words("workshop.preset_saved", name=saved), kind="good")
        return note, update(choices=file_work.presets(self.atelier), value=saved)

    def tag(self, vector: str, preset: str | None, facts: Facts, window: Window = WHOLE) -> tuple[Any, str]:
        """Return the tag box with the tag for these weights, which act in the steps of ``window``, and a message."""
        tag, message = work.tried(self.words, lambda: in_steps(self._tag(vector, preset, facts), window))
        if tag is None:
            return update(value="", visible=False), message
        return update(value=tag, visible=True), note_html(self.words("workshop.tag_ready"), kind="good")

    def row(self, vector: str, preset: str | None, facts: Facts) -> tuple[tuple[str, str] | None, str]:
        """Return LoRA and blocks for a row of Merge, the preset's name where it says the same, and a message."""

        def write() -> tuple[str, str]:
            tag = parse_tag(self._tag(vector, preset, facts))
            return facts["name"], tag.weights.text if tag.weights else find(Ingredient, "blocks").default

        return work.tried(self.words, write)

    def _tag(self, vector: str, preset: str | None, facts: Facts) -> str:
        weights = self._weights(vector, facts)
        blocks = [line["block"] for line in facts["blocks"]]
        family = facts["family"]
        return short_tag(facts["name"], weights, self._presets(), family, blocks=blocks, preset=preset or "")


def _lines(facts: Facts) -> list[BlockFacts]:
    return [BlockFacts(**line) for line in facts["blocks"]]


def build(atelier: Atelier, words: Words, *, prompt: Any = None) -> BlocksPanel:
    """Build the tab; ``prompt``: that of the page where pictures are made."""
    do = Handlers(atelier, words)
    facts = gr.State({})
    with gr.Row():
        file = dropdown(
            file_work.names(atelier), label=words("workshop.file"), value=None, scale=4, elem_id="atelier_workshop_file"
        )
        again = gr.Button(words("workshop.refresh"), size="sm", scale=0, min_width=120, elem_classes=["atelier-small"])
    message = gr.HTML(elem_id="atelier_workshop_blocks_message")
    stop = gr.Button(words("workshop.cancel"), variant="stop", size="sm", visible=False)
    summary = gr.HTML(work.choose_first(atelier, words))
    preset, vector = _weights(atelier, words)
    plan = planner.draw(atelier, words)
    find = finder.draw(atelier, words)
    with gr.Row():
        use = gr.Button(words("workshop.use"), elem_id="atelier_workshop_blocks_use")
        bake = gr.Button(words("workshop.bake"), variant="primary", elem_id="atelier_workshop_blocks_bake")
    said = gr.HTML(elem_id="atelier_workshop_blocks_said")
    tag = gr.Textbox("", label=words("workshop.tag"), visible=False, interactive=False, **COPYABLE)
    with gr.Accordion(words("workshop.save_preset_title"), open=False) as naming, gr.Row():
        name = work.line(words("workshop.preset_name"), "preset_name", scale=2)
        replace = gr.Checkbox(False, label=words("workshop.preset_replace"), scale=1)
        save = gr.Button(words("workshop.save_preset"), scale=1, elem_id="atelier_workshop_save_preset")
    table = gr.HTML(elem_id="atelier_workshop_blocks_table")
    lists = (file, preset)
    again.click(do.refresh, [*lists], [*lists], **event_kw())
    outputs = [message, summary, vector, facts, table, stop]
    looked = file.change(do.look, [file], outputs, **event_kw(side_by_side=True))
    stop.click(lambda: file_work.stop(atelier, KIND), None, None, queue=False, **event_kw())
    preset.input(do.choose, [preset, facts], [vector, said], **event_kw())
    vector.change(do.draw, [vector, facts], [table, said], **event_kw())
    planner.wire(plan, atelier, words, facts=facts, vector=vector, looked=looked, prompt=prompt)
    finder.wire(find, atelier, words, facts=facts, looked=looked)
    seek = finder.Handlers(atelier, words)
    save.click(do.save_preset, [name, vector, facts, replace], [said, preset], **event_kw())
    used = use.click(do.tag, [vector, preset, facts], [tag, said], **event_kw())
    take_found, tag_found, name_found = _of_found(do, seek)
    find.take.click(take_found, [find.found, facts], [vector, find.said], **event_kw())
    find.save.click(name_found, [find.found, facts], [vector, naming, find.said], **event_kw())
    used_found = find.use.click(tag_found, [find.found, facts], [tag, find.said], **event_kw())
    uses = ((used, tag), (used_found, tag))
    return BlocksPanel(file, preset, vector, facts, said, bake, do.row, uses, find, seek.weights, lists, do.refresh)


def _weights(atelier: Atelier, words: Words) -> tuple[Any, Any]:
    """Draw the list of presets and the line of numbers beside it."""
    with gr.Row():
        preset = dropdown(
            file_work.presets(atelier),
            label=words("workshop.preset"),
            value=None,
            scale=1,
            min_width=160,
            elem_id="atelier_workshop_preset",
        )
        vector = gr.Textbox(
            "",
            label=words("workshop.vector"),
            info=words("workshop.vector_info"),
            elem_id="atelier_workshop_vector",
            max_lines=1,
            scale=3,
            min_width=320,
        )
    return preset, vector


def _of_found(do: Handlers, seek: finder.Handlers) -> tuple[Any, Any, Any]:
    """Return what the buttons below found weights do: into the planner, into the prompt, on the way to a preset."""
    words = do.words

    def take(found: Any, facts: Facts) -> tuple[Any, str]:
        vector, message = seek.weights(found, facts)
        return (update(), message) if vector is None else (vector, note_html(words("finder.taken"), kind="good"))

    def tag(found: Any, facts: Facts) -> tuple[Any, str]:
        vector, message = seek.weights(found, facts)
        if vector is None:
            return update(value="", visible=False), message
        return do.tag(vector, None, facts, Window(**found["window"]))

    def name(found: Any, facts: Facts) -> tuple[Any, Any, str]:
        vector, message = seek.weights(found, facts)
        if vector is None:
            return update(), update(), message
        field, button = words("workshop.vector"), words("workshop.save_preset")
        return vector, update(open=True), note_html(words("finder.save_next", field=field, save=button), kind="good")

    return take, tag, name


def wire_bake(panel: BlocksPanel, merge: Any, tabs: gr.Tabs) -> None:
    """Let the button Bake bring the LoRA and its weights to Merge as the only row, where the numbers are shown."""

    def hand_over(vector: str, preset: str | None, facts: Facts) -> tuple[Any, ...]:
        row, message = panel.row(vector, preset, facts)
        if row is None:
            return (message, update(), *merge.unchanged)
        return ("", update(selected="merge"), *merge.only_row(*row))

    def hand_over_found(found: Any, facts: Facts) -> tuple[Any, ...]:
        vector, message = panel.found(found, facts)
        return (message, update(), *merge.unchanged) if vector is None else hand_over(vector, None, facts)

    panel.bake.click(
        hand_over, [panel.vector, panel.preset, panel.facts], [panel.said, tabs, *merge.receives], **event_kw()
    )
    find = panel.finder
    find.bake.click(hand_over_found, [find.found, panel.facts], [find.said, tabs, *merge.receives], **event_kw())
