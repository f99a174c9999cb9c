"""Errors as A1111 words them: four fields, or FastAPI's list of what is wrong with which field.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/api/api.py`` (``handle_exception``); what does not
validate is answered there by FastAPI itself.
"""

import re
from collections.abc import Mapping

from flask import Response
from pydantic import BaseModel
from pydantic_core import ValidationError
from werkzeug.exceptions import HTTPException

from api.json_response import json_response
from api.middleware.errors import NAMED_CHARS, NAMED_ERRORS, explain
from api.schemas.problems import code_of, sentence
from shared.errors import SwiftError
from shared.jobs.record import Failure

#: Fields of ``POST /v1/jobs`` under the names that they have here.
PARAMS = {
    "model": "override_settings.sd_model_checkpoint",
    "clip_skip": "override_settings.CLIP_stop_at_last_layers",
    "num_images": "batch_size",
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "scheduler": "sampler_name",
    "image": "init_images",
    "mask_image": "mask",
    "strength": "denoising_strength",
    "guess_mode": "alwayson_scripts.ControlNet.args",
    "controlnets": "alwayson_scripts.ControlNet.args",
}
#: The same of a ControlNet unit.
_UNIT_PARAMS = {
    "name": "model",
    "conditioning_scale": "weight",
    "preprocessor": "module",
    "preprocessor_options": "threshold_a",
}
_UNIT = re.compile(r"(controlnets\.\d+)\.(\w+)")


class ErrorResponse(BaseModel):
    """The body of a refusal, and of a job that failed."""

    error: str
    detail: str
    body: str = ""
    errors: str


class FieldError(BaseModel):
    """What is wrong with one field, as FastAPI says it; values that were sent are not repeated."""

    type: str
    loc: list[str | int]
    msg: str


class InvalidBody(BaseModel):
    """The body of a refusal of a body that does not validate."""

    detail: list[FieldError]


def error_response(
    status: int, error: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """A refusal in A1111's shape: ``error`` is a code to match on, ``detail`` a sentence."""
    return json_response(ErrorResponse(error=error, detail=detail, errors=detail), status, headers or {})


def explain_error(error: SwiftError) -> Response:
    """One of our own errors."""
    ours = explain(error)  # logs it, and knows its headers
    headers = {name: value for name, value in ours.headers if name not in ("Content-Type", "Content-Length")}
    field, detail = param_of(getattr(error, "field", None)), str(error)
    return error_response(error.status, error.code, f"{field}: {detail}" if field else detail, headers)


def explain_invalid(error: ValidationError) -> Response:
    """A body that does not validate."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[:NAMED_ERRORS]
    detail = [
        FieldError(
            type=one["type"],
            loc=["body", *(param_of(".".join(map(str, one["loc"]))) or "").split(".")],
            msg=sentence(one["type"], one["msg"])[:NAMED_CHARS],
        )
        for one in found
    ]
    return json_response(InvalidBody(detail=detail), 422)


def explain_http(error: HTTPException) -> Response:
    """What Flask refuses: a body that is no JSON, another method."""
    status = error.code or 500
    return error_response(status, code_of(status), error.description or error.name)


def explain_failure(failure: Failure | None) -> Response:
    """How the end of a job that failed is answered."""
    if failure is None:  # its record has lost it
        return error_response(500, SwiftError.code, "the job failed")
    return error_response(500, failure.code, failure.detail)


def param_of(field: str | None) -> str | None:
    """What a field of ours is called here."""
    if not field:
        return None
    unit = _UNIT.match(field)
    if unit is not None:
        field = f"{unit[1]}.{_UNIT_PARAMS.get(unit[2], unit[2])}{field[unit.end() :]}"
    first, dot, rest = field.partition(".")
    return PARAMS.get(first, first) + dot + rest
