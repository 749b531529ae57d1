"""The caption editor's layout, and which event calls which handler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from lib_lora.data.tags import TagLists
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.ui import compat
from lib_lora.ui.captions.check import CheckTools, CheckWidgets, check_widgets
from lib_lora.ui.captions.crops import CropTools, CropWidgets, crop_widgets
from lib_lora.ui.captions.cutouts import CutoutTools, CutoutWidgets, cutout_widgets
from lib_lora.ui.captions.editor import CaptionTools, EditorWidgets, RuleWidgets, editor_widgets, rule_widgets
from lib_lora.ui.captions.expression import ExpressionTools, ExpressionWidgets, expression_widgets
from lib_lora.ui.captions.tagger import TaggerTools, TaggerWidgets, tagger_widgets
from lib_lora.ui.compat import gr
from lib_lora.ui.remember import remember


@dataclass(frozen=True)
class CaptionWidgets:
    """The widgets of the editor, room by room."""

    editor: EditorWidgets
    expression: ExpressionWidgets
    check: CheckWidgets
    tagger: TaggerWidgets
    cutouts: CutoutWidgets
    crops: CropWidgets
    rule: RuleWidgets


@dataclass(frozen=True)
class Around:
    """What the editor needs of the panel that it stands in.

    Attributes:
        found, trigger, kind, resolution, opened: its fields, and what is kept of it.
        changed: lets the panel follow an event after which captions may be others.
    """

    found: Any
    trigger: Any
    kind: Any
    resolution: Any
    opened: Any
    changed: Callable[[Any], Any]


def build(words: Words, rules: TagLists | None = None) -> CaptionWidgets:
    """Draw the editor inside an open Blocks; ``rules`` are those for file names."""
    editor = editor_widgets(words)
    with gr.Accordion(words("captions.head_expression"), open=False, elem_id="atelier_train_regex"):
        expression = expression_widgets(words)
    with gr.Accordion(words("captions.head_check"), open=False, elem_id="atelier_train_checks"):
        check = check_widgets(words)
    with gr.Accordion(words("captions.head_tagger"), open=False, elem_id="atelier_train_tagger_room"):
        tagger = tagger_widgets(words)
    with gr.Accordion(words("captions.head_cutouts"), open=False, elem_id="atelier_train_cutout_room"):
        cutouts = cutout_widgets(words)
    with gr.Accordion(words("captions.head_crops"), open=False, elem_id="atelier_train_crop_room"):
        crops = crop_widgets(words)
    with gr.Accordion(words("train.tag_rule"), open=False, elem_id="atelier_train_rules"):
        rule = rule_widgets(words, rules)
    return CaptionWidgets(editor, expression, check, tagger, cutouts, crops, rule)


def wire(atelier: Atelier, words: Words, tools: CaptionTools, widgets: CaptionWidgets, around: Around) -> None:
    """Let the editor's events call its handlers."""
    _wire_editor(tools, widgets, around)
    _wire_expression(ExpressionTools(tools, words), widgets, around)
    _wire_check(CheckTools(atelier, tools, words), widgets, around)
    _wire_tagger(TaggerTools(atelier, tools, words), widgets, around)
    _wire_cutouts(CutoutTools(atelier, words), widgets, around)
    _wire_crops(CropTools(atelier, words), widgets, around)
    for field, key in ((widgets.tagger.fields[0], "tagger"), (widgets.cutouts.fields[0], "cutter")):
        remember(atelier, field, f"train.{key}", good=lambda value: isinstance(value, str))


def _wire_editor(tools: CaptionTools, widgets: CaptionWidgets, around: Around) -> None:
    editor, rule = widgets.editor, widgets.rule

    def pick(found: Any, event: gr.SelectData) -> tuple[Any, str]:
        return tools.pick(found, event.index)

    editor.gallery.select(pick, [around.found], [around.opened, editor.caption], **compat.event_kw())
    for event, handler, inputs in (
        (editor.save.click, tools.save, [around.opened, editor.caption]),
        (editor.add.click, partial(tools.tag, "add"), [editor.only, editor.tag]),
        (editor.remove.click, partial(tools.tag, "remove"), [editor.only, editor.tag]),
        (editor.replace.click, partial(tools.tag, "replace"), [editor.only, editor.tag, editor.by]),
        (rule.rule.click, tools.rule, [editor.only, around.trigger, rule.also]),
        (editor.undo.click, tools.undo, []),
    ):
        around.changed(event(handler, [around.found, *inputs], editor.message, **compat.event_kw()))


def _wire_expression(tools: ExpressionTools, widgets: CaptionWidgets, around: Around) -> None:
    one, seen = widgets.expression, gr.State(None)
    fields = [around.found, widgets.editor.only, one.find, one.by]
    one.preview.click(tools.preview, fields, [one.shown, seen], **compat.event_kw())
    around.changed(one.apply.click(tools.apply, [*fields, seen], [one.shown, seen], **compat.event_kw()))


def _wire_check(tools: CheckTools, widgets: CaptionWidgets, around: Around) -> None:
    one, checked = widgets.check, gr.State(None)
    one.check.click(
        tools.check,
        [around.found, around.trigger, around.kind, around.resolution],
        [one.shown, checked],
        **compat.event_kw(side_by_side=True),
    )
    outputs = [widgets.editor.message, one.shown, checked]
    around.changed(one.act.change(tools.act, [one.act, around.found, checked], outputs, **compat.event_kw()))


def _wire_tagger(tools: TaggerTools, widgets: CaptionWidgets, around: Around) -> None:
    one, side = widgets.tagger, compat.event_kw(side_by_side=True)
    meant = [around.found, widgets.editor.only]
    one.attempt.click(tools.attempt, [*meant, around.opened, *one.fields], one.message, **side)
    around.changed(one.tag.click(tools.tag, [*meant, *one.fields], one.message, **side))


def _wire_cutouts(tools: CutoutTools, widgets: CaptionWidgets, around: Around) -> None:
    one, side = widgets.cutouts, compat.event_kw(side_by_side=True)
    meant = [around.found, widgets.editor.only]
    one.attempt.click(tools.attempt, [*meant, around.opened, *one.fields], one.message, **side)
    one.make.click(tools.make, [*meant, *one.fields], one.message, **side)


def _wire_crops(tools: CropTools, widgets: CaptionWidgets, around: Around) -> None:
    one, proposed, side = widgets.crops, gr.State(None), compat.event_kw(side_by_side=True)
    shown = [one.message, proposed, one.gallery, one.ticked]
    one.propose.click(tools.propose, [around.found, widgets.editor.only, *one.fields], shown, **side)
    one.write.click(tools.write, [proposed, one.ticked, *one.fields], one.message, **side)
