"""The panels' work over HTTP: JSON in and out, under ``/lora-atelier/v1/``; every route is in docs/api.md.

``add_api(app, atelier)`` stands in the studio's app and in a WebUI's. A route is a plain function from a checked
`Call` to something that JSON can hold; what FastAPI, the body, the errors and the visitors need is in ``serving`` and
``access``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lib_lora.services.atelier import Atelier
    from lib_lora.web.api.access import Access


def add_api(app: FastAPI, atelier: Atelier, access: Access | None = None) -> None:
    """Register every route; ``access`` says who may call them, None: whoever reaches the app."""
    from lib_lora.web.api.routes import groups
    from lib_lora.web.api.serving import serve

    for route in groups(atelier):
        serve(app, route, access)
