"""Work on pictures that a button of the editor starts: its progress with a button that ends it, then how it ended."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import STOPPED, Job
from lib_lora.ui.messages import follow, note_html, progress_html
from lib_lora.ui.train.inline_actions import act_button


def followed(
    atelier: Atelier, words: Words, kind: str, title: str, work: Callable[[Job], Any], html: Callable[[Any], str]
) -> Iterator[str]:
    """Start a job on files; yield its progress, then its result as ``html`` draws it, or why there is none."""
    job = atelier.files.submit(kind, title, work)
    for now in follow(job):
        if not now.ended:
            yield progress_html(now, atelier.files, words) + act_button(f"halt {now.number}", words("train.look_stop"))
    if job.result is not None:
        yield html(job.result)
    elif job.state == STOPPED:
        yield note_html(words("captions.stopped"))
    else:
        yield progress_html(job, atelier.files, words)


def inline(picture: Image.Image, side: int) -> str:
    """Return a small picture as an address that holds it."""
    small, data = picture.convert("RGB"), io.BytesIO()
    small.thumbnail((side, side))
    small.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
