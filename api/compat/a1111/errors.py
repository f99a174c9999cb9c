"""Errors as A1111 words them: four fields, or FastAPI's list of what is wrong with which field.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/api/api.py`` (``handle_exception``); what does not
validate is answered there by FastAPI itself. Whatever part of the app refuses a request under these paths
answers a problem document, which is put into this shape.
"""

import re
from collections.abc import Sequence

from flask import Response, g
from pydantic import BaseModel
from pydantic_core import ValidationError

from api.compat.problems import problem_of, renamed
from api.json_response import json_response
from api.middleware.errors import NAMED_CHARS, NAMED_ERRORS
from api.schemas.problems import sentence
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
    "control_mode": "union_control_type",
}
_PATHS = ("/sdapi/", "/controlnet/", "/internal/ping")
_UNIT = re.compile(r"controlnets\.(\d+)(?:\.(\w+))?")


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


def note_units(places: Sequence[int]) -> None:
    """The ControlNets of the present request's job are the units at these places of its list."""
    g.a1111_units = places


def reshape(response: Response, path: str, *, units: Sequence[int] = ()) -> Response:
    """A response of ``path`` as A1111's clients read it: a problem is put into their shape.

    ``units``: the places of the ControlNets' units, see `note_units`.
    """
    if not path.startswith(_PATHS) or (problem := problem_of(response)) is None:
        return response
    field, detail = param_of(problem.get("field"), units), problem["detail"]
    detail = f"{field}: {detail}" if field else detail
    body = ErrorResponse(error=problem["code"], detail=detail, errors=detail)
    response.set_data(body.model_dump_json())
    response.mimetype = "application/json"
    return response


def explain_invalid(error: ValidationError) -> Response:
    """A body that does not validate."""
    units: Sequence[int] = g.get("a1111_units", ())
    found = error.errors(include_url=False, include_input=False, include_context=False)[:NAMED_ERRORS]
    detail = [
        FieldError(
            type=one["type"],
            loc=["body", *(param_of(".".join(map(str, one["loc"])), units) or "").split(".")],
            msg=sentence(one["type"], one["msg"])[:NAMED_CHARS],
        )
        for one in found
    ]
    return json_response(InvalidBody(detail=detail), 422)


def explain_failure(failure: Failure | None) -> Response:
    """How the end of a job that failed is answered."""
    failure = failure or Failure(code=SwiftError.code, detail="the job failed")  # its record has lost it
    body = ErrorResponse(error=failure.code, detail=failure.detail, errors=failure.detail)
    return json_response(body, 500)


def param_of(field: str | None, units: Sequence[int] = ()) -> str | None:
    """What a field of ours is called here; ``units`` as in `reshape`: a job has no disabled ones."""
    if not field:
        return None
    unit = _UNIT.match(field)
    if unit is not None:
        n = int(unit[1])
        place = units[n] if n < len(units) else n
        name = f".{_UNIT_PARAMS.get(unit[2], unit[2])}" if unit[2] else ""
        field = f"controlnets.{place}{name}{field[unit.end() :]}"
    return renamed(field, PARAMS)
