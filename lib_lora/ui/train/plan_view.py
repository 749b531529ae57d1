"""What a run will cost and what differs from the recipe, as HTML."""

from __future__ import annotations

import json
from html import escape

from lib_lora.errors import AtelierError, InputError
from lib_lora.host.noise_schedule import NOISE, VELOCITY
from lib_lora.i18n.words import Words, duration
from lib_lora.services.atelier import Atelier
from lib_lora.services.run_plan import plan_of
from lib_lora.train.available import check_optimizer
from lib_lora.train.estimate import TrainEstimate, memory_needed, memory_there, seconds_needed
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options import TrainOptions, usual_values
from lib_lora.train.recipes import facts_of
from lib_lora.train.remarks import remarks_on
from lib_lora.train.training_set import fit_remarks
from lib_lora.ui.messages import error_html, note_html, notes_html
from lib_lora.ui.train.draft import Draft, changed_names
from lib_lora.ui.train.inline_actions import act_button
from lib_lora.ui.train.look import remarks_html
from lib_lora.ui.train.options import KNOWN, changed_by_group, to_widget

GIB = 2**30
LETTERS = 24


def plan_html(atelier: Atelier, draft: Draft, usual: dict, words: Words) -> str:
    """Return steps, time, memory and how they come about; or what is wrong; or what to do first."""
    missing = _missing(atelier, draft, words)
    if draft.found is None:
        return note_html(words("train.plan_first")) + missing
    try:
        options = draft.options(usual, atelier)
        plan = plan_of(atelier, draft.found, options)
        remarks = (*plan.remarks, *fit_remarks(atelier.host.model, options, draft.found.scan))
    except AtelierError as error:
        return error_html(error, words)
    line = [words("train.about_steps", n=f"{plan.steps:,}"), *_time(atelier, plan, options, words)]
    line.append(_memory(atelier, options, words))
    how = words(
        "train.how",
        pictures=plan.pictures,
        times=words("train.times", least=plan.times[0], most=plan.times[1])
        if plan.times[0] != plan.times[1]
        else f"{plan.times[0]}×",
        epochs=plan.epochs,
        batch=options.batch_size,
        side=plan.side,
        files=plan.files,
        samples=plan.samples,
    )
    reg = words("train.how_reg", n=plan.reg) if plan.reg else ""
    return (
        f'<div class="atelier-plan"><b>{" · ".join(line)}</b>'
        f'<span class="atelier-soft">{escape(how)} {escape(reg)}</span>{_model(atelier, words)}'
        f"{_fitted(atelier, draft, words)}</div>"
        f"{notes_html(plan.drawn, words)}{_remarks(atelier, options, words)}{_too_much(atelier, options, words)}"
        f"{missing or _refused(atelier, options, words)}"
        f"{remarks_html(remarks, words)}"
    )


def _model(atelier: Atelier, words: Words) -> str:
    """Say what the model predicts, and on which schedule it was made."""
    facts = facts_of(atelier.host.model)
    known = facts.prediction_type in (NOISE, VELOCITY)  # a WebUI also opens models that no run can train
    kind = words(f"train.predicts.{facts.prediction_type}") if known else facts.prediction_type
    kind += words("train.zero_terminal") if facts.zero_terminal_snr else ""
    text = words("train.this_model", name=atelier.host.model.name, kind=kind)
    return f'<span class="atelier-soft">{escape(text)}</span>'


def _remarks(atelier: Atelier, options: TrainOptions, words: Words) -> str:
    """Say what a person should know of the run before it starts."""
    return notes_html(remarks_on(atelier.host.model, options), words)


def _missing(atelier: Atelier, draft: Draft, words: Words) -> str:
    """Say that the chosen optimizer is not installed here, and offer the one that always is."""
    optimizer = str(draft.values.get("optimizer") or "")
    try:
        if optimizer in OPTIMIZERS:  # else the plan says what is wrong
            check_optimizer(optimizer, facts_of(atelier.host.model))
    except InputError as error:
        offer = act_button("instead", words("train.use_adamw"), title=words("train.use_adamw_title"))
        return error_html(error, words) + offer
    return ""


def _refused(atelier: Atelier, options: TrainOptions, words: Words) -> str:
    """Say now why the run would not be started."""
    try:
        atelier.trainings.check(options)
    except AtelierError as error:
        return error_html(error, words)
    return ""


def _fitted(atelier: Atelier, draft: Draft, words: Words) -> str:
    """Say what the recipe is for a small model, whose numbers differ from what guides for large ones say."""
    facts = facts_of(atelier.host.model)
    if not facts.small:
        return ""
    recipe = usual_values(draft.kind, model=facts)
    text = words(
        "train.small_model",
        side=facts.native_side,
        network=recipe["network"],
        batch=recipe["batch_size"],
        steps=recipe["target_steps"],
    )
    return f'<span class="atelier-soft">{escape(text)}</span>'


def _time(atelier: Atelier, plan: TrainEstimate, options: TrainOptions, words: Words) -> list[str]:
    pace = atelier.trainings.paces.get(atelier.host.model, options)
    if pace is None:
        return [act_button("measure time", words("train.measure"), title=words("train.measure_title"))]
    return [escape(words("train.about_time", time=duration(seconds_needed(plan, options, pace), words)))]


def _memory(atelier: Atelier, options: TrainOptions, words: Words) -> str:
    needed = f"{memory_needed(atelier.host.model, options) / GIB:.1f}"
    there = memory_there(atelier.host.model.device)
    if there is None:
        return escape(words("train.memory", needed=needed))
    return escape(words("train.memory_of", needed=needed, there=f"{there / GIB:.0f}"))


def _too_much(atelier: Atelier, options: TrainOptions, words: Words) -> str:
    there = memory_there(atelier.host.model.device)
    if there is None or memory_needed(atelier.host.model, options) <= there:
        return ""
    return note_html(words("train.too_much_memory"), kind="warning")


def changes_html(draft: Draft, usual: dict, words: Words) -> str:
    """Return what a person changed, each with a button that returns it; the page's script reads the names."""
    names = changed_names(draft, usual)
    if not names:
        return ""
    chips = []
    for name in names:
        label, back = words.said(KNOWN[name].label), _short(to_widget(name, usual[name]))
        now = _short(to_widget(name, draft.values.get(name)))
        title = words("train.reset_title", value=back)
        chips.append(act_button(f"reset {name}", f"● {label}: {now} ↺ {back}", title=title, kind="chip"))
    if len(names) > 1:
        chips.append(act_button("reset *", words("train.reset_all"), kind="chip"))
    head = escape(words("train.changed_head"))
    told = escape(json.dumps({"names": names, "groups": changed_by_group(names, words)}))
    return (
        f'<div class="atelier-chips" data-changed="{told}"><span class="atelier-soft">{head}</span>'
        f"{''.join(chips)}</div>"
    )


def _short(value: object) -> str:
    text = " | ".join(str(value).splitlines())
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
