"""``label``, ``find``, ``readme``: what LoRA files say of themselves, changed, searched and told."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import give, refuse_existing, say, stoppable
from lib_lora.cli.files import field_row
from lib_lora.cli.flags import add_flags, given
from lib_lora.errors import AtelierError, InputError
from lib_lora.options import OVERWRITE, check_names, options_of

if TYPE_CHECKING:
    from lib_lora.formats.editing import Change
    from lib_lora.services.labels import Labeled, LabelOptions

_LONG = 70
"""Characters of a value that a line of changes shows."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    for add in (_add_label, _add_find, _add_readme):
        add(commands)


def _add_label(commands: argparse._SubParsersAction) -> None:
    from lib_lora.formats.metadata import FIELDS
    from lib_lora.services.labels import LabelOptions

    label = commands.add_parser(
        "label",
        help="write title, trigger words, cover and so on, into one file or many",
        description="Change what files say of themselves; the tensors stay byte for byte. In place, a file's first "
        "state is kept as .original for ever and the last three as .bak1 to .bak3.",
    )
    label.add_argument("files", nargs="+", type=Path, metavar="FILE", help="LoRA files, or folders with all below them")
    how = label.add_mutually_exclusive_group(required=True)
    how.add_argument("--out", type=Path, metavar="FILE", help="write a copy of the one file")
    how.add_argument("--in-place", action="store_true", help="change the files themselves")
    how.add_argument("--preview", action="store_true", help="print what would change in each file, write nothing")
    how.add_argument("--undo", action="store_true", help="bring the last state back; done twice, nothing changes")
    how.add_argument("--original", action="store_true", help="bring back what the file was before its first change")
    add_flags(label, (OVERWRITE,))
    label.add_argument(
        "--set",
        dest="changes",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=f"{', '.join(FIELDS)}; an empty value removes",
    )
    add_flags(label, options_of(LabelOptions, but=FIELDS))
    label.set_defaults(run=run_label)


def _add_find(commands: argparse._SubParsersAction) -> None:
    find = commands.add_parser(
        "find",
        help="find LoRAs by trigger words, tags, author, or anything else that they say",
        description="List the LoRA files whose name, fields, card or caption tags have every word.",
    )
    find.add_argument("words", nargs="+", metavar="WORD", help="upper and lower case are the same")
    find.add_argument(
        "--lora-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="where is searched; may be given several times (default: this folder)",
    )
    find.set_defaults(run=run_find)


def _add_readme(commands: argparse._SubParsersAction) -> None:
    readme = commands.add_parser(
        "readme",
        help="write a page for people out of what a file says of itself",
        description="Print a page in Markdown out of a file's metadata: use, trigger words, training, what it is made "
        "of, hash. Nothing private of the training is in it.",
    )
    readme.add_argument("file", type=Path, metavar="FILE", help="LoRA file")
    readme.add_argument("--language", choices=("en", "ja"), default="en", help="of the headings [%(default)s]")
    readme.add_argument("--out", type=Path, metavar="FILE", help="write it there instead of printing it")
    add_flags(readme, (OVERWRITE,))
    readme.set_defaults(run=run_readme)


def run_label(options: argparse.Namespace) -> int:
    """Change, preview or bring back what files say, print every change, and return 1 where a file could not be."""
    from lib_lora.services import label_many

    paths = label_many.files_of(options.files)
    if options.undo or options.original:
        return _undo(options, paths)
    label = _options(options)
    if options.out:
        return _copy(options, paths, label)
    label.check()
    with stoppable(options, quiet=len(paths) == 1, kept="the files changed so far keep their change") as progress:
        if options.preview:
            planned, failed = label_many.plan_many(paths, label.order(), progress)
            found = {name: (one.all_changes, one.notes) for name, one in planned.items()}
            return _give_many(options, found, failed, paths, verb="would change")
        written, failed = label_many.write_many(paths, label.order(), progress)
        found = {name: (one.changes, one.notes) for name, one in written.items()}
        return _give_many(options, found, failed, paths, written)


def _options(options: argparse.Namespace) -> LabelOptions:
    """Return what is to be changed, from --set and the flags."""
    from lib_lora.formats.metadata import FIELDS
    from lib_lora.services.labels import LabelOptions

    texts = options_of(LabelOptions, only=FIELDS)
    changes = _pairs(options.changes, where="--set")
    check_names(texts, changes, where="--set")
    more = given(options, options_of(LabelOptions, but=FIELDS))
    if "entries" in more:
        more["entries"] = _pairs(more["entries"], where="--entries")
    return LabelOptions(**{**changes, **more})


def _pairs(texts: Iterable[str], *, where: str) -> dict[str, str]:
    """Return KEY=VALUE as a table."""
    found: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise InputError(
                "“{change}” is not key=value", change=text, where=where, cure='For example --set title="My LoRA".'
            )
        found[key] = value
    return found


