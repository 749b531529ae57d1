"""From HTTP to a route's function and back: the body with its limits, errors as JSON, work off the event loop."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.error_words import error_row
from lib_lora.options import REQUIRED, Option
from lib_lora.sentences import say
from lib_lora.services.answers import plain
from lib_lora.web.api.access import CHALLENGE, Access
from lib_lora.web.api.call import NotFound, Route
from lib_lora.web.routes import BASE, best_language

BODY_LIMIT = 4 * 2**20
"""Bytes of a body; the largest there is, a file of presets, has a few thousand."""

SCHEMA = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    tuple: "array",
    dict: "object",
}

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
                **typed(route, address),
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
        json.dumps(values, ensure_ascii=False).encode()  # half a character (\\ud800) is JSON, and no text
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


def typed(route: Route, address: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of an address in the kinds of their options; an unknown one is left for the route to refuse.

    Raises:
        InputError: a part cannot be read.
    """
    known = {one.name: one for one in route.options}
    return {name: known[name].parse(text) if name in known else text for name, text in address.items()}


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


def documented(route: Route) -> dict[str, Any]:
    """Return what the server's own page of its API (``/docs``) says of a route's options."""
    inside = {one.name for one in route.options if f"{{{one.name}}}" in route.path}
    in_address = route.options if route.method == "GET" else [one for one in route.options if one.name in inside]
    made: dict[str, Any] = {"parameters": [_parameter(one, inside) for one in in_address]} if in_address else {}
    if route.method == "POST":
        body = [one for one in route.options if one.name not in inside]
        needed = [one.name for one in body if one.default is REQUIRED]
        rows = {one.name: schema(one) for one in body}
        whole = {"type": "object", "properties": rows, "required": needed, "additionalProperties": False}
        made["requestBody"] = {"content": {"application/json": {"schema": whole}}}
    return made


def schema(one: Option) -> dict[str, Any]:
    """Return an option as JSON schema: type, explanation, default and bounds."""
    row: dict[str, Any] = {"type": SCHEMA[one.kind], "description": one.help}
    if one.default is not REQUIRED:
        row["default"] = plain(one.default)
    bounds = {"minimum": one.low, "maximum": one.high}
    row |= {name: bound for name, bound in bounds.items() if math.isfinite(bound)}
    return row | ({"examples" if one.paths else "enum": list(one.choices)} if one.choices else {})


def _parameter(one: Option, inside: set[str]) -> dict[str, Any]:
    row = schema(one)
    place = {"in": "path", "required": True} if one.name in inside else {"in": "query", "required": False}
    return {"name": one.name, **place, "description": row.pop("description"), "schema": row}
