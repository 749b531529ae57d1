"""The finished file says what it is: trigger word, strength, a cover from the proof; no private paths."""

from __future__ import annotations

from typing import Any

from lib_lora.formats.names import ENDING
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import cards, labels
from lib_lora.services.labels import LabelOptions
from lib_lora.services.make.proof import OURS
from lib_lora.services.make.record import PROOF, SHRINK
from lib_lora.services.make.work import Work

STRENGTH = "1"
"""The found weights are in the file, so it is meant as it is."""


def label(work: Work, progress: Progress) -> dict[str, Any]:
    """Write the labels into the file that prompts find, with the WebUI's card and preview beside it.

    Raises:
        FileError: the file cannot be written.
    """
    order, made = work.options, work.result(SHRINK)
    near = work.result(PROOF)["pictures"][0]
    options = LabelOptions(
        title=work.make.name,
        trigger_words=", ".join(filter(None, (order.trigger, order.class_word))),
        preferred_weight=STRENGTH,
        cover=str(work.make.folder / "proof" / near[OURS]),
        remove_private=True,
        card=cards.WRITE,
    )
    target = work.loras / f"{made['lora']}{ENDING}"
    done = labels.write(work.make.folder / "made" / f"{work.make.name}{ENDING}", options.order(), target=target,
                        overwrite=True)  # fmt: skip
    work.host.loras_changed()
    notes = [say("in the list of LoRAs: {name}", name=target.stem), *done.notes, *done.failed]
    return {"lora": target.stem, "file": str(done.path), "bytes": done.path.stat().st_size, "notes": notes}
