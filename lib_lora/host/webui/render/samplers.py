"""The host's samplers and schedulers, by the names that people and older tools use."""

from __future__ import annotations

from types import ModuleType

from lib_lora.blocks.errors import suggest
from lib_lora.errors import InputError
from lib_lora.host.webui.options import host_setting
from lib_lora.sentences import say


def sampler_names() -> tuple[str, ...]:
    """Return the names of the samplers that the host shows, in its order."""
    from modules import sd_samplers

    return tuple(sd_samplers.visible_sampler_names()) or tuple(each.name for each in sd_samplers.all_samplers)


def scheduler_names() -> tuple[str, ...]:
    """Return the names of the host's schedulers; empty where its samplers carry them."""
    schedulers = _schedulers()
    return tuple(each.label for each in schedulers.schedulers) if schedulers is not None else ()


def chosen_sampler(text: str) -> tuple[str, str]:
    """Return the sampler's name as the host spells it, and the scheduler that the text names behind it (or "").

    Raises:
        InputError: there is no such sampler.
    """
    from modules import sd_samplers

    name = " ".join(text.replace("_", " ").split()).casefold()
    known = {key.casefold(): value for key, value in sd_samplers.samplers_map.items()}
    if text.casefold() in known:
        return known[text.casefold()], ""
    if name in known:
        return known[name], ""
    schedulers = _schedulers()
    for each in schedulers.schedulers if schedulers is not None else ():
        for label in (each.label, each.name):
            base = name.removesuffix(f" {label.casefold()}")
            if base != name and base in known:  # "DPM++ 2M Karras": how it was written before WebUI 1.9
                return known[base], each.label
    names = sampler_names()
    cure = suggest(text, names) or say("Choose one of: {names}.", names=names)
    raise InputError("There is no sampler “{name}”", name=text, where=say("sampler"), cure=cure)


def chosen_scheduler(text: str) -> str:
    """Return the scheduler's name as the host spells it.

    Raises:
        InputError: there is no such scheduler.
    """
    schedulers = _schedulers()
    fold = text.strip().casefold()
    for each in schedulers.schedulers if schedulers is not None else ():
        if fold in (each.label.casefold(), each.name.casefold()):
            return each.label
    names = scheduler_names()
    cure = suggest(text, names) or (
        say("Choose one of: {names}.", names=names) if names else say("Choose it with the sampler.")
    )
    raise InputError(say("There is no scheduler “{text}”", text=text), where=say("scheduler"), cure=cure)


def noise_by_batch(sampler: str) -> bool:
    """Tell whether a sampler draws one noise for a whole batch, so that equal seeds give unequal pictures."""
    from modules import sd_samplers

    config = sd_samplers.find_sampler_config(sampler)
    drawn = bool(config is not None and config.options.get("brownian_noise", False))
    return drawn and host_setting("no_dpmpp_sde_batch_determinism", False)


def _schedulers() -> ModuleType | None:
    try:
        from modules import sd_schedulers
    except ImportError:  # Forge classic: a sampler carries its scheduler
        return None
    return sd_schedulers
