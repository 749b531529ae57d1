"""Tables of the workshop as HTML: blocks with bars, what a merge did, what an edit changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape

from lib_lora.analysis.facts import BlockFacts
from lib_lora.analysis.file_comparison import BlockComparison, FileComparison
from lib_lora.blocks.tokens import format_number
from lib_lora.formats.editing import Change, Hashes
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.merge.make import Made
from lib_lora.merge.report import MergeReport
from lib_lora.ui.messages import note_html, notes_html

Used = tuple[str, Mapping[str, float]]
"""A file's name and its multiples by block."""
_LONG = 160
"""Characters of a metadata value that a table shows."""


def megabytes(count: int) -> str:
    """Return a size as people read it."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = "") -> str:
    """Return a table; ``rows`` hold HTML, the first cell of each is its heading."""
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    style = f"atelier-table {kind}".strip()
    return (
        f'<div class="atelier-table-frame"><table class="{style}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def block_table(lines: Sequence[BlockFacts], weights: Mapping[str, float], words: Words) -> str:
    """Return a file's blocks: weight, a bar of the change (solid: what the weight leaves of it), numbers.

    Blocks that have a weight and no modules stand in their place, so that rows and vector have the same order.
    """
    if not lines:
        return ""
    largest = max((line.delta for line in lines if not math.isnan(line.delta)), default=0.0) or 1.0  # NaN: not measured
    with_model = any(line.relative for line in lines)
    head = ["block", "weight", "change", "norm", *(["relative"] if with_model else []), "modules", "rank"]
    rows, known = [], {line.block: line for line in lines}
    for block in dict.fromkeys((*weights, *known)):
        line = known.get(block) or BlockFacts(block, 0, "–", 0.0, 0.0)
        weight = weights.get(line.block, 1.0)
        left = min(1.0, abs(weight)) if line.delta else 0.0
        amount = ["–", "–"] if math.isnan(line.delta) else [_bar(line.delta / largest, left), f"{line.delta:.3g}"]
        cells = [escape(line.block), _weight(weight), *amount]
        cells += [f"{line.relative:.2%}"] if with_model else []
        rows.append([*cells, str(line.modules), escape(line.ranks)])
    return table([words(f"workshop.head_{name}") for name in head], rows, kind="atelier-block-table")


def _weight(value: float) -> str:
    kind = "off" if value == 0 else "one" if value == 1 else "other"
    return f'<span class="atelier-factor atelier-factor-{kind}">{escape(format_number(round(value, 4)))}</span>'


def _bar(share: float, left: float = 1.0) -> str:
    return (
        f'<span class="atelier-amount" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i>'
        f'<b style="width:{100 * share * left:.1f}%"></b></span>'
    )


def _kept(share: float) -> str:
    return f'<span class="atelier-kept">{_bar(share)}<span>{percent(share)}</span></span>'


def made_table(made: Made, words: Words) -> str:
    """Return what an order gives: a sentence of the whole, the notes on its files, and a row for each block."""
    columns = _joined_columns(made)
    return report_table(made.report, made.notes, words, used=made.used, columns=columns) + _overlaps(made, words)


def report_table(
    report: MergeReport,
    notes: Sequence[tuple[str, str]],
    words: Words,
    *,
    used: Sequence[Used] = (),
    columns: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Return what a work did as `made_table` does.

    Args:
        report, notes: of the work, and on its files.
        words: of the page's language.
        used: the files and their multiples by block.
        columns: further ones: head to block to cell.
    """
    size = words("workshop.size", before=megabytes(report.bytes_before), after=megabytes(report.bytes_after))
    kept = words("workshop.kept_whole", kept=percent(report.energy_kept), error=error_text(report.relative_error))
    dropped = words("workshop.dropped", n=len(report.dropped)) if report.dropped else ""
    sentence = " · ".join(part for part in (size, kept, dropped) if part)
    extra = columns or {}
    head = ["block", *(f"×{number}" for number in range(1, len(used) + 1)), "kept", "error", "rank", *extra]
    heads = [name if name.startswith("×") else words(f"workshop.head_{name}") for name in head]
    if len(used) == 1:
        heads[1] = words("workshop.head_weight")
    rows = []
    for row in report.rows:
        ranks = f"{row.rank_before} → {row.rank_after}" if row.rank_after else words("workshop.left_out")
        weights = [_weight(table[row.block]) if row.block in table else "–" for _, table in used]
        rows.append(
            [
                escape(row.block),
                *weights,
                _kept(row.energy_kept) if row.rank_after else "–",
                error_text(row.relative_error) if row.rank_after else "–",
                ranks,
                *(cells.get(row.block, "–") for cells in extra.values()),
            ]
        )
    names = " · ".join(f"×{number} = {name}" for number, (name, _) in enumerate(used, start=1))
    legend = f'<p class="atelier-legend">{escape(names)}</p>' if len(used) > 1 else ""
    told = "".join(note_html(f"{name}: {sentence_in_words(note, words.language)}") for name, note in notes)
    blocks = table(heads, rows, kind="atelier-block-table")
    return f'<p class="atelier-sum">{escape(sentence)}</p>{told}{blocks}{legend}'


