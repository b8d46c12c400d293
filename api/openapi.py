"""The OpenAPI 3.1 document: what Litestar finds in the handlers, and the bodies that we decode ourselves."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response import File

from api.access.needs import NEEDS, Without
from nexus.domain.access import Verb

__all__ = ["TEXT_ERRORS", "document", "json_body", "openapi_routes"]

_BODY = "request_body"
_BEARER = "bearer"
_REFS = "#/components/schemas/{name}"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _REFS.format(name="Problem")}}}
_SENTENCES = {
    400: "What was wrong, as a sentence",
    401: "Nothing proves who asks",
    403: "No rule allows it; of a payload: the signature is wrong or has expired",
    404: "Unknown run",
    417: "The run has no payload",
    429: "The caller's tenant has reached a limit: Retry-After says how long to wait",
    503: "Nothing was changed, or it is unknown whether: try again",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>Nexus API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", deepLinking: true});</script>
</body>
</html>
"""


def json_body(shape: type) -> dict[str, Any]:
    """For a handler's `opt`: it takes a JSON body of this shape, which it decodes itself to keep the bytes."""
    return {_BODY: shape}


def TEXT_ERRORS(*statuses: int) -> dict[int, ResponseSpec]:  # noqa: N802 - a table in call form
    """The plain-text answers of upstream's paths."""
    return {
        status: ResponseSpec(
            str, description=_SENTENCES[status], media_type=MediaType.TEXT, generate_examples=False
        )
        for status in statuses
    }


def document(app: Litestar) -> dict[str, Any]:
    """The whole document as plain data, in a stable order."""
    doc: dict[str, Any] = app.openapi_schema.to_schema()
    bodies = _bodies(app)
    _, components = msgspec.json.schema_components(set(bodies.values()), ref_template=_REFS)
    doc.setdefault("components", {}).setdefault("schemas", {}).update(components)
    for (path, method), shape in bodies.items():
        operation = doc["paths"][path][method]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REFS.format(name=shape.__name__)}}},
        }
    parameters = doc["components"]["schemas"].get("Submission", {}).get("properties", {})
    if "algorithmParameters" in parameters:
        parameters["algorithmParameters"] = {
            "type": "object",
            "description": "Handed to the algorithm byte for byte",
        }
    _tell_of_tokens(doc)
    doc["paths"] = dict(sorted(doc["paths"].items()))
    return doc


def _tell_of_tokens(doc: dict[str, Any]) -> None:
    """What a server answers that wants to know who asks (`auth.mode: bearer`)."""
    doc["components"].setdefault("securitySchemes", {})[_BEARER] = {"type": "http", "scheme": "bearer"}
    for path, operations in doc["paths"].items():
        plain = path.startswith("/algorithm")
        content = {MediaType.TEXT: {"schema": {"type": "string"}}} if plain else _PROBLEM
        for method, operation in operations.items():
            need = NEEDS.get(f"{method.upper()} {path}")
            if isinstance(need, Verb) or need is Without.KNOWN:
                operation["security"] = [{}, {_BEARER: []}]
                for status in ("401", "403", "429"):
                    told = {"description": _SENTENCES[int(status)], "content": content}
                    operation["responses"].setdefault(status, told)


def _bodies(app: Litestar) -> dict[tuple[str, str], type]:
    return {
        (route.path_format, method.lower()): handler.opt[_BODY]
        for route in app.routes
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items()
        if _BODY in handler.opt
    }


@get("/openapi.json", include_in_schema=False)
async def _serve_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    body = msgspec.json.encode(document(request.app))
    return Response(body, media_type="application/json")


@get(["/docs", "/"], include_in_schema=False)
async def _serve_page() -> Response[str]:
    return Response(_PAGE, media_type=MediaType.HTML)


@get("/docs/assets/{name:str}", include_in_schema=False)
async def _serve_asset(name: FromPath[str]) -> File:
    """By the names that there are: what a client sends is never made into a path."""
    asset = _assets().get(name)
    if asset is None:
        raise NotFoundException
    return File(asset, media_type=guess_type(name)[0], content_disposition_type="inline")


@cache
def _assets() -> dict[str, Path]:
    return {asset.name: asset for asset in Path(str(files("swagger_ui") / "static")).iterdir()}


def openapi_routes() -> list[Any]:
    """The document, its page, and the page's assets out of a package: closed networks have no CDN."""
    return [_serve_document, _serve_page, _serve_asset]
