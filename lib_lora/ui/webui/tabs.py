"""The tabs *LoRA Train* and *LoRA Workshop* in the WebUI. Titles stay English: users hide and order tabs by title."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lib_lora.blocks.tag_edit import put_tag
from lib_lora.host.webui.prompt import hooks
from lib_lora.i18n.error_words import in_words
from lib_lora.ui import compat, train, workshop
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.remember import restore_when_opened
from lib_lora.ui.webui import accordion, settings, singletons
from lib_lora.ui.webui.host_page import HostPage, keep_out_of_config

logger = logging.getLogger("lora_atelier")

TRAIN, WORKSHOP = "LoRA Train", "LoRA Workshop"
TRAIN_ID, WORKSHOP_ID = "lora_atelier_train", "lora_atelier_workshop"
# Only where a tag came of it: after an error its message must stay in sight.
SHOW = "(text) => { if (text && typeof switch_to_txt2img === 'function') switch_to_txt2img(); return []; }"


def build() -> list[tuple[Any, str, str]]:
    """Return the tabs as the WebUI takes them, and wire the accordions: the page's own widgets all stand by now.

    One that fails is left out with its reason in the log; the others stand.
    """
    page = singletons.page()
    if page is None:
        return []
    _tried("the accordion LoRA Block Weight", accordion.wire, page)
    made = [(_tried(TRAIN, _train, page), TRAIN, TRAIN_ID), (_tried(WORKSHOP, _workshop, page), WORKSHOP, WORKSHOP_ID)]
    return [each for each in made if each[0] is not None]


def _tried(what: str, work: Callable[[HostPage], Any], page: HostPage) -> Any:
    try:
        return work(page)
    except Exception:  # the outermost hook: one broken panel must not take the others away
        logger.exception("LoRA Atelier: %s does not work", what)
        return None


def _train(page: HostPage) -> gr.Blocks:
    atelier = singletons.atelier()
    with gr.Blocks(analytics_enabled=False) as blocks:
        shared = singletons.shared_with()
        if shared is not None:  # trainings of both would write into each other's runs
            gr.HTML(error_html(shared, settings.words()), elem_id="atelier_train_shared")
        made = train.build(atelier, settings.words())
        _use(page, made.used.change, made.used)
        restore_when_opened(atelier, blocks)
    keep_out_of_config(blocks)
    return blocks


def _workshop(page: HostPage) -> gr.Blocks:
    atelier = singletons.atelier()
    with gr.Blocks(analytics_enabled=False) as blocks:
        aside = hooks.stands_aside()
        if aside is not None:
            what, where, cure = in_words(aside, settings.words().language)
            gr.HTML(note_html(f"{where}: {what}. {cure}"), elem_id="atelier_workshop_aside")
        made = workshop.build(atelier, settings.words(), prompt=page.found["txt2img"].get("prompt"))
        for event, box in made.uses:
            _use(page, event.then, box)
        restore_when_opened(atelier, blocks)
        lists = list(made.lists)  # the host's tab tells nobody that it was opened
        blocks.load(made.refresh, lists, lists, queue=False, **compat.event_kw())
    keep_out_of_config(blocks)
    return blocks


def _use(page: HostPage, when: Any, box: Any) -> None:
    """Let “use in prompt” write into txt2img's prompt, and open that tab."""
    prompt = page.found["txt2img"].get("prompt")
    if prompt is None:
        return
    light = {"queue": False, **compat.event_kw()}

    def use(text: str | None, now: str | None) -> str:
        return put_tag(now or "", train.tag_of(text or ""))

    when(use, [box, prompt], prompt, **light).then(None, [box], None, **compat.js_kw(SHOW))