def _copy(options: argparse.Namespace, paths: Mapping[str, Path], label: LabelOptions) -> int:
    from lib_lora.services import labels

    if len(paths) != 1:
        raise InputError("A copy is of one file", where="--out", cure="Name one file, or change them in place.")
    refuse_existing(options.out, overwrite=options.overwrite)
    label.check()
    (path,) = paths.values()
    made = labels.write(path, label.order(), target=options.out, overwrite=options.overwrite)
    _tell_hashes(made)
    lines = [field_row(name, text) for name, text in made.fields.items() if text]
    lines += [f"beside it: {path}" for path in made.beside]
    give(options, {"file": made.path, "fields": made.fields, **_written_row(made)}, [*lines, str(made.path)])
    return int(bool(made.failed))


def _undo(options: argparse.Namespace, paths: Mapping[str, Path]) -> int:
    from lib_lora.services import labels

    found: dict[str, Labeled] = {}
    failed: list[AtelierError] = []
    for name, path in paths.items():
        try:
            found[name] = labels.undo(path, original=options.original)
        except AtelierError as error:
            failed.append(error)
    if failed and len(paths) == 1:
        raise failed[0]
    changes = {name: (one.changes, one.notes) for name, one in found.items()}
    return _give_many(options, changes, failed, paths, found, verb="brought back")


def _tell_hashes(made: Labeled) -> None:
    """Say that the tensors stayed, and what went wrong beside the file."""
    say(f"tensors before {made.hash_before[:12]}, after {made.hash_after[:12]}: the hash that WebUI and Civitai show")
    for note in made.notes:
        say(f"note: {note}")
    for error in made.failed:
        say(f"error: {error}")


def _written_row(made: Labeled) -> dict[str, Any]:
    return {
        "backup": made.backup,
        "hash_before": made.hash_before,
        "hash_after": made.hash_after,
        "beside": list(made.beside),
        "failed": [str(error) for error in made.failed],
    }


def _give_many(
    options: argparse.Namespace,
    found: Mapping[str, tuple[tuple[Change, ...], Iterable[str]]],
    failed: list[AtelierError],
    paths: Mapping[str, Path],
    written: Mapping[str, Labeled] | None = None,
    *,
    verb: str = "changed",
) -> int:
    """Print the changes of many files, file by file, and what could not be done; return 1 where that is something."""
    rows, lines = [], []
    for name, (changes, notes) in found.items():
        made = (written or {}).get(name)
        table = [{"key": one.key, "before": one.before, "after": one.after} for one in changes]
        more = _written_row(made) if made else {}
        rows.append({"lora": name, "file": paths[name], "changes": table, "notes": list(notes), **more})
        if changes or notes:
            lines.append(f"{paths[name]}:")
        lines += [f"  {one.key}: {_short(one.before)} → {_short(one.after)}" for one in changes]
        lines += [f"  note: {note}" for note in notes]
        lines += [f"  tensors {made.hash_before[:12]} → {made.hash_after[:12]}"] if made else []
    for error in failed:
        say(f"error: {error}")
    count = sum(bool(changes) for changes, _ in found.values())
    end = f"{count} of {len(paths)} files {verb}" + (f", {len(failed)} failed" if failed else "")
    errors = [{"what": str(one.what), "where": str(one.where), "cure": str(one.cure)} for one in failed]
    give(options, {"files": rows, "changed": count, "failed": errors}, [*lines, end])
    return int(bool(failed))


def _short(value: str | None) -> str:
    if value is None:
        return "–"
    text = " ".join(value.split())
    return text if len(text) <= _LONG else f"{text[:_LONG]} …"


def run_find(options: argparse.Namespace) -> None:
    """Print the LoRAs that say every word, each with its trigger words."""
    from lib_lora.formats.lora_names import named_files
    from lib_lora.formats.search import find_files

    known = named_files(options.lora_dir or [Path()])
    found, broken = find_files(known, " ".join(options.words))
    for name in broken:
        say(f"cannot be read: {known[name]}")
    result = {"loras": found, "files": [known[name] for name in found], "all": len(known), "broken": broken}
    give(options, result, [*(str(known[name]) for name in found), f"{len(found)} of {len(known)} files"])


def run_readme(options: argparse.Namespace) -> None:
    """Print or write the page of a file."""
    from lib_lora.services.readme import readme, write_readme

    text = readme(options.file, options.language)
    if options.out is None:
        give(options, {"file": None, "text": text}, [text.rstrip()])
        return
    saved = write_readme(text, options.out, overwrite=bool(options.overwrite))
    give(options, {"file": saved, "text": text}, [str(saved)])
