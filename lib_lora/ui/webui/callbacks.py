"""What the WebUI calls while it builds its page, starts its server, and reloads.

The rooms behind are imported when they are called for: a WebUI whose start we are part of has not yet needed them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lib_lora.errors import AtelierError
    from lib_lora.host.webui.protocols import DenoiserParams, ScriptCallbacks


def register(host: ScriptCallbacks) -> None:
    """Register our callbacks with ``modules.script_callbacks``; *Reload UI* has forgotten those of before.

    In a thread of its own, because the host looks at the whole stack at each registration, and looks for the files of
    some frames of its start in all modules: 65 ms a callback there, under 1 ms where the stack is short.
    """
    thread = threading.Thread(target=_register, args=(host,), name="lora-atelier-register")
    thread.start()
    thread.join()


def _register(host: ScriptCallbacks) -> None:
    host.on_ui_settings(add_settings)
    host.on_before_ui(before_page)
    host.on_after_component(note_component)
    host.on_ui_tabs(build_tabs)
    # Two of them: the WebUI catches what one raises, and block weights must not hang on the routes.
    host.on_app_started(start)
    host.on_app_started(put_block_weights)
    host.on_cfg_denoiser(before_step)
    host.on_infotext_pasted(restore_prompt)
    host.on_script_unloaded(unload)


def add_settings() -> None:
    """Put our section on the settings page."""
    from lib_lora.ui.webui import settings

    settings.add_settings()


def before_page() -> None:
    """Begin with a new page; the X/Y/Z plot reads its list of axes when its part of it is built."""
    from lib_lora.host.webui.axes.plot import register_axes
    from lib_lora.host.webui.session.progress import survive_reload
    from lib_lora.i18n.error_words import sentence_of
    from lib_lora.ui.webui import settings, singletons

    survive_reload()
    singletons.new_page()
    language = settings.words().language

    def say(error: AtelierError) -> str:
        return sentence_of(error, language)

    register_axes(singletons.atelier().host, say)


def note_component(component: Any, **given: Any) -> None:
    """Remember a widget of the WebUI that our panels are wired to."""
    from lib_lora.ui.webui import singletons

    page = singletons.page()
    if page is not None:
        page.note(component, given.get("elem_id"))


def build_tabs() -> list[tuple[Any, str, str]]:
    """Return our tabs."""
    from lib_lora.ui.webui import tabs

    return tabs.build()


def start(demo: Any, app: FastAPI) -> None:
    """Give the server our routes; it is a new one after each *Reload UI*."""
    from lib_lora.ui import compat
    from lib_lora.ui.webui import singletons
    from lib_lora.web.api.webui import add_to_webui

    compat.let_go_of_the_lost(demo)
    add_to_webui(app, singletons.atelier())


def put_block_weights(*_: Any) -> None:
    """Put block weights into every generation; the host's own LoRA extension has registered by now."""
    from lib_lora.host.webui.prompt import hooks
    from lib_lora.ui.webui import singletons
    from lib_lora.ui.webui.notifier import page_notifier

    hooks.install(singletons.host, page_notifier())


def before_step(params: DenoiserParams) -> None:
    """Bring the LoRAs of the picture that is being sampled to its next step."""
    from lib_lora.host.webui.prompt import hooks

    hooks.on_cfg_denoiser(params)


def restore_prompt(infotext: str, params: dict[str, Any]) -> None:
    """Give a pasted prompt the block weights that its picture was made with."""
    from lib_lora.host.webui.prompt import hooks

    hooks.on_infotext_pasted(infotext, params)


def unload() -> None:
    """Take back what a reload does not; the Atelier and its running work stay."""
    from lib_lora.host.webui.axes.plot import unregister_axes
    from lib_lora.host.webui.prompt import hooks

    hooks.uninstall()
    unregister_axes()
