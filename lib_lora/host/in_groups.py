"""Many pictures that share all settings but prompt and seed: in groups, each of them shown as soon as it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lib_lora.host.base import GenerateResult
from lib_lora.host.request import GenerateRequest
from lib_lora.progress import Progress, SubProgress

Generate = Callable[[GenerateRequest, Progress], GenerateResult]


@dataclass(frozen=True)
class Wish:
    """One picture: its prompt and its seed."""

    prompt: str
    seed: int

    def of(self, request: GenerateRequest, count: int = 1) -> GenerateRequest:
        """Return the order for ``count`` pictures, from this one on."""
        return replace(request, prompt=self.prompt, seed=self.seed, batch=count)


def in_groups(
    request: GenerateRequest,
    wishes: Sequence[Wish],
    progress: Progress,
    *,
    at_once: int,
    draw: Callable[[Sequence[Wish], Progress], GenerateResult],
) -> Iterator[GenerateResult]:
    """Yield what ``draw`` makes of each ``at_once`` of the wishes; the last after a stop has fewer, or nothing comes.

    ``progress`` is told of the steps of all of them.
    """
    total = len(wishes) * request.steps
    for first in range(0, len(wishes), at_once):
        group = wishes[first : first + at_once]
        units = len(group) * request.steps
        made = draw(group, SubProgress(progress, first * request.steps, units, total))
        if made.images:
            yield made
        if progress.stopped:
            return


def one_after_another(
    generate: Generate, request: GenerateRequest, wishes: Sequence[Wish], progress: Progress
) -> GenerateResult:
    """Return the pictures by a host's own `generate`: neighbors of one prompt, whose seeds count up, together."""
    runs = [[wish for _, wish in run] for _, run in groupby(enumerate(wishes), key=_kin)]
    total, done = len(wishes) * request.steps, 0
    made = GenerateResult((), ())
    for run in runs:
        units = len(run) * request.steps
        result = generate(run[0].of(request, len(run)), SubProgress(progress, done, units, total))
        made = GenerateResult(
            (*made.images, *result.images),
            (*made.infotexts, *result.infotexts),
            tuple(dict.fromkeys((*made.notes, *result.notes))),
            result.problems or made.problems,
        )
        done += units
        if progress.stopped or len(result.images) < len(run):
            break
    return made


def _kin(row: tuple[int, Wish]) -> tuple[str, int]:
    """Return what is the same for neighbors of one prompt whose seeds count up."""
    number, wish = row
    return wish.prompt, wish.seed - number
