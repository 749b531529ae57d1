"""The planner's HTML: the row of blocks, the rendered variants, the texts for others.

The server draws them; what is typed, fixed, taken and undone lives in the page (`javascript/atelier_planner.js`), which
writes the weights into the tab's vector and the rest as JSON into one hidden field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

from lib_lora.architectures.registry import layouts
from lib_lora.blocks.layouts import Layout
from lib_lora.blocks.plan import MODES, BlockPlan, in_layouts
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tokens import format_number
from lib_lora.errors import AtelierError
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Folders
from lib_lora.services.plan_pictures import PlanPictures, Shown
from lib_lora.web.routes import file_url

HINTS = 4
"""Rows of known weights beside one's own."""
LINE = 110
"""Letters of a text that a line of its field shows at least, in a page of 1280 pixels."""
FORM = "atelier_plan_form"
VECTOR = "atelier_workshop_vector"
_NOTES = {
    "BASE": "note_base",
    **dict.fromkeys((f"IN{n:02d}" for n in (*range(7), *range(9, 12))), "note_little"),
    **dict.fromkeys(("IN07", "IN08"), "note_composition"),
    "M00": "note_pose",
    **dict.fromkeys((f"OUT{n:02d}" for n in range(3)), "note_details"),
    **dict.fromkeys((f"OUT{n:02d}" for n in range(3, 6)), "note_shape"),
    **dict.fromkeys((f"OUT{n:02d}" for n in range(6, 8)), "note_paint"),
    **dict.fromkeys((f"OUT{n:02d}" for n in range(8, 12)), "note_style"),
}
"""What one user of SD1 saw in each block with the LoRA of a character; a hint, said as such."""
_ACTS = ("undo", "free_all", "fix_all", "free_above", "free_below")


def row_html(name: str, layout: Layout, blocks: Mapping[str, float], presets: PresetFile, words: Words) -> str:
    """Return the row of a file: a cell for each block that it has, and what acts on all of them.

    Args:
        name: the LoRA's.
        layout: in which its weights are written.
        blocks: those that it has modules in, in the layout's order, with the norm of its change; NaN: not measured.
        presets: the known weights that may be laid beside.
        words: of the page's language.
    """
    family = {str(one.length): list(one.names) for one in layouts() if one.family == layout.family}
    data = {
        "lora": name,
        "vector": VECTOR,
        "form": FORM,
        "names": ",".join(layout.names),
        "layouts": json.dumps(family),
        "known": json.dumps(_known(presets, layout)),
    }
    attributes = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items())
    largest = max((norm for norm in blocks.values() if not math.isnan(norm)), default=0.0) or 1.0
    named = {block for names in family.values() for block in names}
    notes = _NOTES if _NOTES.keys() == named else {}  # of a UNet of 26 blocks
    cells = "".join(
        _cell(block, norm / largest, words, words(f"planner.{notes[block]}") if block in notes else "")
        for block, norm in blocks.items()
    )
    size = "few" if len(blocks) <= 12 else "some" if len(blocks) <= 20 else "many"
    return (
        f'<div class="atelier-plan" role="group" aria-label="{_said(words, "row")}" {attributes}>'
        f'{_controls(words)}<div class="atelier-plan-frame"><div class="atelier-plan-cells" data-size="{size}" '
        f'style="--half:{(len(blocks) + 1) // 2}">{cells}</div></div>{_hints(words)}</div>'
    )


def _said(words: Words, key: str, **values: object) -> str:
    return escape(words(f"planner.{key}", **values))


def _cell(block: str, length: float, words: Words, note: str) -> str:
    title = f"{block}: {words('planner.one_user', note=note)}" if note else block
    bar = "" if math.isnan(length) else f'<i style="width:{100 * length:.0f}%"></i>'
    hints = "".join(f'<i class="atelier-plan-hint" data-row="{n}"></i>' for n in range(HINTS))
    return (
        f'<div class="atelier-plan-cell" data-block="{block}" title="{escape(title)}"><b>{block}</b>'
        f'<input type="number" class="atelier-plan-value" step="0.05" value="1" '
        f'aria-label="{_said(words, "value_of", block=block)}">'
        f'<label><input type="checkbox" class="atelier-plan-fix" aria-label="{_said(words, "fix_of", block=block)}">'
        f"<span>{_said(words, 'fix')}</span></label>"
        f'<span class="atelier-block-share" aria-hidden="true">{bar}</span>{hints}</div>'
    )


def _controls(words: Words) -> str:
    modes = "".join(f'<option value="{mode}">{escape(words(f"planner.mode_{mode}"))}</option>' for mode in MODES)
    acts = "".join(
        f'<button type="button" class="atelier-act atelier-plan-act" data-act="{act}">{_said(words, act)}</button>'
        for act in _ACTS
    )
    again = (
        f'<button type="button" class="atelier-act primary atelier-plan-act" data-act="again" hidden>'
        f"{_said(words, 'again')}</button>"
    )
    return (
        f'<div class="atelier-plan-line"><label>{_said(words, "step")} <input type="number" class="atelier-plan-step" '
        f'min="0.05" step="0.05" value="0.5"></label>'
        f'<label>{_said(words, "mode")} <select class="atelier-plan-mode">{modes}</select></label>{acts}{again}</div>'
    )


