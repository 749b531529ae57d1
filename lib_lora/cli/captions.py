"""``captions``: the captions of a folder listed, counted, changed, checked, and changes taken back."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import give, say, stoppable
from lib_lora.cli.flags import add_flags, given
from lib_lora.options import Option, options_of

if TYPE_CHECKING:
    from lib_lora.data.dataset import FolderScan
    from lib_lora.services.captions import Changed, Foreseen

EPILOG = """examples: captions count DIR · captions add DIR --tag smile --only "not (blush or *hat)" ·
captions regex DIR --tag "(\\w+) hair" --by "\\1-haired" --preview · captions undo DIR ·
captions lint DIR --trigger krnk"""
DATA = Path("studio")
READING = ("list", "count", "lint", "undo")


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    from lib_lora.services.captions import ACTS, TagChange

    command = commands.add_parser(
        "captions", help="list, count, change and check the captions of a folder", description=__doc__, epilog=EPILOG
    )
    command.add_argument("what", choices=(*READING, *ACTS), metavar="WHAT", help=" | ".join((*READING, *ACTS)))
    command.add_argument("folder", type=Path, metavar="DIR", help="folder with pictures")
    add_flags(command, options_of(TagChange, but=("act",)), needed=False)
    add_flags(command, _lint_options())
    add_data(command)
    command.set_defaults(run=run)


def add_data(command: argparse.ArgumentParser) -> None:
    """Add the flag that says where the history of captions lies."""
    command.add_argument(
        "--data",
        type=Path,
        default=DATA,
        metavar="DIR",
        help="folder of the studio, in which the way back is kept (default: %(default)s)",
    )


def _lint_options() -> tuple[Option, ...]:
    from lib_lora.train.options.pictures import PictureOptions
    from lib_lora.train.options.subject import SubjectOptions

    return options_of(SubjectOptions, only=("trigger", "kind")) + options_of(PictureOptions, only=("resolution",))


def run(options: argparse.Namespace) -> None:
    """Do what was asked for and say it."""
    from lib_lora.services.captions import read_folder

    if options.what == "undo":
        _undo(options)
        return
    with stoppable(options, kept="nothing is changed") as progress:
        scan, captions = read_folder(options.folder, options.only or "", progress)
        act = {"list": _list, "count": _count, "lint": _lint}.get(options.what, _change)
        act(options, scan, captions)


def _list(options: argparse.Namespace, scan: FolderScan, captions: Mapping[Path, str]) -> None:
    rows = {_name(path, options): text for path, text in captions.items()}
    give(options, {"captions": rows}, [f"{name}: {text}" for name, text in rows.items()])
    say(f"{len(rows)} of {len(scan.train)} pictures")


def _count(options: argparse.Namespace, scan: FolderScan, captions: Mapping[Path, str]) -> None:
    from lib_lora.data.edit_captions import tag_counts

    counts = tag_counts(captions.values())
    give(options, {"captions": len(captions), "tags": dict(counts)}, [f"{n:>5}  {tag}" for tag, n in counts])
    say(f"{len(counts)} tags in {len(captions)} of {len(scan.train)} captions")


def _change(options: argparse.Namespace, scan: FolderScan, captions: Mapping[Path, str]) -> None:
    from lib_lora.services.captions import Captions, TagChange

    values = given(options, options_of(TagChange, but=("act",)))
    change = TagChange(options.what, **{"tag": "", **values})
    place = Captions(options.data, options.folder)
    made: Foreseen | Changed
    if change.preview:
        made = place.foresee(list(captions), change)
        result, lines = seen_rows(made, options)
        lines.append(f"{made.count} of {len(captions)} captions would change")
    else:
        made = place.change(list(captions), change)
        result, lines = (
            {"changed": made.count},
            [f"{made.count} of {len(captions)} captions changed ({_way_back(options)} takes it back)"],
        )
    problems = [str(one) for one in made.problems]
    give(options, result | {"problems": problems}, [*lines, *problems])


def _way_back(options: argparse.Namespace) -> str:
    """Return the command that takes a change back, from the folder that keeps it."""
    data = [] if options.data == DATA else ["--data", str(options.data)]
    return " ".join(["captions undo", *map(shlex.quote, [str(options.folder), *data])])


def seen_rows(seen: Foreseen, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return captions before and after a change that is not made: for machines, and as lines."""
    first = [{"file": _name(one.path, options), "before": one.before, "after": one.after} for one in seen.first]
    lines = [f"{one['file']}\n  - {one['before'] or ''}\n  + {one['after']}" for one in first]
    return {"would_change": seen.count, "first": first}, lines


def _undo(options: argparse.Namespace) -> None:
    from lib_lora.services.captions import Captions

    captions = Captions(options.data, options.folder)
    done, kept = captions.undo()
    names, left = [_name(path, options) for path in kept], captions.depth
    lines = [f"{done} captions are what they were; {left} more changes can be taken back"]
    lines += [f"{name}: changed since then, so left as it is" for name in names]
    give(options, {"changed": done, "kept": names, "left": left}, lines)


def _lint(options: argparse.Namespace, scan: FolderScan, captions: Mapping[Path, str]) -> None:
    from lib_lora.data.lint import lint

    values = given(options, _lint_options())
    side = values.get("resolution", 0)
    meant = [picture for picture in scan.train if picture.path in captions]
    style = values.get("kind") == "style"
    made = lint(meant, captions, trigger=values.get("trigger", ""), side=side, is_style=style)
    remarks = [str(text) for text in made.sentences]
    result = {
        "everywhere": dict(made.everywhere),
        "alike": [[_name(path, options) for path in group] for group in made.alike],
        "small": [_name(path, options) for path in made.small],
        "remarks": remarks,
    }
    give(options, result, remarks or ["nothing odd was found"])
    if not side:
        say("sizes were not looked at: --resolution gives the training size")


def _name(path: Path, options: argparse.Namespace) -> str:
    """Return a file's name below the folder that was given."""
    return path.relative_to(options.folder).as_posix() if path.is_relative_to(options.folder) else str(path)
