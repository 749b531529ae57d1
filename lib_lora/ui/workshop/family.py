"""Where a file comes from: its family tree, the command that makes it again, "repeat this", and its page as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from types import MappingProxyType
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.formats.names import ENDING
from lib_lora.formats.privacy import without_folders
from lib_lora.i18n.words import Words
from lib_lora.merge.extract_spec import ExtractOptions
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.rank_rule import RuleOptions
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.options import options_of
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import files as file_work
from lib_lora.services import readme, repeated
from lib_lora.services.atelier import Atelier
from lib_lora.services.command_lines import command_line
from lib_lora.services.conversion import ConvertOptions
from lib_lora.services.lineage import HERE, Ancestor, Files
from lib_lora.services.portions import PruneOptions, SplitOptions
from lib_lora.ui.compat import event_kw, gr, update
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.workshop import work
from lib_lora.ui.workshop.tables import error_text

FAMILY = "workshop family"
"""The kind of work that it is, so that its own Cancel stops it and nothing else."""
NO_CANCEL = update(visible=False)


class Handlers:
    """The events in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words = atelier, words

    def look(self, name: str | None) -> Iterator[tuple[str, str, Any]]:
        """Read the family tree; yields (HTML, command, Cancel)."""
        try:
            path = file_work.file_of(self.atelier, name)
        except AtelierError as error:
            yield error_html(error, self.words), "", NO_CANCEL
            return

        def read(progress: Progress) -> tuple[Ancestor, str]:
            progress.passed(0, 1, say("reading"))
            files = Files.of(self.atelier)
            tree = files.tree(path)
            return tree, command_line(tree.order, path, files) if tree.order else ""

        job = file_work.submit(self.atelier, str(name), read, kind=FAMILY)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended)
        if job.result is not None:
            tree, line = job.result
            note = "" if tree.order else note_html(self.words("workshop.family_none"))
            yield note + f'<ul class="atelier-family">{self.branch(tree)}</ul>', line, NO_CANCEL

    def branch(self, one: Ancestor, depth: int = 0) -> str:
        """Return a file of the tree with its parents as HTML."""
        parts = [f"<b>{escape(one.name)}</b>", self.told(one.row, _ROW)]
        if depth:
            state = self.words(f"workshop.family_{one.state}")
            kind = "good" if one.state == HERE else "bad"
            digest = escape(one.hash[:12])
            parts.append(f'<code>{digest}</code> <span class="atelier-family-{kind}">{escape(state)}</span>')
        if one.order is not None:
            parts.append(escape(self.words("workshop.family_made", verb=self.words(f"readme.verb_{one.order.verb}"))))
            more = {**one.order.options, **({"base": one.order.base} if one.order.base else {})}
            parts.append(self.told(more, _LABELS))
            if one.order.error:
                parts.append(escape(self.words("workshop.family_error", error=error_text(one.order.error))))
        elif one.facts:
            known = {name: one.facts[name] for name in ("base model", "method", "steps", "epoch") if name in one.facts}
            facts = {self.words(f"workshop.fact_{readme.FACTS[name]}"): text for name, text in known.items()}
            parts.append(self.told(facts))
        inner = "".join(self.branch(parent, depth + 1) for parent in one.parents)
        return f"<li>{' · '.join(part for part in parts if part)}{f'<ul>{inner}</ul>' if inner else ''}</li>"

    def told(self, table: Mapping[str, Any], labels: Mapping[str, str] = MappingProxyType({})) -> str:
        """Return options in a few words, as HTML."""
        return f'<span class="atelier-family-told">{escape(_few(table, self.words, labels))}</span>' if table else ""

    def repeat(self, name: str | None) -> Iterator[tuple[str, Any]]:
        """Make the file again; yields (message, Cancel)."""
        try:
            path = file_work.file_of(self.atelier, name)
            taken = file_work.names(self.atelier)
            target = self.atelier.folders.loras / f"{repeated.again(path, taken=taken)}{ENDING}"
            repeated.parents_at_hand(repeated.order_of(path), path, Files.of(self.atelier))
        except AtelierError as error:
            yield error_html(error, self.words), NO_CANCEL
            return

        def make(progress: Progress) -> repeated.Repeated:
            files, model = Files.of(self.atelier), self.atelier.host.model
            return repeated.repeat(path, target, files, model=model, progress=progress)

        job = file_work.submit(self.atelier, target.stem, make, kind=FAMILY)
        for html in work.shown(self.atelier, self.words, job):
            yield html, update(visible=not job.ended)
        if job.result is not None:
            made: repeated.Repeated = job.result
            key = "family_same" if made.same else "family_differs"
            text = self.words(f"workshop.{key}", path=str(made.path), hash=made.hash[:12])
            yield note_html(text, kind="good" if made.same else "warning"), NO_CANCEL

    def page(self, name: str | None) -> tuple[str, str]:
        """Return the file's page as text, and a message."""
        try:
            return readme.readme(file_work.file_of(self.atelier, name), self.words.language), ""
        except AtelierError as error:
            return "", error_html(error, self.words)

    def save_page(self, name: str | None, text: str, replace: bool) -> str:
        """Write the page beside the file, as it stands in the box."""
        try:
            path = file_work.file_of(self.atelier, name)
            file_work.check_own(self.atelier, path)
            text = text if text.strip() else readme.readme(path, self.words.language)
            saved = readme.write_readme(text, readme.readme_path(path), overwrite=replace)
        except AtelierError as error:
            return error_html(error, self.words)
        return note_html(self.words("workshop.page_saved", path=str(saved)), kind="good")


