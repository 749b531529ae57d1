"""Five hints above the tabs of a new studio, one at a time; what was put away stays away, as the data folder says."""

from __future__ import annotations

import json
from html import escape

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.ui import compat
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.train.inline_actions import act_button, read_act

BOX = "atelier_tour_act"
AT = "tour.at"
"""Under this key the settings remember which hint is shown; `OVER` where none is any more."""
OVER = -1
PLACES: dict[str, tuple[int, list[str]]] = {
    "pictures": (0, ["atelier_generate_prompt"]),
    "blocks": (0, ["atelier_generate_bw_accordion"]),
    "analyzer": (0, ["atelier_generate_bw_accordion", "atelier_generate_analyzer"]),
    "train": (1, ["atelier_train_folder"]),
    "workshop": (2, ["atelier_workshop_tabs"]),
}
"""What each hint is about: the number of its tab, and what is opened there one in the other, or only looked at."""

SHOW = """(act) => {
    const [verb, name] = (act ?? "").split(/\\s/);
    if (verb !== "show") return document.querySelector("#atelier_tour_next, #atelier_tour_close")?.focus();
    const [tab, ids] = PLACES[name];
    document.querySelectorAll("#atelier_app_tabs :is(.tab-nav, [role=tablist]) button")[tab]?.click();
    const show = ([id, ...inner]) => setTimeout(() => {
        const place = document.getElementById(id);
        if (!place) return;
        place.querySelector(":scope > .label-wrap:not(.open)")?.click();
        if (inner.length) return show(inner);
        place.scrollIntoView({ block: "center" });
        place.classList.add("atelier-shown");
        setTimeout(() => place.classList.remove("atelier-shown"), 2500);
        place.querySelector("textarea, input, button")?.focus({ preventScroll: true });
    }, 400);
    show(ids);
}"""
"""Opens what a hint is about, marks it for a moment and leads the keyboard there; after another hint it stays here."""


def build(atelier: Atelier, words: Words) -> None:
    """Draw the hints in the open page of the studio, and wire them."""
    shown = gr.HTML(draw(atelier, words), elem_id="atelier_tour")
    box = gr.Textbox("", visible=HIDDEN, label="tour", elem_id=BOX)

    def act(order: str) -> str:
        move(atelier, read_act(order)[0])
        return draw(atelier, words)

    light = {"queue": False, **compat.event_kw()}
    script = SHOW.replace("PLACES", json.dumps(PLACES))
    box.change(act, box, shown, **light).then(None, box, None, **compat.js_kw(script), **light)
    compat.page_being_built().load(lambda: draw(atelier, words), None, shown, **light)


def move(atelier: Atelier, verb: str) -> None:
    """Go to another hint, or put them away: ``next``, ``back``, ``close``."""
    at = _at(atelier)
    places = {"next": at + 1, "back": max(0, at - 1), "close": OVER}
    if at != OVER and verb in places:
        atelier.settings.put(AT, places[verb] if places[verb] < len(PLACES) else OVER)


def draw(atelier: Atelier, words: Words) -> str:
    """Return the present hint as HTML, nothing where they are over."""
    at = _at(atelier)
    if at == OVER:
        return ""
    name, last = list(PLACES)[at], at == len(PLACES) - 1
    acts = [_button("show", name, words)]
    acts += [_button("back", "", words)] if at else []
    acts += [] if last else [_button("next", "", words, kind="primary")]
    acts.append(_button("close", "", words, kind="primary" if last else ""))
    escape_key = "if (event.key === 'Escape') this.querySelector('#atelier_tour_close').click()"
    return (
        f'<section class="atelier-tour" aria-label="{escape(words("app.tour"))}" onkeydown="{escape_key}">'
        f'<span class="atelier-tour-count">{at + 1} / {len(PLACES)}</span>'
        f'<p role="status">{escape(words(f"app.tour_{name}"))}</p>'
        f'<span class="atelier-acts">{"".join(acts)}</span></section>'
    )


def _at(atelier: Atelier) -> int:
    at = atelier.settings.get(AT, 0)
    return at if isinstance(at, int) and 0 <= at < len(PLACES) else OVER


def _button(verb: str, about: str, words: Words, *, kind: str = "") -> str:
    return act_button(
        f"{verb} {about}".strip(), words(f"app.tour_{verb}"), kind=kind, id_=f"atelier_tour_{verb}", box=BOX
    )
