"""The WebUI as a host: the panels, the analyzer and the training work on its model, its LoRAs and its txt2img."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import AtelierError
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import GenerateRequest, GenerateResult, LoadedModel, check_clip_skip
from lib_lora.host.in_groups import Wish, in_groups, one_after_another
from lib_lora.host.lora_files import LoraCache
from lib_lora.host.prompt.read import check_usable, read_prompt
from lib_lora.host.webui import lora_list
from lib_lora.host.webui.model.live_model import NO_MODEL, current_model, loaded_model
from lib_lora.host.webui.prompt import hooks
from lib_lora.host.webui.render import samplers
from lib_lora.host.webui.render.pictures import Rendering, checked
from lib_lora.host.webui.session.queue_lock import QueueLock
from lib_lora.progress import Progress

if TYPE_CHECKING:
    from lib_lora.host.base import Lease

TITLE = "LoRA Atelier"
AT_ONCE = 4
"""Pictures of a group: between two groups the queue is free for somebody else's picture."""


@dataclass
class WebuiHost:
    """The WebUI that we run in.

    Attributes:
        presets: the block-weight presets that tags may name.
        queue: the lock of the host's queue; whoever uses the model holds it.
        lora_cache: the files that were read lately.
    """

    presets: PresetFile = field(default_factory=PresetFile.shipped)
    queue: QueueLock = field(default_factory=QueueLock)
    lora_cache: LoraCache = field(default_factory=LoraCache, repr=False)

    @property
    def model(self) -> LoadedModel:
        """What the host has loaded now; before its first picture a stand-in without layers. Loads nothing."""
        return current_model() or NO_MODEL

    @property
    def lora_folders(self) -> tuple[Path, ...]:
        """The host's folders of LoRAs."""
        return lora_list.lora_folders()

    @property
    def samplers(self) -> tuple[str, ...]:
        """The samplers that the host shows."""
        return samplers.sampler_names()

    @property
    def schedulers(self) -> tuple[str, ...]:
        """The host's schedulers; empty where its samplers carry them."""
        return samplers.scheduler_names()

    def list_loras(self) -> Mapping[str, Path]:
        """Return every LoRA file by the name that a tag calls it."""
        return lora_list.listed()

    def find_lora(self, name: str) -> Path:
        """Return the file behind a name in a tag; InputError with the nearest names where there is none."""
        return lora_list.find(name)

    def namesakes(self, name: str) -> list[str]:
        """Return the note that is due where several files have a tag's name; none else."""
        return lora_list.namesakes(name)

    def loras_changed(self) -> None:
        """Let the host list its LoRAs anew: a file was made, renamed or written over."""
        lora_list.refresh()

    def read_lora(self, name: str) -> LoraFile:
        """Return the LoRA file of a name in a tag, on the model's device."""
        return self.lora_cache.read(self.find_lora(name)).to(self.model.device)

    def generate(self, request: GenerateRequest, progress: Progress | None = None) -> GenerateResult:
        """Return the pictures of ``request``, made by the host's own txt2img, or img2img where it has a picture.

        Waits for the host's queue, unless this thread holds it: a training's samples are made in the middle of it.
        A stop, of ours or by the host's Interrupt button, returns the pictures that were finished.

        Raises:
            InputError: a tag, a name, a sampler or a size cannot be right, or a sweep is wanted where our tags do not
                act; nothing was rendered.
        """
        if request.sweep is not None:
            hooks.check_installed()
        progress = progress or Progress()
        nested = self.queue.held
        with self.queue.taken(f"{TITLE}: generate"):
            model = loaded_model()
            request = checked(request, model)
            self._check_tags(request, model.family)
            check_clip_skip(request.clip_skip, model)
            return Rendering(request, model, progress, pinned=nested).run()

    def generate_each(
        self, request: GenerateRequest, wishes: Sequence[Wish], progress: Progress
    ) -> Iterator[GenerateResult]:
        """Yield the pictures of many prompts in groups, made by the host's own txt2img; see `generate`."""

        def draw(group: Sequence[Wish], part: Progress) -> GenerateResult:
            return one_after_another(self.generate, request, group, part)

        return in_groups(request, wishes, progress, at_once=AT_ONCE, draw=draw)

    def _check_tags(self, request: GenerateRequest, family: str) -> None:
        """Refuse an order whose tags cannot be used, where it is strict or a sweep would change nothing.

        Else the activator says below the pictures what was left out.

        Raises:
            InputError: what is wrong with the first such tag.
        """
        read = read_prompt(
            request.prompt, request.negative, presets=self.presets, family=family, seed=request.seed, swept=True
        )
        problems, usable = list(read.problems), []
        for tag in read.tags:
            try:
                self.find_lora(tag.name)
                usable.append(tag)
            except AtelierError as error:
                problems.append(error)
        check_usable(request, usable, problems)

    def check_training(self, *, trains_text: bool) -> None:
        """Refuse in one sentence what cannot be trained; a host without a checkpoint in memory is asked later."""
        from lib_lora.host.webui.session.training import check_training

        check_training(trains_text=trains_text)

    def training(self, name: str, *, trains_text: bool) -> AbstractContextManager[Lease]:
        """Lend the model to a slice of the training ``name``: its context holds the host's queue."""
        # The training's code is loaded where it is used; a start of the host does not wait for it.
        from lib_lora.host.webui.session.training import training_slice

        return training_slice(self.queue, name, trains_text=trains_text)
