"""Errors as OpenAI's API words them: its clients show them, and decide by them whether to try again.

Whatever part of the app refuses a request, it answers a problem document; under OpenAI's paths that is
put into this shape.
"""

import json

from flask import Response, g
from pydantic import BaseModel

from api.compat.problems import problem_of, renamed
from shared.errors import Unavailable
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
#: Paths of OpenAI's API alone, and those that serve ours, too: there the error is a member of the problem.
_PATHS, _SHARED_PATHS = ("/v1/images/",), ("/v1/models/", "/v1/models")
#: Says whether the official clients repeat a call; else they repeat 408, 409, 429 and all above 499.
SHOULD_RETRY = "x-should-retry"
#: Clients that are told to wait for longer do not try again.
LONGEST_RETRY_AFTER_S = 120
#: What the official clients show as ``request_id``: here a job's id.
REQUEST_ID = "x-request-id"


class ErrorDetail(BaseModel):
    """What is wrong: in words, of which kind, with which field."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail


def note_job(job_id: str) -> None:
    """The present request has had this job accepted: no client is to repeat it unasked."""
    g.openai_job = job_id


def reshape(response: Response, path: str, *, job_id: str | None = None) -> Response:
    """A response of ``path`` as OpenAI's clients read it: a problem is put into their shape.

    ``job_id``: the job that was accepted before, which a repeated call would have generated once more.
    """
    is_shared = path.startswith(_SHARED_PATHS)
    if not is_shared and not path.startswith(_PATHS):
        return response
    if job_id is not None:
        response.headers[REQUEST_ID] = job_id
    problem = problem_of(response)
    if problem is None:
        return response
    status = 400 if response.status_code == 422 else response.status_code
    detail = detail_of(status, problem["detail"], problem["code"], param=param_of(problem.get("field")))
    body = ErrorResponse(error=detail).model_dump()
    if is_shared:
        response.set_data(json.dumps(problem | body))
    else:
        response.status_code = status
        response.set_data(json.dumps(body))
        response.mimetype = "application/json"
    _advise(response, problem["code"], is_repeatable=job_id is None)
    return response


def _advise(response: Response, code: str, *, is_repeatable: bool) -> None:
    """Say whether, and after how long, the call is worth repeating."""
    wait_s = int(response.headers.get("Retry-After", 0))
    if wait_s > LONGEST_RETRY_AFTER_S:  # of a day's budget: to be told so is better than to wait
        response.headers["Retry-After"] = str(LONGEST_RETRY_AFTER_S)
        is_repeatable = False
    is_for_now = response.status_code in (408, 429) or code == Unavailable.code
    if not (is_repeatable and is_for_now):
        response.headers[SHOULD_RETRY] = "false"


def detail_of(status: int, message: str, code: str, *, param: str | None = None) -> ErrorDetail:
    """The words of a refusal with this status."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return ErrorDetail(message=message, type=kind, param=param, code=code)


def explain_failure(failure: Failure | None, status: str) -> tuple[int, ErrorDetail]:
    """How the end of a job without images is answered: nobody is to run it again unasked."""
    if failure is None:
        return 409, detail_of(409, f"the job was {status}", status)
    return 500, detail_of(500, failure.detail, failure.code)


def param_of(field: str | None) -> str | None:
    """What a field of ours is called here."""
    return renamed(field, PARAMS) if field else None
