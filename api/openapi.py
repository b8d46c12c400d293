"""The OpenAPI 3.1 document: what Litestar finds in the handlers, and the bodies that we decode ourselves."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.static_files import create_static_files_router

__all__ = ["TEXT_ERRORS", "document", "json_body", "openapi_routes"]

_BODY = "request_body"
_REFS = "#/components/schemas/{name}"
_SENTENCES = {
    400: "What was wrong, as a sentence",
    404: "Unknown run",
    403: "The signature is wrong or has expired",
    417: "The run has no payload",
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
    doc["paths"] = dict(sorted(doc["paths"].items()))
    return doc


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


def openapi_routes() -> list[Any]:
    """The document, its page, and the page's assets out of a package: closed networks have no CDN."""
    assets = files("swagger_ui") / "static"
    return [
        _serve_document,
        _serve_page,
        create_static_files_router(path="/docs/assets", directories=[str(assets)], include_in_schema=False),
    ]