def _joined_columns(made: Made) -> dict[str, dict[str, str]]:
    """Return the columns that only several LoRAs have: head to block to cell."""
    columns: dict[str, dict[str, str]] = {}
    if made.removed:
        columns["cosine"] = {
            block: f"{signed(one.before)} → {signed(one.after)}" for block, one in made.removed.items()
        }
        columns["left"] = {block: percent(one.kept) for block, one in made.removed.items()}
    elif len(made.overlaps) == 1:
        columns["cosine"] = {block: signed(value) for block, value in made.overlaps[0].blocks.items()}
    if made.taken:
        columns["taken"] = {block: " + ".join(map(str, counts)) for block, counts in made.taken.items()}
    return columns


def _overlaps(made: Made, words: Words) -> str:
    """Return a line for every two LoRAs: how far they pull the same way, and the block where it is farthest from 0."""
    lines = []
    for one in made.overlaps:
        first, second = (made.used[index][0] for index in (one.first, one.second))
        line = words("workshop.overlap", first=first, second=second, cosine=signed(one.whole))
        known = {block: value for block, value in one.blocks.items() if value is not None}
        if known:
            most = max(known, key=lambda block: abs(known[block]))
            line += ", " + words("workshop.overlap_most", block=most, cosine=signed(known[most]))
        lines.append(escape(line))
    if not lines:
        return ""
    return f'<p class="atelier-legend">{"<br>".join(lines)}<br>{escape(words("workshop.overlap_meaning"))}</p>'


def signed(value: float | None) -> str:
    """Return a cosine as people read it; one that is not known is a dash."""
    return "–" if value is None else f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")  # no −0.000


def percent(share: float) -> str:
    """Return a share with as many digits as say something."""
    return "100 %" if share >= 0.99995 else f"{100 * share:.2f} %"


def error_text(error: float) -> str:
    """Return a relative error; below a ten-thousandth no picture shows it."""
    return "0" if error == 0 else "< 0.01 %" if error < 1e-4 else f"{100 * error:.2f} %"


def change_table(changes: Mapping[str, Sequence[Change]], words: Words) -> str:
    """Return what is going to change, file by file and key by key."""
    head = [words(f"workshop.head_{name}") for name in ("file", "key", "before", "after")]
    rows = [
        [escape(name) if number == 0 else "", escape(change.key), cut(change.before, words), cut(change.after, words)]
        for name, found in changes.items()
        for number, change in enumerate(found)
    ]
    return table(head, rows, kind="atelier-changes") if rows else ""


def comparison_table(found: FileComparison, words: Words) -> str:
    """Return what two files change, block by block: modules, norms, cosine, difference; and the notes."""
    names = ("block", "modules_both", "norm_first", "norm_second", "cosine", "differs")
    rows = [
        _compared(one, words("workshop.compared_all") if one is found.whole else one.block)
        for one in (*found.blocks, found.whole)
    ]
    told = notes_html(found.notes, words)
    return told + table([words(f"workshop.head_{name}") for name in names], rows, kind="atelier-block-table")


def _compared(one: BlockComparison, name: str) -> list[str]:
    row = one.row()
    norms = [f"{row[key]:.3g}" for key in ("norm_first", "norm_second")]
    cosine, differs = row["cosine"], row["relative_difference"]
    cells = ["–" if cosine is None else f"{cosine:.4f}", "–" if differs is None else f"{differs:.2%}"]
    return [escape(name), f"{one.both} / {one.first_only} / {one.second_only}", *norms, *cells]


def cut(value: str | None, words: Words) -> str:
    """Return a metadata value, shortened and safe; one that is not there is said so in words."""
    if value is None:
        return f"<i>{escape(words('workshop.nothing'))}</i>"
    if value.startswith(("data:image/", '["/9j', '["iVBOR')):
        return f"<i>{escape(words('workshop.a_picture'))}</i>"
    return escape(value if len(value) <= _LONG else f"{value[:_LONG]} …")


def hash_table(hashes: Hashes, words: Words) -> str:
    """Return stored and computed hashes side by side."""
    rows = []
    for name, stored, computed in (
        ("hash_webui", hashes.stored, hashes.computed),
        ("hash_kohya", hashes.stored_legacy, hashes.computed_legacy),
    ):
        state = "hash_none" if not stored else "hash_same" if stored == computed else "hash_differs"
        mark = "✓" if stored == computed else "⚠"
        shown_hash = f"<code>{escape(stored[:12])}</code>" if stored else "–"
        cells = [f"<code>{escape(computed[:12])}</code>", f"{mark} {escape(words(f'workshop.{state}'))}"]
        rows.append([escape(words(f"workshop.{name}")), shown_hash, *cells])
    return table([words(f"workshop.head_{name}") for name in ("hash", "stored", "computed", "state")], rows)


def readable_date(text: str) -> str:
    """Return a file's date as a person writes it, in this machine's time zone; what is no date stays as it is."""
    try:
        when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return text
    if len(text.strip()) <= len("2026-01-31"):
        return text.strip()
    return (when.astimezone() if when.tzinfo else when).strftime("%Y-%m-%d %H:%M")
