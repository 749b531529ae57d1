"""Block weights in every generation: what ``scripts/`` registers with the WebUI.

The activator in the host's registry is the only thing that is kept, so there is no state here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError
from lib_lora.host.webui import folders
from lib_lora.host.webui.model.live_model import NO_MODEL, current_model
from lib_lora.host.webui.prompt import record
from lib_lora.host.webui.prompt.activator import Activator, GetHost, stop, stops_on_error
from lib_lora.host.webui.prompt.overrides import ATTRIBUTE, overrides_of
from lib_lora.host.webui.prompt.record import Notifier
from lib_lora.host.webui.prompt.tags import NETWORKS
from lib_lora.host.webui.protocols import DenoiserParams, Processing

SCRIPT = Path(__file__).parents[4] / "scripts" / "lora_block_weight.py"


def other_extension() -> Path | None:
    """Return the script of another block-weight extension where one is loaded: then ours step aside everywhere."""
    return folders.other_script(SCRIPT)


def install(get_host: GetHost, notifier: Notifier | None = None) -> bool:
    """Take the place of ``lora`` in the host's registry; call it from ``on_app_started``, after every UI build.

    Earlier is too early: the host's own Lora extension registers in ``before_ui``, and the registry is emptied before.

    Args:
        get_host: gives the host whose LoRAs, presets and model are used; asked when tags are resolved.
        notifier: how errors and remarks reach the page.

    Returns:
        False where there is nothing to do: no Lora extension, or another block-weight extension is loaded.
    """
    from modules import extra_networks

    uninstall()
    inner = extra_networks.extra_network_registry.get(NETWORKS[0])
    if inner is None or other_extension() is not None:
        return False
    activator = Activator(inner, get_host, notifier or Notifier())
    extra_networks.extra_network_registry[NETWORKS[0]] = activator
    aliases = getattr(extra_networks, "extra_network_aliases", {})
    for spelling in _spellings():
        # Whoever else registered such a name keeps it.
        if aliases.get(spelling, inner) is inner and spelling not in extra_networks.extra_network_registry:
            aliases[spelling] = activator
    return True


def stands_aside() -> InputError | None:
    """Return why our block weights do not act where another extension's have precedence, else None."""
    other = other_extension()
    if other is None:
        return None
    return InputError(
        "Another extension has block weights in its hands, so LoRA Atelier's stand aside",
        where=other.parent.parent.name,
        cure="Switch it off under Extensions and reload the UI to use those of LoRA Atelier.",
    )


def check_installed() -> None:
    """Refuse what is measured through our tags where they do not act.

    Raises:
        InputError: another block-weight extension has precedence, or the host's own Lora extension is off.
    """
    if installed() is not None:
        return
    aside = stands_aside()
    if aside is not None:
        raise aside
    raise InputError("The WebUI's own Lora extension is off", cure="Switch it on under Extensions and reload the UI.")


def uninstall() -> None:
    """Give the host its own network back, with everything taken off its layers; nothing happens where it has it."""
    from modules import extra_networks

    activator = installed()
    if activator is None:
        return
    activator.attachments.release()
    extra_networks.extra_network_registry[NETWORKS[0]] = activator.inner
    aliases = getattr(extra_networks, "extra_network_aliases", {})
    for spelling in [name for name, network in aliases.items() if network is activator]:
        if spelling == NETWORKS[1]:
            aliases[spelling] = activator.inner
        else:
            del aliases[spelling]


def installed() -> Activator | None:
    """Return our activator where it stands in the host's registry; one made before a reload counts too."""
    from modules import extra_networks

    found = extra_networks.extra_network_registry.get(NETWORKS[0])
    return found if hasattr(found, "attachments") and hasattr(found, "inner") else None


def release() -> None:
    """Take everything off the live model, before a training or whoever else uses it without a ``p``."""
    activator = installed()
    if activator is not None:
        activator.attachments.release()


def before_process(p: Processing, *, off: bool = False) -> None:
    """Begin a generation with scripts: ``Script.before_process``.

    Args:
        p: the host's processing object; cells of the X/Y/Z plot are copies that share dicts.
        off: the accordion is switched off; the tags act plainly.
    """
    setattr(p, ATTRIBUTE, replace(overrides_of(p), off=off))
    record.forget(p)
    if installed() is not None and getattr(p, "disable_extra_networks", False):
        release()  # nothing is activated for this one
        record.write_weights(p, (), hires=False)


def process(p: Processing) -> None:
    """Look at the tags before anything is rendered, where a broken one is to end it: ``Script.process``."""
    activator = installed()
    if activator is None or getattr(p, "disable_extra_networks", False) or not stops_on_error():
        return
    if not activator.check(p):
        stop()


def on_cfg_denoiser(params: DenoiserParams) -> None:
    """Bring the layers to what the coming call of the UNet needs: ``on_cfg_denoiser``."""
    activator = installed()
    if activator is not None:
        activator.attachments.before_step(params.denoiser)


def on_infotext_pasted(infotext: str, params: dict[str, Any]) -> None:
    """Make a pasted prompt render as it did then: ``on_infotext_pasted``, also called for PNG Info and over REST."""
    activator = installed()
    if activator is not None:
        family = (current_model() or NO_MODEL).family
        record.restore(params, presets=activator.get_host().presets, family=family)


def _spellings() -> Iterator[str]:
    """Return every spelling of the tags' names but the host's own: its regular expression knows cases apart."""
    for name in NETWORKS:
        for letters in itertools.product(*zip(name, name.upper(), strict=True)):
            if (spelling := "".join(letters)) != NETWORKS[0]:
                yield spelling
