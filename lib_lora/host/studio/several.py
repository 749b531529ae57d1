"""Pictures of several prompts in one pass: a small UNet's single picture leaves most of a processor idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lib_lora.host.base import Conditioning, GenerateResult
from lib_lora.host.in_groups import Wish
from lib_lora.host.infotext import infotext
from lib_lora.host.interruption import Interrupted, interruptible
from lib_lora.host.prompt.read import ReadPrompt
from lib_lora.host.prompt.schedule import Moment, parts_of, schedule_of
from lib_lora.host.request import GenerateRequest
from lib_lora.host.studio.guidance import Guidance, Scheduled
from lib_lora.host.studio.sampling import calls_of, sample
from lib_lora.progress import Progress

if TYPE_CHECKING:
    from lib_lora.host.studio.host import StudioHost

NOTHING = GenerateResult((), ())


@dataclass(frozen=True)
class Several:
    """Prompts that can share a pass: each is one text from the first step to the last, all of one length in tokens.

    Attributes:
        request: what they share, its sampler by the studio's name.
        wishes: prompts and seeds.
        read: each prompt as it was read.
        conditions: their conditioning, a row each.
    """

    request: GenerateRequest
    wishes: Sequence[Wish]
    read: Sequence[ReadPrompt]
    conditions: Conditioning

    @classmethod
    def of(cls, host: StudioHost, request: GenerateRequest, wishes: Sequence[Wish]) -> Several | None:
        """Return them; None where one has LoRA tags, changes on its way, or is of another length."""
        calls = calls_of(request.sampler, request.steps)
        read = [host.read(wish.of(request)) for wish in wishes]
        for one in read:
            if one.tags or one.problems or len(parts_of(one.text)) > 1 or parts_of(one.text)[0].weight != 1.0:
                return None
            if len(schedule_of(one.text, calls)) > 1:
                return None
        texts = [schedule_of(one.text, calls)[0].text for one in read]
        with torch.no_grad():
            encoded = [host.model.encode_prompts([text], [1], clip_skip=request.clip_skip)[0] for text in texts]
        if len({one.tokens.shape[1] for one in encoded}) > 1:
            return None
        pooled = [one.pooled for one in encoded if one.pooled is not None]
        together = Conditioning(torch.cat([one.tokens for one in encoded]), torch.cat(pooled) if pooled else None)
        return cls(request, wishes, read, together)

    def draw(self, host: StudioHost, progress: Progress) -> GenerateResult:
        """Return the pictures: those that `StudioHost.generate` draws of each alone, to rounding; none after a stop."""
        request, model = self.request, host.model
        calls = calls_of(request.sampler, request.steps)

        def encode(texts: Sequence[str], counts: Sequence[int]) -> list[Conditioning]:
            return model.encode_prompts(texts, counts, clip_skip=request.clip_skip)

        height, width = host.size_of(request)
        generators = [torch.Generator().manual_seed(wish.seed) for wish in self.wishes]
        shape = (4, height // model.pixels_per_latent, width // model.pixels_per_latent)
        noise = torch.stack([torch.randn(shape, generator=one) for one in generators])
        try:
            with torch.no_grad(), interruptible(model.unet, progress):
                wanted = Scheduled((Moment(calls, ""),), (self.conditions,))
                against = Scheduled.of(self.read[0].negative, calls, encode)
                latents = sample(
                    Guidance(model.predict, against, (wanted,), request.cfg_scale, model.side_by_side),
                    noise.to(model.device),
                    sampler=request.sampler,
                    prediction_type=model.prediction_type,
                    schedule=model.noise,
                    steps=request.steps,
                    generators=generators,
                    progress=progress,
                )
        except Interrupted:
            return NOTHING
        if progress.stopped:
            return NOTHING
        spoilt: list[int] = []
        images = [picture for latent in latents for picture in host.pictures_of(latent[None], spoilt)]
        rows = zip(self.wishes, self.read, strict=True)
        size = (height, width)
        texts = [infotext(wish.of(request), read, 0, model=model.name, size=size) for wish, read in rows]
        return GenerateResult(tuple(images), tuple(texts), notes=host.remarks(request, self.read, spoilt))
