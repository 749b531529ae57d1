"""Pieces of the page that renew themselves: the server draws them, every tab shows the same.

A piece is a function from words to HTML. The page holds a `placeholder`; `javascript/lora_atelier.js` asks for it every
second at ``/lora-atelier/v1/live/NAME`` and replaces it when its version changed. So a job's state survives a closed
tab, needs no queue of gradio's, and works alike in every host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from html import escape

from lib_lora.i18n.words import Words

Fragment = Callable[[Words], str]


class PolledFragment:
    """The pieces of one server, by name."""

    def __init__(self) -> None:
        self._pieces: dict[str, Fragment] = {}

    def add(self, name: str, piece: Fragment) -> None:
        """Register a piece; the panel of each language registers the same one, the last wins."""
        self._pieces[name] = piece

    def html(self, name: str, words: Words) -> tuple[str, str]:
        """Return the version and the HTML of a piece; KeyError where there is none of that name."""
        text = self._pieces[name](words)
        return hashlib.sha256(text.encode()).hexdigest()[:16], text

    def placeholder(self, name: str, words: Words) -> str:
        """Return what a ``gr.HTML`` shows: the piece as it is now, and the marks by which the page renews it."""
        version, text = self.html(name, words)
        return (
            f'<div class="atelier-live" data-live="{escape(name)}" data-language="{words.language}" '
            f'data-version="{version}">{text}</div>'
        )
