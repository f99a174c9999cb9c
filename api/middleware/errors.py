"""Turns every exception of a request into a problem document."""

import logging
import re
from http import HTTPStatus

import redis
from flask import Flask, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from api.schemas.problems import FieldError, code_of, field_of, problem, sentence
from shared.errors import (
    InvalidRequest,
    KeyMissing,
    ScopeMissing,
    SwiftError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)

log = logging.getLogger(__name__)

#: Fields at fault that one response names, and characters of each: a request may have a million.
NAMED_ERRORS, NAMED_CHARS = 50, 500
_BUG = "an unexpected error; see the log of the API"
#: Redis does not answer, or accepts no writes right now.
_REDIS_AWAY = (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError, redis.ReadOnlyError)
#: The errors of a Redis whose disk is full or whose replicas are away, alone or in a pipeline.
_REFUSES_WRITES = re.compile(r"(?:^|caused error: )(?:MISCONF|NOREPLICAS)\b")


def register(app: Flask) -> None:
    """Register the handlers of all errors."""
    app.register_error_handler(SwiftError, explain)
    app.register_error_handler(HTTPException, _explain_http)
    for away in _REDIS_AWAY:
        app.register_error_handler(away, _explain_redis)
    app.register_error_handler(redis.ResponseError, _explain_redis_refusal)
    app.register_error_handler(Exception, _explain_bug)


def explain_validation(error: ValidationError) -> Response:
    """The problem of a body that does not validate; values that were sent are not repeated."""
    errors = [
        FieldError(field=field_of(one["loc"])[:NAMED_CHARS], detail=sentence(one["type"], one["msg"]))
        for one in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    del errors[NAMED_ERRORS:]
    first = errors[0]
    detail = f"{first.field}: {first.detail}" if first.field else first.detail
    return problem(422, InvalidRequest.code, detail, field=first.field, errors=errors)


def explain(error: SwiftError) -> Response:
    """The problem that one of our own errors is; below 500 also outside of a request."""
    if error.status >= 500:
        fields = {"path": request.path, "code": error.code, "detail": str(error)}
        log.warning("request failed", extra=fields)
    field = getattr(error, "field", None)
    errors = None if field is None else [FieldError(field=field, detail=str(error))]
    estimate = getattr(error, "estimate", None)
    response = problem(error.status, error.code, str(error), field=field, errors=errors, estimate=estimate)
    response.headers.update(_headers_of(error))
    return response


def swift_error_of(error: Exception, path: str) -> SwiftError:
    """What a client is told where no handler answers, as within a stream that has begun; logs other errors
    than our own. Works outside of a request.
    """
    if isinstance(error, SwiftError):
        return error
    if isinstance(error, _REDIS_AWAY) or _is_refusal(error):
        return _redis_away(error, path)
    log.error("unexpected error", extra={"path": path}, exc_info=error)
    return SwiftError(_BUG)


def _headers_of(error: SwiftError) -> dict[str, str]:
    """How to authenticate (RFC 6750), or which limit was met, and when to come back."""
    if isinstance(error, Unauthorized):
        challenge = 'Bearer realm="swiftdiffusion"'
        known = (
            "" if isinstance(error, KeyMissing) else f', error="invalid_token", error_description="{error}"'
        )
        return {"WWW-Authenticate": challenge + known}
    if isinstance(error, ScopeMissing):
        return {"WWW-Authenticate": 'Bearer realm="swiftdiffusion", error="insufficient_scope"'}
    if isinstance(error, TooManyRequests):
        # draft-ietf-httpapi-ratelimit-headers: q in w seconds, r left, t seconds to wait.
        window = f";w={error.window_s}" if error.window_s else ""
        return {
            "Retry-After": str(error.retry_after_s),
            "RateLimit-Policy": f'"{error.policy}";q={error.limit}{window}',
            "RateLimit": f'"{error.policy}";r={error.remaining};t={error.retry_after_s}',
        }
    return {}


def _explain_http(error: HTTPException) -> Response | HTTPException:
    given = error.get_response()
    if error.response is not None or given.status_code < 400:
        return error  # a redirect, or a response that is complete already
    status = HTTPStatus(given.status_code)
    response = problem(status, code_of(status), error.description or status.phrase)
    for name, value in given.headers:
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _explain_redis(error: redis.RedisError) -> Response:
    return explain(_redis_away(error, request.path))


def _redis_away(error: Exception, path: str) -> Unavailable:
    log.warning("Redis does not answer", extra={"path": path, "error": type(error).__name__})
    return Unavailable("Redis does not answer right now")


def _explain_redis_refusal(error: redis.ResponseError) -> Response:
    """A full disk is temporary; any other error that Redis replies with is a bug here."""
    return _explain_redis(error) if _is_refusal(error) else _explain_bug(error)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, redis.ResponseError) and bool(_REFUSES_WRITES.search(str(error)))


def _explain_bug(error: Exception) -> Response:
    fields = {"method": request.method, "path": request.path}
    log.error("unexpected error", extra=fields, exc_info=error)
    return problem(500, SwiftError.code, _BUG)
