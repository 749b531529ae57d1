"""Sample pictures while training: the run's own prompts, rendered by the host with the LoRA as it is now."""

from __future__ import annotations

from dataclasses import replace

from lib_lora.host.base import GenerateRequest, Host, Progress
from lib_lora.host.infotext import png_info
from lib_lora.train.options import TrainOptions
from lib_lora.train.run_folder import RunFolder


class SampleMaker:
    """Renders the sample prompts of a run; the LoRA in training is attached already, so prompts need no tag."""

    def __init__(self, host: Host, options: TrainOptions) -> None:
        self._host = host
        self._request = GenerateRequest("", seed=options.seed, clip_skip=options.clip_skip)
        self._prompts = options.sample_prompts

    def __call__(self, folder: RunFolder, step: int) -> None:
        """Render every prompt at ``step`` into the run's folder of samples."""
        for number, prompt in enumerate(self._prompts):
            result = self._host.generate(replace(self._request, prompt=prompt), Progress())
            path = folder.samples / f"step-{step:08d}-{number + 1}.png"
            result.images[0].save(path, pnginfo=png_info(result.infotexts[0]))


def sampler_of(host: Host, options: TrainOptions) -> SampleMaker | None:
    """Return what renders the samples of a run, or None where it has no sample prompts."""
    return SampleMaker(host, options) if options.sample_prompts else None
