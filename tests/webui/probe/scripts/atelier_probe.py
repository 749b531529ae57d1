"""An extension of the host for tests alone: runs, in the host's own process, what a test posts.

It lies only in the data folder that a test makes for its host (`LiveHost.prepare`), and answers on its loopback port.
"""

import base64
import io
import traceback
from typing import Any, Dict  # noqa: UP035  the host's fastapi reads these types

from fastapi import Body
from modules import script_callbacks


def as_base64(image):
    """Return a picture as a test reads it (`tests.webui.live.from_base64`)."""
    held = io.BytesIO()
    image.save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


def run(body: Dict[str, Any] = Body(...)):  # noqa: B008, UP006  as fastapi wants it
    """Run ``code``; what it calls ``result`` is the answer, a failure is told with its traceback."""
    space = {"as_base64": as_base64, **body.get("given", {})}
    try:
        exec(compile(body["code"], "<test>", "exec"), space)  # a test's own words
    except Exception:
        return {"result": None, "failed": traceback.format_exc()}
    return {"result": space.get("result"), "failed": ""}


def add_route(_demo, app):
    """Add the route to the app of this page."""
    app.add_api_route("/atelier-test/run", run, methods=["POST"])


script_callbacks.on_app_started(add_route)
