"""The found weights are baked, and the file made as small as its answers allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lib_lora.analysis.fit.ask import picture_questions
from lib_lora.analysis.fit.samples import Question
from lib_lora.atomic import make_folder
from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.formats.names import ENDING
from lib_lora.host.base import LoadedModel
from lib_lora.live.attach import attach
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import merge
from lib_lora.services.block_tiers import lent
from lib_lora.services.jobs.delivery import deliver
from lib_lora.services.make.answers import LEVELS, answers, apart, others_asked, pictures_of
from lib_lora.services.make.captions_used import other_things
from lib_lora.services.make.record import CHOOSE, WEIGHTS
from lib_lora.services.make.weights import path_of
from lib_lora.services.make.work import Work

MOST_ERROR = 0.01
"""So far the smaller file's answers may be from the larger one's, as a share of their size."""
SHARES = tuple(0.9**n for n in range(32, 0, -1))
"""Shares of the file's bytes that are tried, from a thirtieth; the smallest that is good enough is taken."""
ASKED = 4
"""Pictures and captions that the model is asked about."""


def shrink(work: Work, progress: Progress) -> dict[str, Any]:
    """Bake the weights, find by halving the smallest file whose answers differ by at most 1 %, and write it.

    Raises:
        InputError: nothing of the LoRA is left. FileError: the file cannot be written. StoppedError: asked to stop.
    """
    host, model, path = work.host, work.host.model, path_of(work)
    before = path.stat().st_size
    row = Ingredient(path, blocks=work.result(WEIGHTS)["vector"])
    whole = MergeSpec((row,))
    with lent(host, work.result(CHOOSE)["lora"]):
        questions = _questions(work, progress)
        wanted = _asked(model, merge.preview(whole, host.presets, model=model).lora, questions, progress)
        errors: dict[float, float] = {}

        def good(size: float) -> bool:
            try:
                small = merge.preview(MergeSpec((row,), RankRule("size", size)), host.presets, model=model).lora
            except InputError:  # so small a file cannot be
                return False
            errors[size] = apart(_asked(model, small, questions, progress), wanted)
            return errors[size] <= MOST_ERROR

        size = first_good([round(share * before / 1e6, 3) for share in SHARES], good)
    order = whole if size is None else MergeSpec((row,), RankRule("size", size))
    made, target = merge.write(
        order,
        make_folder(work.make.folder / "made") / f"{work.make.name}{ENDING}",
        host.presets,
        model=model,
        overwrite=True,
        progress=progress,
    )
    name = deliver(target, work.loras).stem
    host.loras_changed()
    taken = target.stat().st_size
    if size is None:
        notes = [say("no smaller file keeps the answers within {n} %, so none of its ranks is cut", n=100 * MOST_ERROR)]
    else:
        notes = [
            say(
                "{small:.2f} MB in place of {large:.2f}: its answers differ by {error:.2f} % of their size",
                small=taken / 1e6,
                large=before / 1e6,
                error=100 * errors[size],
            )
        ]
    return {
        "file": str(target),
        "lora": name,
        "size": size,
        "error": 0.0 if size is None else errors[size],
        "tried": {str(key): value for key, value in sorted(errors.items())},
        "bytes": taken,
        "bytes_before": before,
        "blocks": made.report.by_block(),
        "notes": notes,
    }


def first_good(rising: Sequence[float], good: Any) -> float | None:
    """Return, by halving, the first good one of values of which all after a good one are good; None where none is."""
    low, high = 0, len(rising)
    while low < high:
        middle = (low + high) // 2
        if good(rising[middle]):
            high = middle
        else:
            low = middle + 1
    return rising[low] if low < len(rising) else None


def _questions(work: Work, progress: Progress) -> list[Question]:
    """Return what is asked: trained pictures, and other things; what is held out stays for the proof."""
    model, seed = work.host.model, work.options.seed
    latents, captions = pictures_of(model, work.train_folder, work.options.trigger, progress)
    every = max(1, len(latents) // ASKED)
    chosen = range(0, len(latents), every)[:ASKED]
    own = picture_questions(
        model, [latents[n] for n in chosen], [captions[n] for n in chosen], levels=LEVELS, seed=seed + 31
    )
    return own + others_asked(model, other_things(model).kept[:ASKED], seed + 32, progress)


def _asked(model: LoadedModel, lora: LoraFile, questions: Sequence[Question], progress: Progress) -> Tensor:
    with attach(model, lora.to(model.device)):
        return answers(model, questions, progress)
