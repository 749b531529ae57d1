"""``train``: learn a LoRA from a folder of pictures."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import TerminalProgress, add_host_options, give, open_studio, say, stoppable
from lib_lora.cli.flags import add_flags, given
from lib_lora.cli.sweep import add_sweep_flags, is_sweep, run_sweep
from lib_lora.errors import InputError
from lib_lora.options import options_of

if TYPE_CHECKING:
    from lib_lora.progress import Progress
    from lib_lora.services.lone_run import HostOpener, LoneRun
    from lib_lora.train.loop import TrainResult
    from lib_lora.train.together import Team
    from lib_lora.train.training import Training

EXAMPLES = """examples:
  python run.py train --images pictures --trigger krnk --kind character --name krnk_v1
  python run.py train krnk_v1.toml
  python run.py train --resume runs/krnk_v1
  python run.py train krnk_v1.toml --sweep dim=4,8,16 --sweep learning_rate=1e-4,3e-4
  torchrun --nproc-per-node 2 -m lib_lora train krnk_v1.toml     (each GPU takes its part of every batch)"""


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
    command.add_argument(
        "--probe",
        action="store_true",
        help="train nothing: make about 30 steps that leave nothing (but regularization pictures that were missing), "
        "and say which rate suits, time and memory",
    )
    command.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run, or the sweep, in this folder")
    add_sweep_flags(command)
    group = command.add_argument_group("training options (defaults in brackets; a kind's recipe may change them)")
    add_flags(group, options_of(TrainOptions), needed=False)
    add_host_options(command)
    command.set_defaults(run=run)


def _given(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Return what file and command line say of the training, and the folder of runs."""
    from lib_lora.train.option_files import read_values
    from lib_lora.train.options import PLACES, TrainOptions, parse_argument
    from lib_lora.train.options.network import base_with_path
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
    for folder in PLACES:
        if typed.get(folder):
            typed[folder] = str(Path(typed[folder]).resolve())
    if typed.get("base_loras"):
        typed["base_loras"] = [base_with_path(Path(), one) for one in typed["base_loras"]]
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
    names += [name for name in ("out", "runs", "sweep") if getattr(options, name) is not None]
    names += ["sweep_prompt"] * bool(options.sweep_prompt)
    beside = ["--" + name.replace("_", "-") for name in names] + [str(options.file)] * (options.file is not None)
    if beside:
        raise InputError(
            "A run that goes on keeps its own options, so this would do nothing: {names}",
            names=beside,
            where="--resume",
            cure="Leave it out, or start a new run from the old one's options.json under another --name.",
        )


def run(options: argparse.Namespace) -> None:
    """Train, or go on with a run, and say where the file is."""
    from lib_lora.train.together import device_for, join

    if options.probe:
        _probe(options)
        return
    if is_sweep(options):
        if options.resume:
            _refuse_beside_resume(options)
        run_sweep(options, *(({}, Path()) if options.resume else _given(options)))
        return
    if options.sweep_prompt:
        raise InputError("Nothing is compared without a sweep", where="--sweep-prompt", cure="Give --sweep, too.")
    team = join()
    options.device = device_for(options.device)
    progress = TerminalProgress(quiet=options.json or bool(team.rank))
    made = _ready(options, progress, team)
    if not team.rank:
        _announce(made)
    try:
        with stoppable(options, bar=progress, ended_by=not team.alone):
            result = made.work(progress)
    finally:
        for remark in made.training.folder.remarks() if not team.rank else ():
            say(remark)
        made.leave()
    if not team.rank:
        _give(options, made.training, result)


def _probe(options: argparse.Namespace) -> None:
    """Probe a run that is not begun, and say what was found."""
    from lib_lora.services.rate_probe import answer, probed
    from lib_lora.services.regularization import SPEED, about_drawing
    from lib_lora.services.speed import Speed
    from lib_lora.services.start_check import fresh_run

    if options.resume:
        raise InputError("A run that goes on keeps its own options", where="--probe", cure="Leave --resume out.")
    values, runs = _given(options)
    host = open_studio(options)
    chosen, _ = fresh_run(host, values, runs, where="command line")
    speed = Speed(runs / SPEED)
    for text in about_drawing(host, chosen, runs, speed):
        say(text)
    with stoppable(options, kept="nothing is left of a probe") as progress:
        found = probed(host, chosen, progress, runs=runs, speed=speed)
    for remark in found.remarks:
        say(remark)
    time = f"{found.seconds:.2f} s a step, about {found.run_seconds / 60:.0f} min for {found.steps} steps"
    give(options, answer(found), [found.note, f"{time}; {found.memory / 2**30:.1f} GB of memory"])


def _ready(options: argparse.Namespace, progress: TerminalProgress, team: Team) -> LoneRun:
    """Return the run, new or gone on with; of several processes each has its own."""
    from lib_lora.services.lone_run import LoneRun

    host = partial(open_studio, options)
    first = partial(_first, options, host)
    return first(progress) if team.alone else LoneRun.together(team, first, host, progress)


def _first(options: argparse.Namespace, host: HostOpener, progress: Progress) -> LoneRun:
    """Return the run, new or gone on with."""
    from lib_lora.services.lone_run import LoneRun

    if options.resume:
        _refuse_beside_resume(options)
        return LoneRun.gone_on(host, options.resume, progress=progress)
    values, runs = _given(options)
    return LoneRun.new(host, values, runs, where="command line", progress=progress, tell=say)


def _announce(made: LoneRun) -> None:
    """Say what is trained on what, and how long."""
    from lib_lora.host.noise_schedule import VELOCITY
    from lib_lora.train.length import pictures_a_step
    from lib_lora.train.recipes import facts_of, resolved_gamma

    training = made.training
    for problem in training.data.problems:
        say(problem)
    facts, plan = facts_of(made.host.model), training.plan()
    kind = "the velocity (v-prediction)" if facts.prediction_type == VELOCITY else "noise (epsilon)"
    say(f"{made.host.model.name} predicts {kind}{', zero terminal SNR' if facts.zero_terminal_snr else ''}")
    kept = f"{plan['regularization']} regularization pictures, " if plan["regularization"] else ""
    chosen, debiased = training.options, training.options.debiased_estimation_loss
    gamma = resolved_gamma(chosen.min_snr_gamma, facts.prediction_type, debiased=debiased)
    weighting = f"min-SNR gamma {gamma:g}" if gamma else "no min-SNR weighting"
    say(
        f"{plan['pictures']} pictures, each {plan['each_picture']} an epoch, {kept}"
        f"{plan['steps_an_epoch']} steps an epoch, "
        f"{training.total} steps of {pictures_a_step(chosen)} in all, "
        f"from step {training.step}, {chosen.network}, {weighting}"
    )


def _give(options: argparse.Namespace, training: Training, result: TrainResult) -> None:
    """Print what a run came to."""
    folder = training.folder
    values = {
        "lora": result.lora,
        "run": folder.path,
        "plan": training.plan(),
        "remarks": [*training.data.problems, *folder.remarks()],
        "steps": result.steps,
        "finished": result.finished,
        "loss": result.loss,
    }
    if result.finished:
        line = f"{result.lora}  ({result.steps} steps, loss {result.loss:.4f})"
    elif result.steps:
        line = f"stopped at step {result.steps} of {training.total}; go on with: train --resume {folder.path}"
    else:
        line = "stopped before the first step; nothing was left behind"
    give(options, values, [line])
