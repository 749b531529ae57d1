"""``train``: learn a LoRA from a folder of pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lib_lora.cli.common import TerminalProgress, add_host_options, give, open_studio, say, stopped_by_keyboard
from lib_lora.cli.flags import add_flags, given
from lib_lora.errors import InputError
from lib_lora.options import options_of

EXAMPLES = """examples:
  python run.py train --images pictures --trigger krnk --kind character --name krnk_v1
  python run.py train krnk_v1.toml
  python run.py train --resume runs/krnk_v1"""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command; every training option is an option here, under its own name."""
    from lib_lora.train.options import TrainOptions

    command = commands.add_parser(
        "train",
        help="train a LoRA on a folder of pictures",
        description="Train a LoRA. Options come from a file, the command line, or both (the command line wins).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", type=Path, nargs="?", metavar="OPTIONS", help="training options, .toml or .json")
    command.add_argument(
        "--out", default=None, metavar="NAME", help="name of the LoRA, or folder/name (short for --name and --runs)"
    )
    command.add_argument("--runs", type=Path, default=None, metavar="DIR", help="folder of runs (default: runs)")
    command.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in this folder")
    group = command.add_argument_group("training options (defaults in brackets; a kind's recipe may change them)")
    add_flags(group, options_of(TrainOptions), needed=False)
    add_host_options(command)
    command.set_defaults(run=run)


def _given(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Return what file and command line say of the training, and the folder of runs."""
    from lib_lora.train.option_files import read_values
    from lib_lora.train.options import TrainOptions, parse_argument
    from lib_lora.train.sample_prompts import with_files_read

    runs = options.runs or Path("runs")
    values = read_values(options.file) if options.file else {}
    typed = given(options, options_of(TrainOptions))
    if "optimizer_args" in typed:
        typed["optimizer_args"] = dict(
            parse_argument(text, where="--optimizer-args") for text in typed["optimizer_args"]
        )
    twice = ["--name"] if options.name is not None else []
    twice += ["--runs"] if options.runs is not None and Path(options.out or "").parent != Path() else []
    if options.out and twice:
        raise InputError("--out and {flag} say the same", flag=twice[0], where="--out", cure="Give one of them.")
    if options.out:
        typed["name"] = Path(options.out).name.removesuffix(".safetensors")
        if Path(options.out).parent != Path():
            runs = Path(options.out).parent
    for folder in ("images", "reg_images"):
        if typed.get(folder):
            typed[folder] = str(Path(typed[folder]).resolve())
    for place, beside in ((values, options.file.parent if options.file else Path()), (typed, Path())):
        listed = place.get("sample_prompts")
        if isinstance(listed, str | list | tuple):
            place["sample_prompts"] = with_files_read([listed] if isinstance(listed, str) else listed, beside)
    return {**values, **typed}, runs


def _refuse_beside_resume(options: argparse.Namespace) -> None:
    """Refuse what a run that goes on would not heed: it keeps its own options.

    Raises:
        InputError: naming every such option.
    """
    from lib_lora.train.options import TrainOptions

    names = [one.name for one in options_of(TrainOptions) if getattr(options, one.name) is not None]
    names += [name for name in ("out", "runs") if getattr(options, name) is not None]
    beside = ["--" + name.replace("_", "-") for name in names] + [str(options.file)] * (options.file is not None)
    if beside:
        raise InputError(
            "A run that goes on keeps its own options, so this would do nothing: {names}",
            names=beside,
            where="--resume",
            cure="Leave it out, or start a new run from the old one's options.json under another --name.",
        )


def _begin(options: argparse.Namespace, progress: TerminalProgress) -> tuple[Any, Any]:
    """Return the host and the run, new or gone on with.

    What is wrong with the options is said before a model is loaded; the recipe is fitted to the model after that.
    """
    from lib_lora.services.start_check import check_pictures, fresh_run
    from lib_lora.train.options import from_mapping
    from lib_lora.train.run_folder import RunFolder
    from lib_lora.train.training import start

    if options.resume:
        _refuse_beside_resume(options)
        folder = RunFolder.open(options.resume)
        chosen, host = folder.options(), open_studio(options)
    else:
        values, runs = _given(options)
        plain = from_mapping(values, where="command line")
        check_pictures(plain)  # before a model is loaded
        host = open_studio(options)
        chosen, folder = fresh_run(host, values, runs, where="command line")
    return host, start(host.model, chosen, folder, progress)


def run(options: argparse.Namespace) -> None:
    """Train, or go on with a run, and say where the file is."""
    from lib_lora.host.noise_schedule import VELOCITY
    from lib_lora.services.samples import sampler_of
    from lib_lora.train.loop import run as run_training
    from lib_lora.train.recipes import facts_of

    progress = TerminalProgress(quiet=options.json)
    host, training = _begin(options, progress)
    chosen, folder = training.options, training.folder
    for problem in training.data.problems:
        say(problem)
    facts = facts_of(host.model)
    kind = "the velocity (v-prediction)" if facts.prediction_type == VELOCITY else "noise (epsilon)"
    say(f"{host.model.name} predicts {kind}{', zero terminal SNR' if facts.zero_terminal_snr else ''}")
    plan = training.plan()
    kept = f"{plan['regularization']} regularization pictures, " if plan["regularization"] else ""
    weighting = f"min-SNR gamma {training.gamma:g}" if training.gamma else "no min-SNR weighting"
    say(
        f"{plan['pictures']} pictures, each {plan['each_picture']} an epoch, {kept}"
        f"{plan['steps_an_epoch']} steps an epoch, "
        f"{training.total} steps of {chosen.batch_size} in all, "
        f"from step {training.step}, {chosen.network}, {weighting}"
    )
    try:
        with stopped_by_keyboard(progress):
            result = run_training(training, progress, sampler_of(host, chosen))
    finally:
        progress.close()
        for remark in folder.remarks():
            say(remark)
        if not training.step:
            folder.remove_unused()
    values = {
        "lora": result.lora,
        "run": folder.path,
        "plan": plan,
        "remarks": [*training.data.problems, *folder.remarks()],
        "steps": result.steps,
        "finished": result.finished,
        "loss": result.loss,
    }
    if result.finished:
        give(options, values, [f"{result.lora}  ({result.steps} steps, loss {result.loss:.4f})"])
    elif not result.steps:
        give(options, values, ["stopped before the first step; nothing was left behind"])
    else:
        give(
            options,
            values,
            [f"stopped at step {result.steps} of {training.total}; go on with: train --resume {folder.path}"],
        )
