"""The studio's web app: one page for each language over the same `Atelier`, with the panels as tabs."""

from __future__ import annotations

import json
from html import escape

from fastapi import FastAPI

from lib_lora.blocks.tag_edit import put_tag
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.services.atelier import Atelier
from lib_lora.ui import compat, generate, report, tour, train, workshop
from lib_lora.ui.compat import gr
from lib_lora.ui.gradio_door import GradioDoor
from lib_lora.ui.remember import restore_when_opened
from lib_lora.web.routes import BASE, SCRIPTS, STYLE, add_routes, add_studio_routes

NAMES = {"en": "English", "ja": "日本語"}
"""Each language by its own name, so that whoever landed in the wrong one finds the way out."""


def build_app(atelier: Atelier, *, language: str = "") -> FastAPI:
    """Return the whole app; ``language`` is where ``/`` leads, empty: where the browser's languages lead."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, atelier)
    add_studio_routes(app, language=language)
    compat.keep_local()
    for each in LANGUAGES:
        page = build_page(atelier, Words(each))
        compat.mount(app, page, f"/{each}", upload_limit=atelier.upload_limit)
    app.add_middleware(GradioDoor, pages=[f"/{each}" for each in LANGUAGES], uploads=compat.uploads_folder())
    return app


def build_page(atelier: Atelier, words: Words) -> gr.Blocks:
    """Return the page of one language."""
    with compat.page(words("app.title")) as page:
        gr.HTML(header_html(atelier, words), elem_id="atelier_app_header")
        tour.build(atelier, words)
        tabs: dict[str, gr.Tab] = {}
        with gr.Tabs(elem_id="atelier_app_tabs"):
            with tab("generate", words, tabs):
                made = generate.build(atelier, words)
            with tab("train", words, tabs):
                trained = train.build(atelier, words)
            with tab("workshop", words, tabs):
                worked = workshop.build(atelier, words, prompt=made.prompt)
            with tab("report", words, tabs):
                reported = report.build(atelier, words)
        _wire(made, trained, worked)
        light = {"queue": False, **compat.event_kw()}
        tabs["workshop"].select(worked.refresh, [*worked.lists], [*worked.lists], **light)
        tabs["report"].select(reported.refresh, [*reported.asked], [*reported.told], **light)
        restore_when_opened(atelier, page)
        page.load(None, None, None, **compat.js_kw(script_loader()))
    return page


def tab(name: str, words: Words, tabs: dict[str, gr.Tab]) -> gr.Tab:
    """Open a tab and note it under its name."""
    tabs[name] = gr.Tab(words(f"app.tab_{name}"), id=name, elem_id=f"atelier_app_tab_{name}")
    return tabs[name]


def _wire(made: generate.GeneratePanel, trained: train.TrainPanel, worked: workshop.WorkshopPanel) -> None:
    """Let “use in prompt” of the other tabs write into the prompt of Generate, and open that tab."""
    light = {"queue": False, **compat.event_kw()}
    first = "#atelier_app_tabs :is(.tab-nav, [role=tablist]) button"  # gradio 6 has others before it, to measure
    show = compat.js_kw(f"() => {{ document.querySelector('{first}')?.click() }}")

    def use(text: str | None, prompt: str | None) -> str:
        return put_tag(prompt or "", train.tag_of(text or ""))

    boxes = [(trained.used.change, trained.used)] + [(event.then, box) for event, box in worked.uses]
    for when, box in boxes:
        when(use, [box, made.prompt], made.prompt, **light).then(None, None, None, **show)
    cards = made.cards
    form = [cards.message, trained.folder, trained.trigger, trained.kind]
    filled = cards.box.change(cards.logic.fill, cards.box, form, **light)
    filled.then(None, cards.box, None, **compat.js_kw(TO_TRAINING.replace("TABS", first)), **light)


TO_TRAINING = """(act) => {
    if (!(act ?? "").startsWith("train")) return;
    document.querySelectorAll("TABS")[1]?.click();
    setTimeout(() => document.querySelector("#atelier_train_look")?.click(), 400);
}"""
"""Opens the tab LoRA Train and looks at the folder that was filled in; gradio 6 builds a tab when it is opened."""


def header_html(atelier: Atelier, words: Words) -> str:
    """Return the line above the tabs: whose page this is, which model is loaded, language and theme."""
    others = "".join(
        f'<a href="{BASE}/language/{each}" lang="{each}" hreflang="{each}">{NAMES[each]}</a>'
        for each in LANGUAGES
        if each != words.language
    )
    model = words("app.model", name=atelier.host.model.name, family=atelier.host.model.family.upper())
    return (
        f'<link rel="stylesheet" href="{BASE}/page/{STYLE.name}">'
        f'<div class="atelier-header"><b class="atelier-title">{escape(words("app.title"))}</b>'
        f'<span class="atelier-model">{escape(model)}</span>'
        f'<span class="atelier-switches">{others}<button type="button" class="atelier-theme" '
        f'data-dark="{escape(words("app.to_dark"))}" data-light="{escape(words("app.to_light"))}"></button></span>'
        f'</div><div class="atelier-lost" role="alert" data-lost="{escape(words("app.lost"))}" '
        f'data-restarted="{escape(words("app.restarted"))}" data-reload="{escape(words("app.reload"))}" hidden></div>'
    )


def script_loader() -> str:
    """Return the JavaScript that brings ``javascript/*.js`` into the page, as a WebUI does by itself."""
    return f"""() => {{
        for (const name of window.atelierScripts ? [] : (window.atelierScripts = {json.dumps(script_names())})) {{
            const script = document.createElement("script");
            script.src = "{BASE}/page/" + name;
            document.head.append(script);
        }}
    }}"""


def script_names() -> list[str]:
    """Return the names of the page's scripts, in loading order."""
    return sorted(path.name for path in SCRIPTS.glob("*.js"))