def _hints(words: Words) -> str:
    rows = "".join(
        f'<span class="atelier-plan-line"><label>{n + 1} <select class="atelier-plan-known" data-row="{n}" '
        f'aria-label="{_said(words, "hint_of", n=n + 1)}"><option value="">{_said(words, "no_hint")}</option></select>'
        f'</label><button type="button" class="atelier-act atelier-plan-act" data-act="take_hint" data-row="{n}">'
        f"{_said(words, 'take_hint')}</button></span>"
        for n in range(HINTS)
    )
    return (
        f'<details class="atelier-plan-known-rows"><summary>{_said(words, "hints")}</summary>'
        f'<p class="atelier-hint">{_said(words, "hints_info")}</p>{rows}</details>'
    )


def _known(presets: PresetFile, layout: Layout) -> dict[str, list[float]]:
    """Return the presets of a layout's family by name; those with random marks, or of another family, are none."""
    found: dict[str, list[float]] = {}
    for name in presets.names():
        try:
            weights = presets.resolve(name, layout.family)
        except AtelierError:
            continue
        found[name] = list(weights.convert(layout)[0].values)
    return found


# -- what was rendered --------------------------------------------------------------------------------------------


def pictures_html(made: PlanPictures, folders: Folders, words: Words) -> str:
    """Return the variants as buttons: a click takes the value and fixes the block."""
    order = made.order
    cells = "".join(_variant(one, order.plan, folders, words) for one in made.shown)
    grids = " ".join(
        f'<a href="{url}" target="_blank">{_said(words, "grid", n=n)}</a>'
        for n, path in enumerate(made.grids, start=1)
        if (url := file_url(folders, path))
    )
    return (
        f'<div class="atelier-variants" data-lora="{escape(order.lora)}">'
        f'<p class="atelier-hint">{_said(words, "pictures_info")} {grids}</p>'
        f'<div class="atelier-variant-grid">{cells}</div>'
        f'<button type="button" class="atelier-act primary atelier-plan-act" data-act="next">'
        f"{_said(words, 'next')}</button></div>"
    )


def _variant(one: Shown, plan: BlockPlan, folders: Folders, words: Words) -> str:
    block, pictures = one.picture.block, "".join(_image(path, folders) for path in one.files)
    name = escape(one.picture.name)
    if not block or one.picture.value is None:
        return (
            f'<figure class="atelier-variant atelier-variant-base"><div class="atelier-variant-pictures">{pictures}'
            f"</div><figcaption><b>{_said(words, 'base')}</b> <small>{name}</small></figcaption></figure>"
        )
    value, before = format_number(one.picture.value), format_number(plan.base[block])
    changed = "" if one.changed is None else _said(words, "changed", percent=f"{one.changed:.1f}")
    take = _said(words, "take", block=block, value=value)
    return (
        f'<figure class="atelier-variant" data-block="{block}" data-value="{value}" data-before="{before}">'
        f'<button type="button" class="atelier-variant-pictures atelier-plan-take" title="{take}" aria-label="{take}">'
        f"{pictures}</button><figcaption><b>{block} {before} → {value}</b> <small>{changed}</small>"
        f'<button type="button" class="atelier-act chip atelier-plan-keep" '
        f'title="{_said(words, "keep_info", block=block, value=before)}">{_said(words, "keep", value=before)}</button>'
        f"</figcaption></figure>"
    )


def _image(path: Path, folders: Folders) -> str:
    return f'<img src="{file_url(folders, path)}" alt="" loading="lazy">'


# -- texts for others ---------------------------------------------------------------------------------------------


def texts_html(plan: BlockPlan, name: str, words: Words) -> str:
    """Return every text that another program takes, each with a button that copies it."""
    vectors, lost = in_layouts(plan.base)
    rows = [
        ("text_presets", "\n".join(plan.presets), {}),
        ("text_sr", plan.prompt_sr, {"first": plan.variants[0].name}),
        ("text_sr_safe", plan.prompt_sr_safe, {"name": name, "first": plan.variants[0].name}),
        ("text_eba", plan.eba_blocks, {}),
        ("text_rates", plan.lr_weight, {}),
    ]
    found = [_text(words(f"planner.{key}", **values), text, words) for key, text, values in rows if text]
    for length, text in vectors.items():
        label = words("planner.text_vector", n=length)
        if length in lost:
            label = f"{label} {words('planner.text_lost', blocks=', '.join(lost[length]))}"
        found.append(_text(label, text, words))
    return f'<div class="atelier-texts">{"".join(found)}</div>'


def _text(label: str, text: str, words: Words) -> str:
    rows = min(8, text.count("\n") + 1 if "\n" in text else 1 + len(text) // LINE)
    return (
        f'<div class="atelier-text"><span class="atelier-plan-line"><span>{escape(label)}</span>'
        f'<button type="button" class="atelier-act atelier-copy" data-done="{_said(words, "copied")}">'
        f"{_said(words, 'copy')}</button></span>"
        f'<textarea readonly rows="{rows}" wrap="{"off" if chr(10) in text else "soft"}" '
        f'aria-label="{escape(label)}">{escape(text)}</textarea></div>'
    )
