"""Our extra network in front of the host's ``lora``: it resolves the tags, the host gets what it understands.

It stands in the host's own registry, so every generation comes through it: first pass and hires, with or without
scripts, ADetailer's inner ones, REST. What it needs to remember lives in it, and goes away with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lib_lora.blocks.tag import TagError, broken_tags, find_tags
from lib_lora.errors import AtelierError
from lib_lora.host.prompt.remarks import tag_remarks
from lib_lora.host.webui.kind import HostKind, detect
from lib_lora.host.webui.model.live_model import current_model
from lib_lora.host.webui.options import host_setting, option
from lib_lora.host.webui.prompt import record
from lib_lora.host.webui.prompt.attached_loras import Attachments
from lib_lora.host.webui.prompt.conditioning import ATTRIBUTES, Encoded, pass_of, reached_by
from lib_lora.host.webui.prompt.host_loader import misfits
from lib_lora.host.webui.prompt.neo_schedule import let_go
from lib_lora.host.webui.prompt.overrides import overrides_of
from lib_lora.host.webui.prompt.plan import TagOrder, TagPlan, make_plan
from lib_lora.host.webui.prompt.record import Notifier
from lib_lora.host.webui.prompt.tags import NETWORKS, Handed, host_reading
from lib_lora.host.webui.protocols import ExtraNetwork, ExtraNetworkParams, Processing
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.host.webui.host import WebuiHost

logger = logging.getLogger(__name__)

GetHost = Callable[[], "WebuiHost"]


class Activator:
    """An ``ExtraNetwork`` of the host; ``inner`` is the one whose place it takes."""

    name = "lora"

    def __init__(self, inner: ExtraNetwork, get_host: GetHost, notifier: Notifier) -> None:
        self.inner, self.get_host, self.notifier = inner, get_host, notifier
        self.attachments = Attachments()

    def __getattr__(self, name: str) -> Any:
        """Be the host's own network for whoever asks for more (``errors``, …)."""
        if name == "inner":  # not there yet: copying and unpickling ask before `__init__`
            raise AttributeError(name)
        return getattr(self.inner, name)

    def activate(self, p: Processing, params_list: list[ExtraNetworkParams]) -> None:
        """Resolve the tags of a pass, hand the host its part, and expect the rest at the denoiser."""
        if getattr(p, "prompts", None) is None:  # a model is being loaded, perhaps in the middle of a sampling
            self.attachments.take_off()
            self.inner.activate(p, params_list)
            return
        self.attachments.release()
        which = pass_of(p, params_list)
        hires = which == ATTRIBUTES[0] or (which is None and bool(getattr(p, "is_hr_pass", False)))
        try:
            plan = self._plan(p, params_list, hires=hires)
        except Exception as error:  # the outermost hook: a fault of ours must not take away a person's other LoRAs
            logger.exception("LoRA Atelier could not read the LoRA tags")
            read = ((host_reading(one), one) for one in params_list)
            plan = TagPlan(for_host=[Handed(reading, one) for reading, one in read if reading is not None])
            record.tell_error(p, _fault(error), self.notifier)
        record.write_weights(p, plan.texts, hires=hires)
        record.write_changes(p, overrides_of(p), hires=hires)
        given = [one.params for one in plan.for_host]
        if which is not None and list(map(id, given)) != list(map(id, params_list)):
            data = getattr(p, which)
            setattr(p, which, Encoded(data, reached_by(data, (one.reading for one in plan.for_host))))
        self.inner.activate(p, given)
        for text in misfits(plan.named) if given and detect() is HostKind.A1111 else ():
            record.tell_note(p, "", text, self.notifier)
        record.add_hashes(p, plan.named)
        let_go(p, {one.lora.path for one in plan.ours if one.lora.path is not None})
        self.attachments.expect(p, plan.ours, lambda error: record.tell_error(p, error, self.notifier))

    def deactivate(self, p: Processing) -> None:
        """End a generation."""
        self.attachments.release(p)
        self.inner.deactivate(p)

    def check(self, p: Processing) -> bool:
        """Tell whether the tags of all prompts of ``p`` are right, and what is wrong with them below the picture.

        Called when prompts are complete and nothing was rendered yet: the only moment at which a stop leaves no noise.
        """
        problems: list[AtelierError] = []
        for prompt in _first_prompts(p):
            problems += [*broken_tags(prompt), *self._resolve(p, _params_of(prompt)).problems]
        for error in problems:
            record.tell_error(p, error, self.notifier)
        return not problems

    def _plan(self, p: Processing, params_list: list[ExtraNetworkParams], *, hires: bool) -> TagPlan:
        plan = self._resolve(p, params_list, hires=hires)
        prompts = _batch_prompts(p, hires=hires)
        for prompt in prompts[:1]:  # the host reads the tags of a batch from its first prompt
            plan.problems += [error for error in broken_tags(prompt) if not _of_another(error)]
            plan.notes.setdefault("", []).extend(tag_remarks(prompt, _negative(p, hires=hires)))
        if _differ(prompts):
            notes = plan.notes.setdefault("", [])
            notes.append(say("The pictures of a batch share the LoRA tags of its first prompt."))
        for error in plan.problems:
            record.tell_error(p, error, self.notifier)
        for name, notes in plan.notes.items():
            for note in notes:
                record.tell_note(p, name, note, self.notifier)
        if plan.problems and stops_on_error():
            stop()
        return plan

    def _resolve(self, p: Processing, params_list: list[ExtraNetworkParams], *, hires: bool = False) -> TagPlan:
        if not params_list:
            return TagPlan()
        seeds = getattr(p, "seeds", None) or getattr(p, "all_seeds", None) or [0]
        order = TagOrder(
            self.get_host(),
            current_model,
            seed=int(seeds[0]),
            overrides=overrides_of(p),
            implied=_implied(),
            lists_missing=detect() is HostKind.A1111,
            hires=hires,
            steps=_steps(p),
        )
        return make_plan(params_list, order)