_COMMANDS = (MergeSpec, MethodOptions, RuleOptions, ConvertOptions, PruneOptions, SplitOptions, ExtractOptions)
_LABELS = {one.name: one.label for holder in _COMMANDS for one in options_of(holder) if one.label}
"""What the options of an order are called in the panels."""
_ROW = {one.name: one.label for one in options_of(Ingredient) if one.label}


def _few(table: Mapping[str, Any], words: Words, labels: Mapping[str, str]) -> str:
    """Return options in a few words; a rule and a method are told by their own options."""
    texts = []
    for name, value in table.items():
        if name == "rule" and isinstance(value, dict):
            rest = {key: one for key, one in value.items() if key not in ("kind", "value")}
            value = {str(value.get("kind")): value.get("value"), **rest}
        if isinstance(value, dict):
            texts.append(_few(value, words, labels))
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        label = words.said(labels[name]) if name in labels else name
        texts.append(f"{label} {without_folders(shown[:120])}")
    return ", ".join("".join(char if char.isprintable() else " " for char in text) for text in texts)


def build(atelier: Atelier, words: Words, file: Any) -> Any:
    """Build the accordions; returns the event after which the list of files may be longer."""
    do = Handlers(atelier, words)
    with gr.Accordion(words("workshop.family"), open=False, elem_id="atelier_workshop_family"):
        with gr.Row():
            look = gr.Button(words("workshop.family_look"), elem_id="atelier_workshop_family_look")
            again = gr.Button(words("workshop.family_repeat"), elem_id="atelier_workshop_family_repeat")
            stop = work.cancel_button(atelier, words, "atelier_workshop_family_stop", kind=FAMILY)
        tree = gr.HTML(elem_id="atelier_workshop_family_tree")
        line = gr.Textbox(
            "", label=words("workshop.family_command"), lines=2, max_lines=6, elem_id="atelier_workshop_family_command"
        )
        said = gr.HTML(elem_id="atelier_workshop_family_message")
    with gr.Accordion(words("workshop.page"), open=False, elem_id="atelier_workshop_page"):
        make = gr.Button(words("workshop.page_make"), elem_id="atelier_workshop_page_make")
        text = gr.Textbox(
            "", label=words("workshop.page_text"), lines=8, max_lines=30, elem_id="atelier_workshop_page_text"
        )
        with gr.Row():
            replace = gr.Checkbox(False, label=words("workshop.replace"))
            save = gr.Button(words("workshop.page_save"), elem_id="atelier_workshop_page_save")
        told = gr.HTML(elem_id="atelier_workshop_page_message")
    look.click(do.look, [file], [tree, line, stop], **event_kw(side_by_side=True))
    make.click(do.page, [file], [text, told], **event_kw())
    save.click(do.save_page, [file, text, replace], [told], **event_kw())
    file.change(lambda: ("", "", "", "", ""), None, [tree, line, said, text, told], **event_kw())
    return again.click(do.repeat, [file], [said, stop], **event_kw(side_by_side=True))
