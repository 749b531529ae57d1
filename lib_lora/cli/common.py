"""What the commands share: their output, their progress bar, and opening the studio."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import AtelierError, FileError
from lib_lora.progress import Stoppable
from lib_lora.services.answers import plain

if TYPE_CHECKING:
    from tqdm import tqdm

    from lib_lora.host.studio import StudioHost


_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0 and C1 control characters but tab and line feed, bidirectional marks, line separators, tags, lone surrogates."""


NOTHING = "no file is written"
"""What is left of work that was stopped, where it makes one file."""


class TerminalProgress(Stoppable):
    """A progress bar on standard error; a line every ten seconds where that is no terminal or tqdm is not installed."""

    def __init__(self, *, quiet: bool = False, percent: bool = False) -> None:
        """``percent`` shows no count and no time of its own: what it is told says both."""
        super().__init__()
        self._quiet, self._percent = quiet, percent
        self._draws = sys.stderr.isatty() and find_spec("tqdm") is not None
        self._bar: tqdm | None = None
        self._last = 0.0

    def update(self, done: int, total: int, text: str = "") -> None:
        """Show ``done`` of ``total``."""
        if self._quiet:
            return
        if not self._draws:
            self._line(done, total, text)
            return
        if self._bar is None or self._bar.total != total or done < self._bar.n:
            from tqdm import tqdm

            self.close()
            form = "{percentage:3.0f}% |{bar:20}| {desc}" if self._percent else None
            self._bar = tqdm(total=total, file=sys.stderr, leave=True, dynamic_ncols=True, bar_format=form)
        self._bar.set_description_str(harmless(text), refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Finish the present bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done >= total or now - self._last > 10:
            self._last = now
            say(f"  {100 * done // total} % {text}" if self._percent else f"  {text} {done}/{total}")


@contextmanager
def stoppable(
    options: argparse.Namespace,
    *,
    quiet: bool = False,
    kept: str = "what is done is kept",
    ended_by: bool = False,
    bar: TerminalProgress | None = None,
) -> Iterator[TerminalProgress]:
    """Give the progress bar of a command's work; its end closes it, whatever that is.

    The first Ctrl-C becomes a calm stop at the next step; the second one ends the program.

    Args:
        options: whether the command prints JSON, and draws no bar.
        quiet: draw no bar.
        kept: what becomes of the work.
        ended_by: whether another program ends this one (as torchrun does when a process is lost): its wish, SIGTERM, is
            a calm stop, too.
        bar: one that is there already.
    """
    progress = bar or TerminalProgress(quiet=quiet or bool(getattr(options, "json", False)))

    def on_signal(number: int, frame: object) -> None:
        if progress.stopped:
            raise KeyboardInterrupt
        say(f"stopping after this step; {kept} (Ctrl-C again ends at once)")
        progress.stop()

    before = signal.signal(signal.SIGINT, on_signal)
    ended = signal.signal(signal.SIGTERM, lambda *_: progress.stop()) if ended_by else None
    try:
        yield progress
    finally:
        progress.close()
        signal.signal(signal.SIGINT, before)
        if ended_by:
            signal.signal(signal.SIGTERM, ended)


def say(text: str) -> None:
    """Print a remark for a person on standard error."""
    print(harmless(text), file=sys.stderr, flush=True)


def size_of(count: int) -> str:
    """Return a number of bytes as it is printed."""
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def harmless(text: str) -> str:
    """Return a text that may come from anybody's file as a terminal can show it.

    Control characters, which could move the cursor, rewrite what stands there or start a command, and marks that turn
    the direction of writing are shown as ``\\x1b`` and the like; line ends stay.
    """
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def tell(notes: Sequence[str], problems: Sequence[AtelierError]) -> None:
    """Print what pictures were made without, each LoRA tag with a caret at what is wrong, and the other notes."""
    for problem in problems:
        say(f"note: this LoRA does not act: {problem}")
    for note in notes:
        say(f"note: {note}")


def told(notes: Sequence[str], problems: Sequence[AtelierError]) -> dict[str, Any]:
    """Return the same for a result in JSON."""
    rows = [{"what": each.what, "where": each.where, "cure": each.cure} for each in problems]
    return {"notes": list(notes), "problems": rows}


def give(options: argparse.Namespace, result: Mapping[str, Any], lines: list[str]) -> None:
    """Print a command's result on standard output: JSON for machines, else lines for a person."""
    if getattr(options, "json", False):
        print(as_json(result))
    else:
        print(harmless("\n".join(lines)))


def as_json(result: Mapping[str, Any]) -> str:
    """Return a result as one line of JSON, with everything escaped that is not harmless."""
    text = json.dumps(plain(result), ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda found: json.dumps(found.group())[1:-1], text)


def add_host_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that loads a model."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", type=Path, metavar="FILE", help="SD1, SD2 or SDXL .safetensors (default: the pocket model)"
    )
    group.add_argument(
        "--lora-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="where names of LoRA tags are looked up; may be given several times (default: this folder)",
    )
    add_presets(group)
    group.add_argument("--tokenizer", type=Path, metavar="DIR", help="folder with CLIP's vocab.json and merges.txt")
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, mps (default: %(default)s)")


def add_presets(parser: Any) -> None:
    """Add the file of presets that `presets_of` reads; ``parser``: or a group of one."""
    parser.add_argument(
        "--presets",
        type=Path,
        metavar="FILE",
        help="block weight presets, lines of NAME:values (default: the shipped ones)",
    )


def presets_of(options: argparse.Namespace) -> PresetFile:
    """Return the presets that a command uses; lines that cannot be right are said."""
    if not options.presets:
        return PresetFile.shipped()
    presets = PresetFile.load(options.presets)
    for problem in presets.problems:
        say(f"{options.presets}: {problem}")
    return presets


def open_studio(options: argparse.Namespace, folders: Sequence[Path] = ()) -> StudioHost:
    """Return the studio host that a command works on, with LoRAs from its own folders or the user's."""
    from lib_lora.host.studio import StudioHost
    from lib_lora.process import use_threads
    from lib_lora.train.recipes import facts_of

    host = StudioHost.open(
        options.model,
        lora_folders=folders or options.lora_dir or [Path.cwd()],
        presets=presets_of(options),
        device=options.device,
        tokenizer=options.tokenizer,
    )
    use_threads(small=facts_of(host.model).small)
    return host


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise FileError where ``path`` exists and may not be replaced: before work begins, not after."""
    if path.is_dir():
        raise FileError("This is a folder, not a file", where=str(path), cure="Give a file's name.")
    if path.exists() and not overwrite:
        raise FileError(
            "The file exists already",
            where=str(path),
            cure="Choose another name, or allow overwriting.",
            option="overwrite",
        )
    if not path.parent.is_dir():
        raise FileError("There is no such folder", where=str(path.parent), cure="Make it first, or choose another.")
