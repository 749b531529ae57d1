"""How the sentences about a generation's tags reach its page: in the page's language, and as a notice."""

from __future__ import annotations

from lib_lora.errors import AtelierError
from lib_lora.host.webui.prompt.record import Notifier
from lib_lora.host.webui.session.progress import running_order
from lib_lora.i18n.error_words import sentence_in_words, sentence_of
from lib_lora.ui import compat
from lib_lora.ui.webui import settings


def page_notifier() -> Notifier:
    """Return what speaks for the page; its language is asked for at every sentence, because a setting changes it."""
    return Notifier(error=_error, note=_note, notice=_notice)


def _error(error: AtelierError) -> str:
    return sentence_of(error, settings.words().language)


def _note(text: str) -> str:
    return sentence_in_words(text, settings.words().language)


def _notice(text: str) -> None:
    """Show a notice in the page that pressed Generate; an order over REST has none."""
    compat.warn(text, *running_order())
