"""``demo``: one LoRA through its whole life, on the pocket model and bundled pictures."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from lib_lora.atomic import replace_file
from lib_lora.cli.common import give, say, stoppable
from lib_lora.errors import AtelierError


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    command = commands.add_parser(
        "demo",
        help="carry a LoRA through its whole life, in minutes",
        description="Tag, train, render, analyze, bake, compress and label a LoRA of a drawn character; report it.",
    )
    command.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="folder to write (default: %(default)s)"
    )
    command.add_argument(
        "--quick", action="store_true", help="about a quarter of the time; the numbers may miss their goals"
    )
    command.add_argument(
        "--language", choices=("en", "ja"), default="en", help="language of the report (default: %(default)s)"
    )
    command.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, mps (default: %(default)s)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run every step and write the report.

    Raises:
        AtelierError: the full demo missed one of its goals (exit code 1); the report is written all the same.
    """
    from lib_lora.demo.page import goals_of, write_page
    from lib_lora.demo.settings import FULL, QUICK
    from lib_lora.demo.story import STEPS, Story
    from lib_lora.demo.words import words_in
    from lib_lora.host.studio import StudioHost
    from lib_lora.process import use_threads

    options.out.mkdir(parents=True, exist_ok=True)
    host = StudioHost.open(device=options.device, lora_folders=(options.out,))
    use_threads(small=True)
    with stoppable(options) as progress:
        story = Story(host, options.out, QUICK if options.quick else FULL, progress)
        for number, (name, step) in enumerate(STEPS):
            say(f"[{number + 1}/{len(STEPS)}] {name}")
            step(story)
            if progress.stopped:
                raise KeyboardInterrupt
    story.numbers["seconds"] = time.monotonic() - story.began
    page = write_page(story, options.language)
    goals = goals_of(story, words_in("en"))
    result = story.numbers | {"quick": options.quick, "goals": {goal.name: goal.reached for goal in goals}}
    files = {name: path.as_posix() for name, path in story.files.items()} | {"report": page.as_posix()}
    replace_file(options.out / "report.json", json.dumps(result | {"files": files}, indent=1).encode())
    lines = [f"{'reached' if goal.reached else 'MISSED '}  {goal.name}: {goal.value} ({goal.goal})" for goal in goals]
    lines += [f"{name}: {path}" for name, path in files.items()]
    give(options, result | {"files": files}, [*lines, f"Open {page.resolve().as_uri()} in a browser."])
    missed = [goal.name for goal in goals if not goal.reached]
    if missed and not options.quick:
        raise AtelierError("A goal of the demo was missed", where="; ".join(missed), cure="Look at the report.")
