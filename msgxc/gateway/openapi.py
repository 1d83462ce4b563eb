"""The description of the API (OpenAPI 3.1), and a page that shows it without any script or other server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import RedirectResponse

from msgxc.gateway.access import ACCESS
from msgxc.gateway.paper import page
from msgxc.gateway.problems import MEDIA_TYPE

router = APIRouter(include_in_schema=False)
ABOUT = (
    "REST of the msgxc exchange. JSON in, JSON out; errors are `application/problem+json` (RFC 9457) with a "
    "stable `code`. Calls with a login take `Authorization: Bearer <JSON Web Token>`. Sends take "
    "`Idempotency-Key`."
)
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable: programs may decide by it."},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21\\x23-\\x7e]+$"},
    "description": "The same key within 24 hours gets the first answer; with another body 422.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document; made once."""
    if app.openapi_schema is None:
        found = get_openapi(title="msgxc", version="2", description=ABOUT, routes=app.routes)
        parts = found.setdefault("components", {})
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        parts.setdefault("schemas", {})["Problem"] = PROBLEM
        for path, method, operation in operations(found):
            _complete(path, method, operation)
        app.openapi_schema = found
    return app.openapi_schema


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, METHOD, operation) of each."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    needed = ACCESS.get((method, path)) or ACCESS.get((method, path.replace("{path}", "{path:path}")))
    if needed:
        operation["security"] = [{"token": []}]
        operation["description"] += f"\n\nRoles: {', '.join(sorted(needed))}."
    body = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {"description": "A problem.", "content": body}
    if method == "POST" and path.removesuffix("/bulk") in SENDS:
        operation.setdefault("parameters", []).append(IDEMPOTENCY)


SENDS = {f"/api/v2/{name}" for name in ("publish", "send", "multicast", "broadcast")}


@router.get("/")
async def top() -> Response:
    """For whoever opens the gateway's own address; from wherever a proxy has put it."""
    return RedirectResponse("docs")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API as a page."""
    document = describe(request.app)
    base = request.app.state.exchange.settings.public_url.rstrip("/")
    shown = [
        {
            "path": path,
            "method": method,
            "about": operation.get("description", ""),
            "open": "security" not in operation,
            "parameters": operation.get("parameters", []),
            "fields": list(_fields(document, operation)),
            "curl": _curl(document, path, method, operation, base),
        }
        for path, method, operation in operations(document)
    ]
    return page("docs.html", operations=shown, about=ABOUT)


def _schemas(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The forms that a body may have."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    for one in schema.get("oneOf", [schema]):
        name = one.get("$ref", "").rpartition("/")[2]
        yield document["components"]["schemas"].get(name, one)


def _fields(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[dict[str, object]]:
    for schema in _schemas(document, operation):
        for name, field in schema.get("properties", {}).items():
            yield {
                "name": name,
                "type": field.get("type") or field.get("format") or _either(field),
                "needed": name in schema.get("required", ()),
                "about": field.get("description", ""),
            }


def _either(field: dict[str, Any]) -> str:
    kinds = [str(one.get("type") or one.get("$ref", "").rpartition("/")[2]) for one in field.get("anyOf", [])]
    return " or ".join(kinds) or field.get("$ref", "").rpartition("/")[2]


def _curl(document: dict[str, Any], path: str, method: str, operation: dict[str, Any], base: str) -> str:
    words = [f"curl -sS {base}{path}"]
    if "security" in operation:
        words.append('-H "Authorization: Bearer $TOKEN"')
    if method == "POST" and "requestBody" in operation:
        needed = next(iter(_schemas(document, operation)), {}).get("required", [])
        words.append(f"--json '{json.dumps(dict.fromkeys(needed, '…'), ensure_ascii=False)}'")
    elif method == "POST":
        words.append("-X POST")
    return " \\\n  ".join(words)
