"""Every route of the API, group by group."""

from __future__ import annotations

from typing import Any

from lib_lora.services.atelier import Atelier
from lib_lora.web.api import (
    captions,
    checkpoints,
    files,
    fit,
    folders,
    jobs,
    labels,
    makes,
    origins,
    picture_tools,
    pictures,
    plans,
    prompts,
    rewriting,
    sweeps,
    training,
)
from lib_lora.web.api.call import Call, Route
from lib_lora.web.routes import BASE


def groups(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes over one atelier."""
    made: list[Route] = []

    def about(call: Call) -> Any:
        model = atelier.host.model
        listed = [{"method": one.method, "path": BASE + one.path, "does": one.summary} for one in made]
        return {"model": {"name": model.name, "family": model.family}, "routes": listed}

    made.append(Route("GET", "/about", about, "Name the loaded model and list these routes."))
    of_data = (prompts, plans, pictures, fit, folders, captions, picture_tools)
    for group in (*of_data, training, sweeps, makes, labels, origins, files, checkpoints, rewriting, jobs):
        made.extend(group.routes(atelier))
    return tuple(made)
