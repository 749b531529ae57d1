"""What was found in a folder of pictures: counts, problems in words, tags."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lib_lora.data.edit_captions import tag_counts
from lib_lora.data.files import Problem, shown
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.sentences import say
from lib_lora.services.picture_folder import Found
from lib_lora.ui.train.inline_actions import act_button

LISTED = 40
"""Tags in the list at most."""


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
    said = [(shown(one.path.name), say("{what}. {cure}", what=one.what, cure=one.cure)) for one in problems]
    rows = "".join(
        f"<li>{f'<b>{escape(name)}</b>: ' if name else ''}{escape(sentence_in_words(text, words.language))}</li>"
        for name, text in (*said, *(("", text) for text in warnings))
    )
    head = escape(words("train.problems_head"))
    return f'<div class="atelier-message atelier-warning" role="status"><b>{head}</b><ul>{rows}</ul></div>'


def tags_html(found: Found, words: Words) -> str:
    """Return the tags in view with their counts as buttons that put the tag into the field beside them."""
    captions = [found.captions[path] for path in found.chosen]
    counts = tag_counts(captions)
    if not counts:
        return f'<p class="atelier-soft">{escape(words("train.no_tags"))}</p>'
    total = len(captions)
    chips = "".join(
        act_button(f"tag {tag}", f"{tag} {n}", title=words("train.tag_title", n=n, total=total), kind="chip")
        for tag, n in counts[:LISTED]
    )
    more = words("train.more_tags", n=len(counts) - LISTED) if len(counts) > LISTED else ""
    return f'<div class="atelier-chips">{chips}<span class="atelier-soft">{escape(more)}</span></div>'