def stops_on_error() -> bool:
    """Tell whether a broken tag ends the generation; else that LoRA alone is left out."""
    return option("on_error", "").lower().startswith("stop")


def stop() -> None:
    """Have the host end the generation as its Interrupt button does."""
    from modules import shared

    shared.state.interrupted = True


def _first_prompts(p: Processing) -> Iterator[str]:
    """Yield the prompts of which the host reads tags: the first of each batch, for the first pass and for hires."""
    size = max(1, int(getattr(p, "batch_size", 1)))
    for name in ("all_prompts", "all_hr_prompts"):
        yield from dict.fromkeys((getattr(p, name, None) or [])[::size])


def _batch_prompts(p: Processing, *, hires: bool) -> list[str]:
    """Return the prompts of the batch that is being made, with their tags."""
    rows = record.batch_rows(p)
    return list((getattr(p, "all_hr_prompts" if hires else "all_prompts", None) or [])[rows.start : rows.stop])


def _differ(prompts: Iterable[str]) -> bool:
    """Tell whether prompts have different LoRA tags."""
    return len({tuple(found.text for found in find_tags(text)) for text in prompts}) > 1


def _negative(p: Processing, *, hires: bool) -> str:
    """Return the negative prompt that belongs to the first prompt of the batch."""
    found = getattr(p, "all_hr_negative_prompts" if hires else "all_negative_prompts", None) or [""]
    return str(found[min(record.batch_rows(p).start, len(found) - 1)])


def _steps(p: Processing) -> int | None:
    """Return the steps of a pass that begins with noise; another one makes a share of them."""
    begun = getattr(p, "init_images", None) or getattr(p, "is_hr_pass", False)
    steps = getattr(p, "steps", None)
    return None if begun or not steps else int(steps)


def _of_another(error: TagError) -> bool:
    """Tell whether a tag that looks like a misspelt one of ours is that of another extension."""
    from modules import extra_networks

    name = error.text[1:].partition(":")[0]
    return name in extra_networks.extra_network_registry or name in getattr(extra_networks, "extra_network_aliases", {})


def _params_of(prompt: str) -> list[ExtraNetworkParams]:
    """Return the LoRA tags of a prompt as the host parses them."""
    from modules import extra_networks

    _, data = extra_networks.parse_prompt(prompt)
    return [one for kind, found in data.items() if kind.lower() in NETWORKS for one in found]


def _fault(error: Exception) -> AtelierError:
    return AtelierError(
        "LoRA Atelier could not read the tags, so block weights do not count",
        where=say("{name}: {said}", name=type(error).__name__, said=error),
        cure="The WebUI's console has the details; please report them.",
    )


def _implied() -> str:
    """Return the LoRA that the host adds to every prompt by a setting."""
    return host_setting("sd_lora", "None")
