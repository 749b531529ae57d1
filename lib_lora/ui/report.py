"""The tab *Report*: the reports of runs and of the demo, inside the app."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.process import command
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import note_html
from lib_lora.web.routes import report_url

FILE = "report.html"


@dataclass(frozen=True)
class ReportPanel:
    """What the app wires: ``refresh`` takes ``asked`` and returns updates for ``told``."""

    asked: tuple[Any, ...]
    told: tuple[Any, ...]
    refresh: Any


def reports(folders: Folders) -> dict[str, Path]:
    """Return the reports that are there by name, the newest first; ``demo`` is the demo's."""
    found = {path.parent.name: path for path in folders.runs.glob(f"*/{FILE}")}
    if (folders.demo / FILE).is_file():
        found["demo"] = folders.demo / FILE
    return dict(sorted(found.items(), key=lambda pair: pair[1].stat().st_mtime, reverse=True))


def build(atelier: Atelier, words: Words) -> ReportPanel:
    """Build the tab."""
    logic = _Report(atelier, words)
    first = next(iter(reports(atelier.folders)), None)
    with gr.Row():
        chosen = compat.dropdown(
            logic.choices(),
            value=first,
            label=words("report.which"),
            elem_id="atelier_report_chosen",
            scale=5,
        )
        again = gr.Button(words("report.refresh"), elem_id="atelier_report_refresh", size="sm", scale=0, min_width=140)
    newest = gr.State(first)
    shown = gr.HTML(logic.show(first), elem_id="atelier_report_shown")
    chosen.change(logic.show, chosen, shown, queue=False, **compat.event_kw())
    asked, told = (chosen, newest), (chosen, newest, shown)
    again.click(logic.refresh, [*asked], [*told], queue=False, **compat.event_kw())
    return ReportPanel(asked, told, logic.refresh)


class _Report:
    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._folders, self._words = atelier.folders, words

    def choices(self) -> list[str]:
        return list(reports(self._folders))

    def refresh(self, chosen: str | None, newest: str | None) -> tuple[Any, str | None, str]:
        """Return the list as it is now, with what was chosen; or with the newest, where that was not there before."""
        there = self.choices()
        first = next(iter(there), None)
        if chosen in there and first == newest:  # not sent back: another may be chosen meanwhile
            return compat.update(choices=there), first, self.show(chosen)
        return compat.update(choices=there, value=first), first, self.show(first)

    def show(self, name: str | None) -> str:
        """Return a frame with the report, and a link that opens it alone."""
        there = reports(self._folders)
        path = there.get(name or "")
        if path is None and name and there:  # typed, or gone since
            return note_html(self._words("report.unknown", name=name), kind="warning")
        if path is None:
            return note_html(
                self._words("report.none", command=f"{command()} demo --out {self._folders.data / 'demo'}")
            )
        url = escape(report_url(self._folders, path, self._words.language))
        title = escape(self._words("report.title", name=name))
        alone = f'<a href="{url}" target="_blank" rel="noopener">{escape(self._words("report.alone"))}</a>'
        return (
            f'<p class="atelier-report-line">{alone} · <code>{escape(str(path))}</code></p>'
            f'<iframe class="atelier-report" src="{url}" title="{title}" sandbox></iframe>'
        )
