"""*Try 30 steps*: a probe of the form's run as a job, and what it found in one card, drawn by the server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words, duration
from lib_lora.report.plot import curve_svg
from lib_lora.services import rate_probe
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import DONE, STOPPED, Job
from lib_lora.ui.messages import note_html, progress_html
from lib_lora.ui.train.inline_actions import act_button

PROBE = "train.probe"
CLOSED = "closed"
"""What a probe shows whose card was closed."""
GIB = 2**30
WORST = 1.5
"""A loss of so many times the first is off the plot: far beyond what suits, it would press the rest flat."""


class ProbePiece:
    """Draws the newest probe: how far it is, or what it found; one that was closed is gone."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier
        atelier.live.add(PROBE, self.html)

    def close(self, number: str) -> None:
        """Take a probe's card away, on the pages of all languages."""
        for job in self._atelier.queue.jobs(rate_probe.KIND):
            if str(job.number) == number:
                job.show(CLOSED)

    def html(self, words: Words) -> str:
        """Return the newest probe; nothing where there is none."""
        jobs = self._atelier.queue.jobs(rate_probe.KIND)
        if not jobs or jobs[-1].partial == CLOSED:
            return ""
        job = jobs[-1]
        close = act_button(f"unprobe {job.number}", words("train.close"))
        if job.state == DONE and isinstance(job.result, dict):
            return _card(job.result, words, close)
        if job.state == STOPPED:
            return note_html(words("train.probe_stopped")) + close
        if job.ended:
            return progress_html(job, self._atelier.queue, words) + close  # its error
        return self._working(job, words)

    def _working(self, job: Job, words: Words) -> str:
        stop = act_button(f"halt {job.number}", words("train.look_stop"))
        return progress_html(job, self._atelier.queue, words) + stop


def _card(found: Mapping[str, Any], words: Words, close: str) -> str:
    """Return what a probe found: the rate, with a button that takes it over, the curve, time and memory."""
    rate = found["learning_rate"]
    use = ""
    if rate is not None:
        label, title = words("train.probe_use", rate=f"{rate:g}"), words("train.probe_use_title")
        use = act_button(f"rate {rate!r}", label, title=title, kind="primary", id_="atelier_train_use_rate")
    facts = words(
        "train.probe_facts",
        seconds=f"{found['seconds_a_step']:.2f}",
        steps=f"{found['steps']:,}",
        time=duration(found["seconds"], words),
        memory=f"{found['memory'] / GIB:.1f}",
    )
    note = sentence_in_words(found["note"], words.language)
    return (
        f'<div class="atelier-run"><div class="atelier-run-head"><b>{escape(words("train.probe_head"))}</b>'
        f'<span class="atelier-acts">{use}{close}</span></div><div>{escape(note)}</div>'
        f'<div class="atelier-soft">{escape(facts)}</div>{_curve(found, words)}</div>'
    )


def _curve(found: Mapping[str, Any], words: Words) -> str:
    """Return the loss over the rate; nothing where an optimizer finds its rate itself, or a single step was made."""
    pairs = zip(found["rates"], found["losses"], strict=True)
    points = [(math.log10(rate), loss) for rate, loss in pairs if rate > 0 and math.isfinite(loss)]
    shown = [(rate, loss) for rate, loss in points if loss <= WORST * points[0][1]]
    if found["found_rate"] is not None or len(shown) < 2:
        return ""
    title = words("train.probe_plot")  # in the color of means, not in that of single steps
    svg = curve_svg([(), shown], x_label=words("train.probe_rate"), y_label=words("train.loss_steady"), summary=title)
    return f'<div class="atelier-plot" title="{escape(title)}">{svg}</div>'
