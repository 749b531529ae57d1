"""The list of LoRAs beside the prompt; a click writes the tag. It is a live piece: new files appear by themselves."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from lib_lora.host.base import Host
from lib_lora.i18n.words import Words

_ON_THE_WAY = re.compile(r"-(?:\d{6}|step\d{8})$")
"""How the files end that a training saves after an epoch or where it was stopped; kohya's epochs end alike."""

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
        items = "".join(_item(group, words) for group in grouped(files))
        return f'<ul class="atelier-loras" id="atelier_generate_lora_items">{items}</ul>'

    def _files(self) -> list[tuple[str, Path]]:
        with self._lock:
            if time.monotonic() - self._when > FRESH:
                self._seen = newest_first(self._host.list_loras())
                self._when = time.monotonic()
            return self._seen


def grouped(files: Sequence[tuple[str, Path]]) -> list[list[tuple[str, Path]]]:
    """Put what a training saved on its way (``name-000005``) behind its finished file, or behind the newest of them."""
    groups: dict[str, list[tuple[str, Path]]] = {}
    for name, path in files:
        groups.setdefault(_ON_THE_WAY.sub("", name), []).append((name, path))
    return [sorted(group, key=lambda one: one[0] != run) for run, group in groups.items()]


def _item(group: Sequence[tuple[str, Path]], words: Words) -> str:
    """Return a LoRA as an entry of the list; what was saved on its way is folded away under it."""
    head, *earlier = group
    folded = ""
    if earlier:
        rows = "".join(f"<li>{_button(*one, words)}</li>" for one in earlier)
        summary = escape(words("generate.on_the_way", n=len(earlier)))
        title = escape(words("generate.on_the_way_title"))
        run = escape(_ON_THE_WAY.sub("", head[0]))
        folded = (
            f'<details id="atelier_generate_way_{run}"><summary title="{title}">{summary}</summary>'
            f"<ul>{rows}</ul></details>"
        )
    return f"<li>{_button(*head, words)}{folded}</li>"


def _button(name: str, path: Path, words: Words) -> str:
    hint = escape(words("generate.insert_hint"))
    return (
        f'<button type="button" class="atelier-insert" data-insert="{escape(tag_of(name))}" '
        f'title="{escape(str(path))}&#10;{hint}">{escape(name)}</button>'
    )


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
