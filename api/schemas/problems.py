"""Every error as an RFC 9457 problem document: what went wrong, in which field, and whether to try again."""

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import redis
from flask import Flask, Response, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException

from shared.errors import InvalidRequest, SwiftError, Unavailable

log = logging.getLogger(__name__)

MIMETYPE = "application/problem+json"
#: Fields at fault that one answer names, and characters of each: a request may have a million.
NAMED_ERRORS, NAMED_CHARS = 50, 500
#: Suggested wait before a request that met a restart is tried again.
RETRY_AFTER_S = 2
#: What may answer any operation: see `hosts` and `bodies`.
ANY_OPERATION = (400, 403, 415, 421)
#: Redis is away, or cannot take writes right now.
_REDIS_AWAY = (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError, redis.ReadOnlyError)
#: A Redis that takes no writes for now, its disk full or its replicas away, says so; alone or in a pipeline.
_REFUSES_WRITES = re.compile(r"(?:^|caused error: )(?:MISCONF|NOREPLICAS)\b")
#: What pydantic says with the names of our classes and functions, in JSON's words.
_SENTENCES = {
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
#: Kinds of values that `shared.jobs.lora_scales` tells apart.
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


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    errors: list[FieldError] | None = None,
    checks: dict[str, str] | None = None,
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
    )
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    return Response(body.model_dump_json(exclude_none=True), status, headers, mimetype=MIMETYPE)


def raw_problem(status: int, detail: str) -> bytes:
    """A problem document as a whole HTTP response, for what the application never gets to see."""
    answer = problem(status, code_of(status), detail)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in answer.headers)])
    return head.encode("latin-1") + b"\r\n\r\n" + answer.get_data()


def code_of(status: int) -> str:
    """What clients match on, where only the status says what is wrong."""
    return _CODES.get(status, HTTPStatus(status).name.lower().replace("request_entity_", ""))


def refusals(*statuses: int) -> dict[int | str, Any]:
    """The problem responses of an operation, for the OpenAPI document."""
    content = {MIMETYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    known: dict[int | str, Any] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*ANY_OPERATION, *statuses})
    }
    return known | {"default": {"description": "Any other problem", "content": content}}


def explain_validation(error: ValidationError) -> Response:
    """pydantic's errors, each with its field; what was sent is not repeated."""
    errors = [
        FieldError(field=field_of(one["loc"])[:NAMED_CHARS], detail=sentence(one["type"], one["msg"]))
        for one in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    del errors[NAMED_ERRORS:]
    first = errors[0]
    detail = f"{first.field}: {first.detail}" if first.field else first.detail
    return problem(422, InvalidRequest.code, detail, field=first.field, errors=errors)


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


def register(app: Flask) -> None:
    """Have ``app`` explain every error as a problem."""
    app.register_error_handler(SwiftError, _explain_ours)
    app.register_error_handler(HTTPException, _explain_http)
    for away in _REDIS_AWAY:
        app.register_error_handler(away, _explain_redis)
    app.register_error_handler(redis.ResponseError, _explain_redis_refusal)
    app.register_error_handler(Exception, _explain_bug)


def _encodable(text: str) -> str:
    """``text`` with half surrogate pairs, which no encoding knows, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _explain_ours(error: SwiftError) -> Response:
    if error.status >= 500:
        log.warning("request failed route=%s code=%s detail=%s", request.path, error.code, error)
    field = getattr(error, "field", None)
    errors = None if field is None else [FieldError(field=field, detail=str(error))]
    return problem(error.status, error.code, str(error), field=field, errors=errors)


def _explain_http(error: HTTPException) -> Response | HTTPException:
    given = error.get_response()
    if error.response is not None or given.status_code < 400:
        return error  # a redirect, or a response that is complete already
    status = HTTPStatus(given.status_code)
    answer = problem(status, code_of(status), error.description or status.phrase)
    for name, value in given.headers:
        if name not in ("Content-Type", "Content-Length"):
            answer.headers[name] = value
    return answer


def _explain_redis(error: redis.RedisError) -> Response:
    log.warning("redis away route=%s error=%s", request.path, type(error).__name__)
    return _explain_ours(Unavailable("Redis does not answer right now"))


def _explain_redis_refusal(error: redis.ResponseError) -> Response:
    """A full disk of the control Redis passes by; whatever else it refuses is a bug of ours."""
    if _REFUSES_WRITES.search(str(error)):
        return _explain_redis(error)
    return _explain_bug(error)


def _explain_bug(error: Exception) -> Response:
    log.error("unexpected error method=%s route=%s", request.method, request.path, exc_info=error)
    return problem(500, SwiftError.code, "an unexpected error; the API's log tells more")
