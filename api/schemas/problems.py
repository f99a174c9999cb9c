"""RFC 9457 problem documents: what went wrong, in which field, and whether to try again."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import BaseModel, Field

from shared.errors import Unavailable
from shared.jobs.record import JobEstimate

MIMETYPE = "application/problem+json"
#: How long clients should wait before they repeat a request that was answered 429 or 503.
RETRY_AFTER_S = 2
#: Statuses of any operation: `api.middleware` and `api.auth` refuse with them.
ANY_OPERATION = (400, 401, 403, 415, 421, 429)
#: In place of pydantic's messages that name Python's types.
_SENTENCES = {
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
#: Tags of the kinds of values that `shared.jobs.lora_scales` distinguishes.
_KINDS = {"<number>": "a number", "<list>": "a list", "<table>": "a JSON object"}
_CODES = {
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    429: "too_many_requests",
    431: "header_fields_too_large",
    503: Unavailable.code,
}


class FieldError(BaseModel):
    """One field and what is wrong with it."""

    field: str = Field(examples=["controlnets.0.image"])
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details; clients match on ``code``, people read ``detail``."""

    type: str = Field(examples=["urn:swiftdiffusion:problem:invalid_request"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str
    code: str = Field(examples=["invalid_request"])
    field: str | None = Field(None, description="the field at fault, as a dotted path")
    errors: list[FieldError] | None = Field(None, description="all fields at fault")
    checks: dict[str, str] | None = Field(
        None, description="/readyz: each server and role of workers, 'ok' or what is missing"
    )
    estimate: JobEstimate | None = Field(
        None,
        description="deadline_unreachable: when the job would be done, as an answer to a submission",
    )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    errors: list[FieldError] | None = None,
    checks: dict[str, str] | None = None,
    estimate: Mapping[str, float | None] | None = None,
) -> Response:
    """A problem document as a response; 429 and 503 say when to come back."""
    body = Problem(
        type=f"urn:swiftdiffusion:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_encodable(detail),
        code=code,
        field=None if field is None else _encodable(field),
        errors=errors
        and [FieldError(field=_encodable(e.field), detail=_encodable(e.detail)) for e in errors],
        checks=checks and {name: _encodable(outcome) for name, outcome in checks.items()},
        estimate=estimate and JobEstimate.model_validate(estimate),
    )
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    return Response(body.model_dump_json(exclude_none=True), status, headers, mimetype=MIMETYPE)


def raw_problem(status: int, detail: str) -> bytes:
    """A problem document as a whole HTTP response, for requests that never reach the application."""
    response = problem(status, code_of(status), detail)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in response.headers)])
    return head.encode("latin-1") + b"\r\n\r\n" + response.get_data()


def code_of(status: int) -> str:
    """The ``code`` of a problem of which only the status is known."""
    return _CODES.get(status, HTTPStatus(status).name.lower().replace("request_entity_", ""))


def error_responses(*statuses: int) -> dict[int | str, Any]:
    """The problem responses of an operation, for the OpenAPI document."""
    content = {MIMETYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    known: dict[int | str, Any] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*ANY_OPERATION, *statuses})
    }
    return known | {"default": {"description": "Any other problem", "content": content}}


def field_of(steps: Sequence[int | str]) -> str:
    """The field at the end of pydantic's ``steps``, without its tags for kinds of values and for keys."""
    return ".".join(str(step) for step in steps if not str(step).startswith(("<", "[key]")))


def sentence(kind: str, message: str) -> str:
    """pydantic's ``message`` for an error of this kind, as clients read it."""
    if kind == "union_tag_invalid":
        return f"must be {' or '.join(word for tag, word in _KINDS.items() if tag in message.split(':')[1])}"
    if kind == "extra_forbidden":
        return "unknown field"
    return _SENTENCES.get(kind, message.removeprefix("Value error, "))


def _encodable(text: str) -> str:
    """``text`` with half surrogate pairs, which no encoding knows, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
