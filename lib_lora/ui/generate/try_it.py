"""What a new studio offers to try, as cards above the prompt: a click fills the fields. Only with the pocket model."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.demo import trial
from lib_lora.demo.settings import PICTURES, TRIGGER
from lib_lora.errors import AtelierError
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.services.saved_analysis import open_analysis
from lib_lora.ui import block_weight, compat
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.messages import error_html
from lib_lora.ui.train.inline_actions import act_button, read_act

PIECE = "try_it"
BOX = "atelier_try_act"
HIDE = "trial.hidden"
"""Under this key the settings remember that somebody put the cards away."""
TAKE, ANALYSIS, TRAIN, AWAY = "take", "analysis", "train", "away"


@dataclass(frozen=True)
class TryIt:
    """What the page wires.

    Attributes:
        box: hidden; changes with every click on a card.
        message: where an error is said.
        logic: the handlers.
    """

    box: Any
    message: Any
    logic: _Cards


def build(atelier: Atelier, words: Words) -> TryIt:
    """Draw the cards in the open Blocks."""
    logic = _Cards(atelier, words)
    atelier.live.add(PIECE, logic.draw)
    gr.HTML(atelier.live.placeholder(PIECE, words), elem_id="atelier_try")
    message = gr.HTML("", elem_id="atelier_try_message")
    return TryIt(gr.Textbox("", visible=HIDDEN, label="try", elem_id=BOX), message, logic)


def wire(it: TryIt, prompt: Any, seed: Any, panel: block_weight.BlockWeightPanel) -> None:
    """Let the cards fill the prompt, and open the shipped analysis in the analyzer."""
    accordions = [panel.accordion, panel.analyzer.accordion]
    taken = it.box.change(it.logic.take, it.box, [it.message, prompt, seed, *accordions], **compat.event_kw())

    def open_analysis_of(act: str) -> list[Any]:
        return it.logic.open(act, panel.analyzer)

    shown = taken.then(open_analysis_of, it.box, panel.analyzer.widgets.shown, **compat.event_kw())
    shown.then(None, it.box, None, **compat.js_kw(GO_THERE), **compat.event_kw())


GO_THERE = """(act) => {
    const goals = { take: "#atelier_generate_go", analysis: "#atelier_generate_analyzer_status" };
    const found = document.querySelector(goals[(act ?? "").split(/\\s/)[0]] ?? "#none");
    if (!found) return;
    found.scrollIntoView({ block: "center", behavior: "smooth" });
    if (found.tagName === "BUTTON") found.focus({ preventScroll: true });
}"""
"""Leads to what is next: the button that makes the picture, or the analysis."""


class _Cards:
    """Drawing the cards, and what a click on one does."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def draw(self, words: Words) -> str:
        """Return the cards as HTML; nothing where they do not fit, the LoRA is gone, or they were put away."""
        if self._atelier.settings.get(HIDE) or not trial.has_lora(self._atelier):
            return ""
        cards = [self._card(f"{TAKE} {one.name}", one.name, one.picture, words) for one in trial.EXAMPLES]
        cards.append(self._card(ANALYSIS, ANALYSIS, trial.SHIPPED / "analysis.webp", words))
        cards.append(self._card(TRAIN, TRAIN, PICTURES / "f00.png", words))
        away = act_button(AWAY, words("generate.try_away"), title=words("generate.try_away_title"), box=BOX)
        return (
            f'<section class="atelier-try" aria-label="{escape(words("generate.try_head"))}">'
            f'<div class="atelier-try-head"><b>{escape(words("generate.try_head"))}</b>'
            f'<span class="atelier-soft">{escape(words("generate.try_about"))}</span>{away}</div>'
            f'<div class="atelier-cards">{"".join(cards)}</div></section>'
        )

    def _card(self, act: str, key: str, picture: Path, words: Words) -> str:
        label, title = words(f"generate.try_{key}"), words(f"generate.try_{key}_title")
        shown = f'<img src="{_data_url(picture)}" alt="" width="88" height="88">'
        return act_button(act, label, title=title, kind="card", id_=f"atelier_try_{key}", box=BOX, before=shown)

    def take(self, act: str) -> list[Any]:
        """Return message, prompt, seed, and whether the two accordions are open."""
        verb, name = read_act(act)
        nothing = [compat.update() for _ in range(5)]
        if verb == AWAY:
            self._atelier.settings.put(HIDE, True)
            return nothing
        example = next((one for one in trial.EXAMPLES if one.name == name), None)
        example = trial.ANALYZED if verb == ANALYSIS else example
        if example is None:
            return nothing
        both = [compat.update(open=True)] * 2 if verb == ANALYSIS else [compat.update()] * 2
        return ["", example.prompt, example.seed, *both]

    def open(self, act: str, analyzer: block_weight.AnalyzerPanel) -> list[Any]:
        """Return what the analyzer's widgets show of the shipped analysis."""
        if read_act(act)[0] != ANALYSIS:
            return [compat.update()] * 5
        try:
            return analyzer.told(open_analysis(trial.analysis(self._atelier)))
        except AtelierError as error:
            return [error_html(error, self._words), *[compat.update()] * 4]

    def fill(self, act: str) -> list[Any]:
        """Return message, and folder, trigger and kind for the training form."""
        if read_act(act)[0] != TRAIN:
            return [compat.update()] * 4
        try:
            return ["", str(trial.pictures(self._atelier)), TRIGGER, "character"]
        except AtelierError as error:
            return [error_html(error, self._words), *[compat.update()] * 3]


@lru_cache(maxsize=16)
def _data_url(path: Path) -> str:
    kind = "image/webp" if path.suffix == ".webp" else "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
