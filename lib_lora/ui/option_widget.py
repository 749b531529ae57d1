"""A declared option as a widget: label, explanation, default and range come from its declaration."""

from __future__ import annotations

from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.options import Option
from lib_lora.ui.compat import gr


def widget(one: Option, words: Words, *, info: bool | str = True, **more: Any) -> Any:
    """Draw an option inside an open Blocks.

    A number without a step has no bounds in its widget: gradio would refuse what lies outside with a sentence of its
    own, in English; the option itself says it better.

    Args:
        one: the option.
        words: of the page's language.
        info: whether the explanation stands below the label; or a text in its place, for this widget alone.
        more: keywords of the widget, which win: a value that is remembered, a size that belongs to the model.
    """
    given: dict[str, Any] = {"label": words.said(one.label), "value": shown(one, one.default)}
    if info:
        given["info"] = info if isinstance(info, str) else words.said(one.help)
    if one.kind is bool:
        return gr.Checkbox(**given | more)
    if one.choices:
        own = {"choices": list(one.choices)} | ({"allow_custom_value": True} if one.paths else {})
        return gr.Dropdown(**own | given | more)
    if one.kind in (int, float) and not one.auto:
        if one.step is not None:
            low, high = one.offered or (one.low, one.high)
            return gr.Slider(**{"minimum": low, "maximum": high, "step": one.step} | given | more)
        return gr.Number(**{"precision": 0 if one.kind is int else None} | given | more)
    lines = 3 if one.kind is tuple else 1
    return gr.Textbox(**{"lines": lines, "max_lines": 4 if lines > 1 else 1} | given | more)


def shown(one: Option, value: Any) -> Any:
    """Return an option's value as its widget holds it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if one.auto and not isinstance(value, str):
        return f"{value:g}"
    return "\n".join(value) if isinstance(value, list | tuple) else value
