"""Builds the OpenAPI 3.1 document from the route table and the schemas: what is served is what is documented."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.parameters import Header, Parameter
from gateway.problems import KINDS
from gateway.routes import GUARD_PROBLEMS, RETRY_AFTER, ROUTES, WWW_AUTHENTICATE, Route
from gateway.schemas import Problem

VERSION = "1.0.0"
DESCRIPTION = """\
Wallets with exact balances. Operations on one wallet are applied one after another, each exactly once.

Money goes out as a string with two decimals and comes in as a JSON number or a plain decimal string. Every error is a
problem document (RFC 9457) whose `code` is stable."""
_SECURITY = {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key."}}
_REF = "#/components/schemas/{model}"

REQUEST_ID = Header("X-Request-ID", "The request's id.", {"type": "string", "pattern": "^.{1,128}$"}, is_required=True)


def document(*, is_key_required: bool = True) -> dict[str, Any]:
    """Return the OpenAPI document of a service that asks callers for an API key, or does not."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in ROUTES:
        paths[route.path][route.method.lower()] = _operation(route, is_key_required=is_key_required)
    models: set[type[BaseModel]] = {Problem}
    for route in ROUTES:
        models |= {answer.model for answer in route.answers} | ({route.body} if route.body else set())
    ordered = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Wallet API", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": definitions["$defs"], "securitySchemes": _SECURITY if is_key_required else {}},
        "tags": [
            {"name": "wallets", "description": "Wallets and their operations."},
            {"name": "health", "description": "For those who run the service."},
        ],
    }


def _operation(route: Route, *, is_key_required: bool) -> dict[str, Any]:
    is_guarded = is_key_required and route.scope is not None
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route, is_guarded=is_guarded),
    }
    if is_guarded:
        operation["security"] = [{"apiKey": []}]
        operation["description"] = f"{route.description} Needs the scope `{route.scope}`.".strip()
    elif route.description:
        operation["description"] = route.description
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.body:
        operation["requestBody"] = {
            "required": route.is_body_required,
            "content": {"application/json": {"schema": _ref(route.body)}},
        }
    return operation


def _responses(route: Route, *, is_guarded: bool) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(answer.status): {
            "description": answer.description,
            "headers": _headers(answer.headers),
            "content": {"application/json": {"schema": _ref(answer.model)}},
        }
        for answer in route.answers
    }
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in (*(GUARD_PROBLEMS if is_guarded else ()), *route.problems):
        by_status[KINDS[code].status].append(code)
    for status, codes in sorted(by_status.items()):
        headers = (
            (WWW_AUTHENTICATE,)
            if status == 401
            else (RETRY_AFTER,)
            if status in {429, 503}
            else route.problem_headers
            if status in {400, 422}
            else ()
        )
        responses[str(status)] = {
            "description": " ".join(f"`{code}`: {KINDS[code].title}." for code in codes),
            "headers": _headers(headers),
            "content": {"application/problem+json": {"schema": _problem(status, codes)}},
        }
    return responses


def _headers(headers: Sequence[Header]) -> dict[str, Any]:
    return {
        header.name: {"description": header.description, "required": header.is_required, "schema": header.schema}
        for header in (*headers, REQUEST_ID)
    }


def _problem(status: int, codes: Sequence[str]) -> dict[str, Any]:
    """Return what every problem is, narrowed to those of one status."""
    return {"allOf": [_ref(Problem), {"properties": {"status": {"const": status}, "code": {"enum": list(codes)}}}]}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
