"""Describe the API as OpenAPI 3.1 does, from the table of its resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import monagent
from monagent.server.api.question import Parameter

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "what is wrong, and what would do"},
        "parameter": {"type": "string", "description": "which parameter is to blame"},
    },
}
_STATUSES = {
    "304": "what `If-None-Match` names is current",
    "400": "a parameter is wrong",
    "401": "no token was given",
    "403": "the token is not known",
    "404": "it is not there",
    "429": "too many wrong tokens from this address",
    "503": "the database is away, or busy: try again after `Retry-After`",
}


class Described(Protocol):
    """What is told of a resource."""

    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def find(self) -> Any: ...
    @property
    def parameters(self) -> tuple[Parameter, ...]: ...
    @property
    def places(self) -> tuple[Parameter, ...]: ...


def described(resources: Iterable[Described]) -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "monagent server", "version": monagent.__version__, "description": "Read-only."},
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
        "paths": {f"/{'/'.join(one.path)}": {"get": _operation(one)} for one in resources},
    }


def _operation(resource: Described) -> dict[str, Any]:
    return {
        "summary": " ".join(str(resource.find.__doc__).split()),
        "parameters": [*_parameters(resource.places, "path"), *_parameters(resource.parameters, "query")],
        "responses": {
            "200": {
                "description": "what was asked for",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **{status: _response(status, text) for status, text in _STATUSES.items()},
        },
    }


def _parameters(parameters: Sequence[Parameter], where: str) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": where, "required": one.required, "description": one.help, "schema": dict(one.schema)}
        for one in parameters
    ]


def _response(status: str, text: str) -> dict[str, Any]:
    if status == "304":
        return {"description": text}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": text, "content": content}
