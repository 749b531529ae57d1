"""The API in a WebUI's server, behind the WebUI's own access."""

from __future__ import annotations

from fastapi import FastAPI

from lib_lora.host.webui.options import server_access
from lib_lora.services.atelier import Atelier
from lib_lora.web.api import add_api
from lib_lora.web.api.access import Access
from lib_lora.web.routes import add_routes


def add_to_webui(app: FastAPI, atelier: Atelier) -> None:
    """Register what our panels ask for and, where the WebUI's API is on, ours; called for each new server."""
    found = server_access()
    access = Access(api=found.api_users, page=found.page_users)
    add_routes(app, atelier, guard=access.look)
    if found.api:
        add_api(app, atelier, access)
