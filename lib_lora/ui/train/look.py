"""What was found in a folder of pictures: counts, problems in words, previews with the crop drawn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from lib_lora.data import FolderScan, scan
from lib_lora.data.edit_captions import captions_of, tag_counts
from lib_lora.data.files import Problem, shown
from lib_lora.data.preview import crop_preview
from lib_lora.host.base import LoadedModel, Progress
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.train.material import plan_for
from lib_lora.train.options import TrainOptions
from lib_lora.ui.train.acts import act_button

SHOWN = 60
"""Pictures in the gallery at most."""
LISTED = 40
"""Tags in the list at most."""
CAPTION_LETTERS = 60


@dataclass(frozen=True)
class Found:
    """A folder as the panel knows it: the scan, and each picture's caption file as it is."""

    folder: Path
    scan: FolderScan
    captions: dict[Path, str]

    @property
    def pictures(self) -> list[Path]:
        """The training pictures, in their order."""
        return [picture.path for picture in self.scan.train]


def look(folder: Path, model: LoadedModel, progress: Progress) -> Found:
    """Read a folder of pictures.

    Raises:
        InputError: it is no folder, or no picture in it can be used.
        StoppedError: somebody asked to stop.
    """
    found = scan(
        folder,
        min_side=model.pixels_per_latent * 8,
        progress=lambda done, total: progress.passed(done, total, "looking at pictures"),
    )
    return Found(folder, found, captions_of(picture.path for picture in found.train))


class Previews:
    """Previews with the crop drawn; kept while the file and the plan stay the same."""

    def __init__(self, limit: int = 4 * SHOWN) -> None:
        self._kept: OrderedDict[Any, Image.Image] = OrderedDict()
        self._limit = limit

    def gallery(self, found: Found, model: LoadedModel, options: TrainOptions, progress: Progress) -> list[tuple]:
        """Return (picture, caption) for the gallery."""
        rows = []
        shown = found.scan.train[:SHOWN]
        for done, picture in enumerate(shown):
            plan = plan_for(picture.size, model, options)
            key = (picture.path, picture.digest, plan)
            if key not in self._kept:
                self._kept[key] = crop_preview(picture.path, plan)
            self._kept.move_to_end(key)
            rows.append((self._kept[key], _caption(picture.path, found, plan.bucket)))
            progress.passed(done + 1, len(shown), "drawing previews")
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return rows


def _caption(path: Path, found: Found, bucket: tuple[int, int]) -> str:
    text = found.captions.get(path, "")
    short = text if len(text) <= CAPTION_LETTERS else text[: CAPTION_LETTERS - 1] + "…"
    return f"{path.name} · {bucket[0]}×{bucket[1]}" + (f" · {short}" if short else "")


def summary_html(found: Found, buckets: int, words: Words) -> str:
    """Return the line of counts, the problems in words, and the remarks folded away."""
    scan, captions = found.scan, sum(bool(text) for text in found.captions.values())
    counts = [
        words("train.n_found", n=len(scan.train)),
        words("train.n_buckets", n=buckets),
        words("train.n_captions", n=captions),
        words("train.n_problems", n=len(scan.problems) + len(scan.warnings)),
    ]
    parts = [f'<div class="atelier-counts"><b>{escape(" · ".join(counts))}</b></div>']
    parts.append(problems_html(scan.problems, scan.warnings, words))
    parts.append(remarks_html(scan.notices, words))
    return "".join(parts)


def remarks_html(remarks: Sequence[str], words: Words) -> str:
    """Return remarks of the core, folded away; nothing where there are none."""
    if not remarks:
        return ""
    rows = "".join(f"<li>{escape(sentence_in_words(text, words.language))}</li>" for text in remarks)
    head = escape(words("train.n_remarks", n=len(remarks)))
    return f'<details class="atelier-remarks"><summary>{head}</summary><ul>{rows}</ul></details>'


def problems_html(problems: Sequence[Problem], warnings: Sequence[str], words: Words) -> str:
    """Return files and folders that are not used, each with its reason, as a warning; nothing where there are none."""
    if not problems and not warnings:
        return ""
    said = [(shown(one.path.name), f"{one.what}. {one.cure}") for one in problems]
    rows = "".join(
        f"<li>{f'<b>{escape(name)}</b>: ' if name else ''}{escape(sentence_in_words(text, words.language))}</li>"
        for name, text in (*said, *(("", text) for text in warnings))
    )
    head = escape(words("train.problems_head"))
    return f'<div class="atelier-message atelier-warning" role="status"><b>{head}</b><ul>{rows}</ul></div>'


def tags_html(found: Found, words: Words) -> str:
    """Return the tags with their counts as buttons that put the tag into the field beside them."""
    counts = tag_counts(found.captions.values())
    if not counts:
        return f'<p class="atelier-soft">{escape(words("train.no_tags"))}</p>'
    total = len(found.captions)
    chips = "".join(
        act_button(f"tag {tag}", f"{tag} {n}", title=words("train.tag_title", n=n, total=total), kind="chip")
        for tag, n in counts[:LISTED]
    )
    more = words("train.more_tags", n=len(counts) - LISTED) if len(counts) > LISTED else ""
    return f'<div class="atelier-chips">{chips}<span class="atelier-soft">{escape(more)}</span></div>'
