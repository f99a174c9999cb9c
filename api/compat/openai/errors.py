"""Errors as OpenAI's API words them: its clients show them, and decide by them whether to try again."""

from collections.abc import Mapping

from flask import Response
from pydantic import BaseModel
from pydantic_core import ValidationError
from werkzeug.exceptions import HTTPException

from api.middleware.errors import explain, explain_validation
from api.schemas.problems import code_of
from shared.errors import InvalidRequest, SwiftError
from shared.jobs.record import Failure

#: Fields of ``POST /v1/jobs`` under the names that they have here.
PARAMS = {
    "num_images": "n",
    "width": "size",
    "height": "size",
    "output_quality": "output_compression",
    "mask_image": "mask",
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
#: Says whether the official clients repeat a call; else they repeat 408, 409, 429 and all above 499.
SHOULD_RETRY = "x-should-retry"
_WORTH_RETRYING = (408, 429)


class ErrorDetail(BaseModel):
    """What is wrong: in words, of which kind, with which field."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail


def error_response(
    status: int,
    message: str,
    code: str,
    *,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    is_retryable: bool = False,
) -> Response:
    """A refusal in OpenAI's shape."""
    body = ErrorResponse(error=detail_of(status, message, code, param=param))
    response = Response(body.model_dump_json(), status, dict(headers or {}), mimetype="application/json")
    if not is_retryable and status not in _WORTH_RETRYING:
        response.headers[SHOULD_RETRY] = "false"
    return response


def detail_of(status: int, message: str, code: str, *, param: str | None = None) -> ErrorDetail:
    """The words of a refusal with this status."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return ErrorDetail(message=message, type=kind, param=param, code=code)


def explain_error(error: SwiftError) -> Response:
    """One of our own errors; a request that is not valid is 400 here, and 422 elsewhere."""
    ours = explain(error)  # logs it, and knows its headers
    status = 400 if isinstance(error, InvalidRequest) and error.status == 422 else error.status
    field = getattr(error, "field", None)
    headers = {name: value for name, value in ours.headers if name not in ("Content-Type", "Content-Length")}
    return error_response(
        status, str(error), error.code, param=param_of(field), headers=headers, is_retryable=error.retryable
    )


def explain_invalid(error: ValidationError) -> Response:
    """A body that does not validate."""
    ours = explain_validation(error).get_json()
    return error_response(400, ours["detail"], ours["code"], param=param_of(ours.get("field")))


def explain_http(error: HTTPException) -> Response:
    """What Flask refuses: a body that is no JSON, another method."""
    status = error.code or 500
    return error_response(status, error.description or error.name, code_of(status))


def explain_failure(failure: Failure | None, status: str) -> tuple[int, ErrorDetail]:
    """How the end of a job without images is answered: nobody is to run it again unasked."""
    if failure is None:
        return 409, detail_of(409, f"the job was {status}", status)
    return 500, detail_of(500, failure.detail, failure.code)


def param_of(field: str | None) -> str | None:
    """What a field of ours is called here."""
    if not field:
        return None
    first, dot, rest = field.partition(".")
    return PARAMS.get(first, first) + dot + rest
