"""How long a run is, and may be: a wrong number is said before anything is made of it."""

from __future__ import annotations

from lib_lora.data.dataset import FolderScan, Picture
from lib_lora.errors import InputError
from lib_lora.sentences import say
from lib_lora.train.holdout import parted
from lib_lora.train.options import TrainOptions
from lib_lora.train.options.length import MOST_STEPS

MOST_DRAWS = 1_000_000
"""Pictures that an epoch may show, repeats counted; each of its draws stands in a list."""


def check_draws(options: TrainOptions, draws: int) -> None:
    """Refuse an epoch, or a run, of which nobody would see the end.

    Args:
        options: of the run.
        draws: pictures that an epoch shows, repeats counted.

    Raises:
        InputError: with the number, and what makes it smaller.
    """
    if draws > MOST_DRAWS:
        raise InputError(
            "An epoch would show {n} pictures, counted with their repeats",
            n=draws,
            where=say("images, repeats"),
            cure=say("At most {n} can be shown: lower repeats, or the numbers in the folders' names.", n=MOST_DRAWS),
        )
    total_steps(options, -(-draws // pictures_a_step(options)))


def pictures_a_step(options: TrainOptions) -> int:
    """Return the pictures that one optimizer step learns from."""
    return options.batch_size * options.gradient_accumulation_steps


def total_steps(options: TrainOptions, per_epoch: int) -> int:
    """Return the steps of a run whose epochs have ``per_epoch``.

    Raises:
        InputError: they are more than a run can have.
    """
    steps = options.steps or per_epoch * options.epochs
    if steps > MOST_STEPS:
        raise InputError(
            "{n} epochs of {each} steps would be {steps} steps",
            n=options.epochs,
            each=per_epoch,
            steps=steps,
            where=say("epochs, repeats"),
            cure=say("A run has at most {n} steps: give fewer epochs or repeats, or say the steps.", n=MOST_STEPS),
        )
    return steps


def shown_by(options: TrainOptions, found: FolderScan) -> tuple[Picture, ...]:
    """Return the pictures of a run, with how often an epoch shows each.

    Raises:
        InputError: the run would be too long.
    """
    found, _ = parted(options, found)
    shown = found.shown(repeats_for(options, found))
    check_draws(options, sum(picture.repeats for picture in shown))
    return shown


def repeats_for(options: TrainOptions, found: FolderScan) -> int:
    """Return how often an epoch shows each training picture, on top of what its folder's name says.

    As the options say; else once where a folder's name says it (``10_krnk girl``), as users of sd-scripts mean it; else
    so that all epochs reach the recipe's steps, with regularization pictures, which are as many again, counted in.
    """
    if options.repeats or found.numbered:
        return options.repeats or 1
    return max(1, min(round(_wanted(options, found)), MOST_DRAWS // _draws(found)))


def _wanted(options: TrainOptions, found: FolderScan) -> float:
    """Return the repeats that would reach the goal exactly."""
    return (options.steps or options.target_steps) * pictures_a_step(options) / (options.epochs * _draws(found))


def _draws(found: FolderScan) -> int:
    """Return the draws of an epoch that shows each picture as often as its folder says."""
    return sum(picture.repeats for picture in found.train) * (2 if found.reg else 1)


def length_remarks(options: TrainOptions, found: FolderScan, *, steps: int, usual: int) -> tuple[str, ...]:
    """Return what a person should know of how a goal of steps, epochs and pictures go together.

    Args:
        options: of the run.
        found: its pictures.
        steps: of the whole run.
        usual: the recipe's own goal.
    """
    notices: list[str] = []
    if options.repeats or options.steps:
        return ()
    if found.numbered and options.target_steps != usual:
        notices.append(say("target_steps is not used, because the folder's name says how often its pictures are shown"))
    elif not found.numbered and steps > options.target_steps and _wanted(options, found) < 1:
        notices.append(
            say(
                "{n} epochs show each picture at least once: {steps} steps instead of {goal}, and fewer "
                "steps need fewer epochs",
                n=options.epochs,
                steps=steps,
                goal=options.target_steps,
            )
        )
    return tuple(notices)


def times_text(times: tuple[int, int]) -> str:
    """Return how often an epoch shows each picture: ``12×``, or ``2× to 12×``."""
    least, most = times
    return f"{most}×" if least == most else f"{least}× to {most}×"
