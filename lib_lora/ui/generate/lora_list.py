"""The list of LoRAs beside the prompt; a click writes the tag. It is a live piece: new files appear by themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path

from lib_lora.host.base import Host
from lib_lora.ui.words import Words

FRESH = 2.0
"""Seconds for which one look into the folders serves all tabs."""


class LoraList:
    """The files, looked up at most every other second, the newest first."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._seen: list[tuple[str, Path]] = []
        self._when = float("-inf")
        self._lock = threading.Lock()

    def __call__(self, words: Words) -> str:
        """Return the list as HTML."""
        files = self._files()
        if not files:
            folders = ", ".join(str(folder) for folder in self._host.lora_folders)
            return f'<p class="atelier-hint">{escape(words("generate.no_loras", folder=folders))}</p>'
        hint = escape(words("generate.insert_hint"))
        items = "".join(
            f'<li><button type="button" class="atelier-insert" data-insert="{escape(tag_of(name))}" '
            f'title="{escape(str(path))}&#10;{hint}">{escape(name)}</button></li>'
            for name, path in files
        )
        return f'<ul class="atelier-loras" id="atelier_generate_lora_items">{items}</ul>'

    def _files(self) -> list[tuple[str, Path]]:
        with self._lock:
            if time.monotonic() - self._when > FRESH:
                self._seen = newest_first(self._host.list_loras())
                self._when = time.monotonic()
            return self._seen


def newest_first(files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Return the files by time, the newest first; one that was deleted meanwhile is left out."""
    timed = []
    for name, path in files.items():
        try:
            timed.append((path.stat().st_mtime, name, path))
        except OSError:  # deleted between listing and looking
            continue
    return [(name, path) for _, name, path in sorted(timed, key=lambda one: (-one[0], one[1]))]


def tag_of(name: str) -> str:
    """Return the tag that is inserted."""
    return f"<lora:{name}:1>"
