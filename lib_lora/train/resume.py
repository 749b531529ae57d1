"""A run belongs to one model and one set of pictures, and goes on from its newest state that is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import FileError, InputError
from lib_lora.host.base import LoadedModel
from lib_lora.options import options_of
from lib_lora.progress import Progress
from lib_lora.sentences import packed, say
from lib_lora.train import network
from lib_lora.train.options import PLACES, TrainOptions
from lib_lora.train.options.saving import SavingOptions
from lib_lora.train.origin import Origin, checkpoint_hashes
from lib_lora.train.recipes import AUTO, facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import read_state, set_aside, states_of
from lib_lora.train.training_set import TrainingSet

if TYPE_CHECKING:
    from lib_lora.train.training import Training

DATA = "data.json"


_OF_NO_MATTER = {"name", "comment", "base_loras", "cache_to_disk", "steady_loss", "tensorboard", "compile", *PLACES}
_OF_NO_MATTER |= {one.name for one in options_of(SavingOptions)} - {"ema_decay"}
"""Options that change nothing of what is learned; what lies elsewhere now is known by its contents."""


def check_same_model(folder: RunFolder, model: LoadedModel, options: TrainOptions, progress: Progress) -> None:
    """Refuse another model than the one that the run was started on, or the same used otherwise; before any picture.

    Raises:
        InputError: naming both models, or what differs.
    """
    began = origin_of(folder)
    sha256 = checkpoint_hashes(model, progress)[0] if began is not None and began.sha256 else ""
    if began is not None and sha256 not in ("", began.sha256):
        raise InputError(
            "The checkpoint {name} is another file than when the run was started",
            name=model.name,
            where=folder.path.name,
            cure="Put the file back, or start a new run under another name.",
        )
    known = _known(folder).get("model") or {}
    name = known.get("name", model.name)
    if name != model.name:
        raise InputError(
            "The run was started on the model {known}, and {name} is loaded",
            known=name,
            name=model.name,
            where=folder.path.name,
            cure=say("Load {known} and resume the run.", known=name),
        )
    now = asdict(facts_of(model))
    if options.zero_terminal_snr != AUTO:
        now.pop("zero_terminal_snr")
    for fact in ("prediction_type", "zero_terminal_snr"):
        if fact in now and known.get(fact, now[fact]) != now[fact]:
            raise InputError(
                "The model is used in another way than when the run was started",
                where=fact,
                cure="Set the noise schedule or the model's config back, or start a new run under another name.",
            )


def check_same_data(folder: RunFolder, training_set: TrainingSet) -> None:
    """Refuse other pictures than those that the run was started with.

    Raises:
        InputError: naming what changed.
    """
    known = _known(folder)
    if not known or known.get("fingerprint") == training_set.fingerprint:
        return
    before = {row["picture"] for row in known.get("pictures", ())}
    now = {item.picture.path.name for item in training_set.samples}
    changed = ", ".join(sorted(before ^ now)[:5]) or say("captions, repeats or contents")
    raise InputError(
        "The pictures are not those that the run was started with",
        where=changed,
        cure="Put them back, or start a new run under another name.",
    )


def changed_options(folder: RunFolder, options: TrainOptions) -> list[str]:
    """Return the options of what is learned that are others than when the run was started."""
    known = _known(folder).get("options")
    now = json.loads(json.dumps(options.to_dict()))
    if not isinstance(known, Mapping):  # a run of an earlier version
        return []
    return [name for name in now if name in known and name not in _OF_NO_MATTER and known[name] != now[name]]


def origin_of(folder: RunFolder) -> Origin | None:
    """Return where a run came from; None where it begins now."""
    return Origin.from_json(_known(folder).get("origin"))


def begin(training: Training) -> None:
    """Keep with the run what it learns from and on.

    What the recipe knew of the model is kept too: a report tells from it what somebody chose away from the recipe.
    """
    if origin_of(training.folder) is not None:
        return
    training_set, model = training.data, training.model
    rows = [
        {"picture": i.picture.path.name, "caption": i.caption, "repeats": i.picture.repeats}
        for i in training_set.samples
    ]
    training.folder.save_json(
        DATA,
        {
            "origin": training.origin.to_json(),
            "fingerprint": training_set.fingerprint,
            "options": training.options.to_dict(),
            "model": {"name": model.name, "family": model.family, **asdict(facts_of(model))},
            "pictures": rows,
            "problems": [packed(problem) for problem in training_set.problems],
        },
    )


def go_on(training: Training) -> None:
    """Put the newest state that is whole into ``training``; those that are not are said and set aside.

    Raises:
        InputError: options were changed since the run was started, so that its states do not fit them.
    """
    folder = training.folder
    changed = changed_options(folder, training.options)
    passed = []
    for path in states_of(folder.states):
        try:
            state = read_state(path)
            _check_fits(state, training, path, changed)
        except FileError as error:
            passed.append((path, error.what))
            continue
        _take(state, training)
        if changed:
            said = say(
                "options are others than when the run was started, and it goes on with them: {names}", names=changed
            )
            training.remark(said, about="options")
        break
    for path, why in passed:
        set_aside(path)
        training.remark(
            say("a state could not be used and was passed over: {file}: {reason}", file=path.name, reason=why)
        )
    if passed and not training.step:
        training.remark(say("no state of the run could be used, so it begins again"))
    if passed or training.step:
        damaged = folder.rewind_log(training.step)
        if damaged:
            training.remark(say("rows of the log that were damaged and left out: {n}", n=damaged))


def _known(folder: RunFolder) -> dict[str, Any]:
    known = folder.read_json(DATA)
    return known if isinstance(known, dict) else {}


def _check_fits(state: Mapping[str, Any], training: Training, path: Path, changed: Sequence[str]) -> None:
    """Refuse a state of something else, before anything of it is used."""
    try:
        fits = _is_of(training, state)
    except (TypeError, KeyError, AttributeError):  # built otherwise than any state of ours
        fits = False
    if not fits and changed:
        raise InputError(
            "The states of the run do not fit its options, which were changed since it was started: {names}",
            names=changed,
            where=path.name,
            cure="Set them back, or start a new run under another name.",
        )
    if not fits:
        raise FileError("The file is the state of something else", where=path.name)


def _is_of(training: Training, state: Mapping[str, Any]) -> bool:
    """Whether a state is one of this run; states of earlier versions do not tell session and algorithm."""
    own, kept = training.optimizer.state_dict(), state["optimizer"]
    wanted = {name: value.shape for name, value in network.parameters_of(training.lora).items()}
    return (
        state.get("session", training.origin.session) == training.origin.session
        and state.get("algorithm", training.options.optimizer) == training.options.optimizer
        and 0 <= state["step"] <= training.total
        and {name: value.shape for name, value in state["parameters"].items()} == wanted
        and [len(group["params"]) for group in kept["param_groups"]] == [len(g["params"]) for g in own["param_groups"]]
        and (training.average is None or len(state["average"]["values"]) == len(wanted))
        and set(kept["state"]) <= {number for group in kept["param_groups"] for number in group["params"]}
    )


def _take(state: Mapping[str, Any], training: Training) -> None:
    network.load_parameters(training.lora, state["parameters"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.step, training.recent = state["step"], list(state.get("recent", ()))
    training.bad_steps, training.left_out = state.get("bad_steps", 0), state.get("left_out", 0)
    if training.average is not None:
        training.average.take(state["average"])
    training.scale.value = state.get("scale", training.scale.value)
