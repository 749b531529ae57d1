"""Sample pictures while training: the run's own prompts, rendered by the host with the LoRA as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lib_lora.blocks.typed import as_words
from lib_lora.data.edit_captions import tag_counts
from lib_lora.data.tag_lines import trained_line
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.host.infotext import write_png
from lib_lora.progress import Progress
from lib_lora.train.options import TrainOptions
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.sample_prompts import read_sample


class StopOnly(Progress):
    """Passes on the wish to stop, and keeps a sample's own steps to itself: they are no steps of the run."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    @property
    def stopped(self) -> bool:
        """Whether the run is to stop."""
        return self._whole.stopped


class SampleMaker:
    """Renders the sample prompts of a run; the LoRA in training is attached already, so prompts need no tag."""

    def __init__(self, host: Host, options: TrainOptions) -> None:
        self._host, self._options = host, options

    def __call__(self, folder: RunFolder, step: int, progress: Progress) -> tuple[str, ...]:
        """Render every prompt at ``step`` into the run's folder of samples; return what was remarked of them."""
        notes: dict[str, None] = {}
        for number, prompt in enumerate(self._options.sample_prompts):
            result = self._host.generate(sample_request(self._options, prompt), StopOnly(progress))
            notes |= dict.fromkeys([*result.notes, *(problem.what for problem in result.problems)])
            if not result.images:  # stopped in the middle of the picture
                break
            write_png(folder.samples / f"step-{step:08d}-{number + 1}.png", result.images[0], result.infotexts[0])
        return tuple(notes)


def sample_request(options: TrainOptions, prompt: str) -> GenerateRequest:
    """Return the order for a sample prompt: with the run's seed and clip skip where it does not set its own."""
    plain = GenerateRequest("", seed=options.seed, clip_skip=options.clip_skip)
    return replace(plain, **read_sample(prompt).changes())


def sampler_of(host: Host, options: TrainOptions) -> SampleMaker | None:
    """Return what renders the samples of a run, or None where it has no sample prompts."""
    return SampleMaker(host, options) if options.sample_prompts else None


def default_prompts(trigger: str, class_word: str, captions: Sequence[str]) -> tuple[str, ...]:
    """Return prompts that show what a run learns: the trigger with the tags of most pictures, and the trigger alone.

    Brackets of a trigger or a tag, as in ``saber (fate)``, are letters in captions; in the prompts they are escaped.
    """
    if not trigger:
        return ()
    common = [
        tag for tag, count in tag_counts(map(trained_line, captions)) if 2 * count >= len(captions) and tag != trigger
    ][:6]
    plain = ", ".join(part for part in (trigger, class_word) if part)
    return tuple(dict.fromkeys(map(as_words, (", ".join([trigger, *common]), plain))))
