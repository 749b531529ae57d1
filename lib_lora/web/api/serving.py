"""From HTTP to a route's function and back: the body with its limits, errors as JSON, work off the event loop."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.error_words import error_row
from lib_lora.sentences import say
from lib_lora.web.api.access import CHALLENGE, Access
from lib_lora.web.api.call import REQUIRED, NotFound, Route
from lib_lora.web.routes import BASE, best_language

BODY_LIMIT = 4 * 2**20
"""Bytes of a body; the largest there is, a file of presets, has a few thousand."""

SCHEMA = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}

logger = logging.getLogger(__name__)


class TooLarge(InputError):
    """The body is larger than any that a route takes: HTTP 413."""


class NotJson(InputError):
    """The body is of another kind than JSON: HTTP 415.

    A page of another site can make a browser send a form or plain text, but JSON only with our server's permission.
    """


def serve(app: FastAPI, route: Route, access: Access | None) -> None:
    """Register a route with an app, FastAPI over pydantic 1 or 2."""

    async def endpoint(request: Request) -> JSONResponse:
        """Answer with what the route's function returns, or with its error."""
        language = best_language(request.headers.get("accept-language", ""))
        status = 200 if access is None else await access.may_call(request)
        if status != 200:
            return refused(route, status, language)
        try:
            address = dict(
                request.path_params if route.method == "POST" else {**request.query_params, **request.path_params}
            )
            values = {
                **await body_of(request, route),
                **{name: typed(route, name, text) for name, text in address.items()},
            }
        except AtelierError as error:
            return said(error, language)
        return await run_in_threadpool(answered, route, values, language)

    app.add_api_route(
        BASE + route.path,
        endpoint,
        methods=[route.method],
        response_model=None,
        status_code=route.status,
        summary=route.summary,
        name=f"atelier {route.method} {route.path}",
        tags=["LoRA Atelier"],
        openapi_extra=documented(route),
    )


def refused(route: Route, status: int, language: str) -> JSONResponse:
    """Return the answer to whoever may not call, 401 or 429."""
    if status == 429:
        error = InputError("Too many wrong passwords at once", where=route.path, cure="Wait a minute, then try again.")
        return said(error, language, status=status)
    error = InputError("Name and password, please", where=route.path, cure="Send them as HTTP Basic.")
    return said(error, language, status=status, headers=CHALLENGE)


async def body_of(request: Request, route: Route) -> dict[str, Any]:
    """Return the fields of a request's body, empty for a GET.

    Raises:
        InputError: it is too large, not said to be JSON, or no JSON object.
    """
    if route.method == "GET":
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise NotJson("The body is no JSON", where=route.path, cure="Send application/json.")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > BODY_LIMIT:
            raise TooLarge(
                "The body has more than {limit} bytes", limit=BODY_LIMIT, where=route.path, cure="Send less."
            )
    try:
        values = json.loads(bytes(content) or b"{}")
    except (ValueError, RecursionError) as error:
        raise InputError("The body is no valid JSON", where=route.path, cure="Check it.") from error
    if not isinstance(values, dict):
        raise InputError("The body is no JSON object", where=route.path, cure="Send an object in braces.")
    return values


def answered(route: Route, values: Mapping[str, Any], language: str) -> JSONResponse:
    """Call a route's function and return its answer or its error as JSON; runs in a thread."""
    try:
        answer = route.answer(route.read(values, language=language))
        return JSONResponse(plain(answer), status_code=route.status)
    except AtelierError as error:
        return said(error, language)
    except Exception as error:  # the outermost hook: a stranger's request must not bring a trace into the answer
        logger.exception("%s %s failed", route.method, route.path)
        cure = say("The details are in the terminal; please report them.")
        return said(
            AtelierError("Something unforeseen: {error}", error=error, where=route.path, cure=cure),
            language,
            status=500,
        )


def typed(route: Route, name: str, text: Any) -> Any:
    """Return a part of an address in the kind of its field; what cannot be is left for the field to refuse."""
    kind = next((one.kind for one in route.fields if one.name == name), str)
    if not isinstance(text, str) or kind is str:
        return text
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    try:
        return kind(text) if kind in (int, float) and len(text) < 40 else text
    except ValueError:
        return text


def said(
    error: AtelierError, language: str, *, status: int = 0, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error as JSON in the sender's language."""
    content = error_row(error, language)
    return JSONResponse(content, status_code=status or status_of(error), headers=dict(headers or {}))


def status_of(error: AtelierError) -> int:
    """Return the HTTP status of an error: 400 for what was asked wrongly, 409 for what the disk or the host refuses."""
    for kind, status in ((TooLarge, 413), (NotJson, 415), (NotFound, 404), (InputError, 400)):
        if isinstance(error, kind):
            return status
    return 409


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: paths as texts, tuples as lists, numbers that are none as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def documented(route: Route) -> dict[str, Any]:
    """Return what the server's own page of its API (``/docs``) says of a route's fields."""
    inside = {one.name for one in route.fields if f"{{{one.name}" in route.path}
    rows = {one.name: {"type": SCHEMA[one.kind], "description": one.help} for one in route.fields}
    for one in route.fields:
        if one.choices:
            rows[one.name]["enum"] = list(one.choices)
    needed = [one.name for one in route.fields if one.default is REQUIRED and one.name not in inside]
    if route.method == "GET" or inside:
        made: dict[str, Any] = {"parameters": _parameters(route, rows, inside)}
        if route.method == "GET":
            return made
    else:
        made = {}
    fields = {name: row for name, row in rows.items() if name not in inside}
    schema = {"type": "object", "properties": fields, "required": needed, "additionalProperties": route.open}
    made["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return made


def _parameters(route: Route, rows: Mapping[str, Any], inside: set[str]) -> list[dict[str, Any]]:
    names = rows if route.method == "GET" else inside
    return [
        {
            "name": name,
            "in": "path" if name in inside else "query",
            "required": name in inside,
            "description": rows[name]["description"],
            "schema": {"type": rows[name]["type"]},
        }
        for name in names
    ]
