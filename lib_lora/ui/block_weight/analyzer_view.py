"""What is shown of an analysis: its grids and tiers, the table of the blocks, and what is said at its end."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from lib_lora.analysis.effective_block import Analysis
from lib_lora.i18n.words import Words
from lib_lora.services.analysis_order import Found, range_text
from lib_lora.services.atelier import Atelier
from lib_lora.ui import compat
from lib_lora.ui.block_weight.tier_view import tiers_html
from lib_lora.ui.messages import errors_html, note_html, notes_html
from lib_lora.web.routes import file_url


def pictures(found: Found, atelier: Atelier, words: Words) -> list[Any]:
    """Return what is shown below an analysis: grids, table, files, and whether its weights can be taken."""
    files = [str(path) for path in found.files if path.suffix == ".csv" or path.name.startswith(("tier_", "maps"))]
    table = table_of(found.analyses, words) if found.analyses else None
    return [
        "".join(_figure(*grid, atelier, words) for grid in found.grids) + tiers_html(found.tiers, words),
        compat.update(value=table, visible=True) if found.grids else compat.update(visible=False),
        compat.update(value=files or None, visible=bool(files)),
        compat.update(visible=bool(found.tiers)),
    ]


def _figure(picture: Image.Image | Path, text: str, seed: int, gain: float, atelier: Atelier, words: Words) -> str:
    """Return a grid as HTML: a finished one from its file, one that still grows inside the page."""
    source = file_url(atelier.folders, picture) if isinstance(picture, Path) else data_url(picture)
    caption = escape(words("block_weight.caption", range=text, seed=seed, gain=f"{gain:g}"))
    return (
        f'<figure class="atelier-grid"><a href="{source}" target="_blank"><img src="{source}" alt="{caption}"></a>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def ended(found: Found | None, words: Words, *, stopped: bool = False) -> str:
    """Return what is said of an analysis that is over."""
    if found is None or not (found.grids or found.tiers):
        return note_html(words("block_weight.stopped_early"))
    folder = found.files[0].parent if found.files else ""
    if not found.grids:
        return note_html(words("block_weight.measured", folder=folder), kind="good")
    floor = max(analysis.noise_floor for analysis in found.analyses)
    kind = "block_weight.stopped" if stopped else "block_weight.finished"
    told = dict.fromkeys(note for analysis in found.analyses for note in analysis.notes)
    notes = notes_html(told, words, kind="warning")
    problems = errors_html(found.analyses[-1].problems, words)
    return note_html(words(kind, floor=f"{floor:.3f}", folder=folder), kind="good") + problems + notes


def table_of(analyses: tuple[Analysis, ...], words: Words) -> dict[str, Any]:
    """Return the table of all ranges: block, change and spread in percent, and whether noise explains it."""
    headers = [words("block_weight.block")]
    rows: dict[str, tuple[list[Any], list[bool]]] = {}
    many = any(analysis.plan.options.seeds > 1 for analysis in analyses)
    for analysis in analyses:
        name = range_text(analysis.plan)
        headers.append(words("block_weight.change", range=name))
        if many:
            headers.append(words("block_weight.spread", range=name))
    headers.append(words("block_weight.above_noise"))
    for analysis in analyses:
        for row in analysis.rows:
            values = [round(row.mean, 3), round(row.spread, 3)] if many else [round(row.mean, 3)]
            line = rows.setdefault(row.name, ([], []))
            line[0].extend(values)
            line[1].append(row.mean > analysis.noise_floor)
    width = len(headers) - 2
    data = [
        [name, *values, *[None] * (width - len(values)), words("block_weight.yes" if any(above) else "block_weight.no")]
        for name, (values, above) in rows.items()
    ]
    return {"headers": headers, "data": data}


def data_url(picture: Image.Image) -> str:
    """Return a picture as an address that holds it."""
    data = io.BytesIO()
    picture.save(data, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
