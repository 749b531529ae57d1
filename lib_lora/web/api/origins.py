"""Where a file comes from over HTTP: made again from its parents, and told as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.formats.saving import check_target
from lib_lora.options import Option
from lib_lora.progress import Progress
from lib_lora.services import repeated
from lib_lora.services.atelier import Atelier
from lib_lora.services.command_lines import command_line
from lib_lora.services.files import submit
from lib_lora.services.lineage import Files
from lib_lora.services.readme import readme
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.labels import LORA
from lib_lora.web.api.shared import job_row, lora_file, new_file

REPEAT = (LORA, Option("out", str, "Name of the new file; without it one is made.", ""))


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of origins."""

    def again(call: Call) -> Any:
        path, files, model = lora_file(atelier, call["lora"]), Files.of(atelier), atelier.host.model
        name = call["out"] or repeated.again(path, taken=list(atelier.host.list_loras()))
        target = new_file(atelier, name, overwrite=False)
        repeated.parents_at_hand(repeated.order_of(path), path, files)

        def work(progress: Progress) -> dict[str, Any]:
            check_target(target, overwrite=False)
            made = repeated.repeat(path, target, files, model=model, progress=progress)
            return {"lora": made.path.stem, "same": made.same, "hash": made.hash}

        return {**job_row(atelier, submit(atelier, target.stem, work), call.language), "lora": target.stem}

    def page(call: Call) -> Any:
        return {"lora": call["lora"], "text": readme(lora_file(atelier, call["lora"]), call.language)}

    does = "Make a file again from the files that it was made of, and compare the tensors; returns the job."
    return (
        Route("POST", "/repeat", again, does, REPEAT, status=202),
        Route("GET", "/readme", page, "Tell a file as a page in Markdown.", (LORA,)),
    )


def origin_row(atelier: Atelier, path: Path) -> dict[str, Any]:
    """Return a file's family tree and the command that makes it again, without folders where others may ask."""
    files = Files.of(atelier)
    tree = files.tree(path)
    line = ""
    if tree.order is not None:
        line = command_line(tree.order, path, files, folders=not atelier.folders.confined)
    return {"origin": tree.as_dict(), "repeat": line}
