"""OpenAI's images API (https://platform.openai.com/docs/api-reference/images): jobs in that API's words.

No part of the OpenAPI document: clients bring their own.
"""

from typing import Any

from flask import Blueprint, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from api.compat.openai.errors import (
    ErrorResponse,
    error_response,
    explain_error,
    explain_failure,
    explain_http,
    explain_invalid,
)
from api.compat.openai.fields import ImageCall, translate
from api.compat.openai.form import read_edit
from api.compat.openai.models import ModelNames
from api.compat.openai.responses import images_response
from api.compat.openai.streaming import ImageStream, Kind
from api.compat.waiting import WaitingCall
from api.json_response import json_response
from api.routes.json_body import require_json_object
from api.services import Services
from shared.errors import ClientDisconnected, SwiftError

#: nginx' status of calls whose client has hung up; it is in the access log alone.
CLIENT_CLOSED_REQUEST = 499


def openai_api(services: Services) -> Blueprint:
    """The routes of images; `/v1/models` serves both APIs."""
    api = Blueprint("openai", __name__)
    names = ModelNames(services.catalog, services.settings.openai_models)
    api.register_error_handler(SwiftError, explain_error)
    api.register_error_handler(ValidationError, explain_invalid)
    api.register_error_handler(HTTPException, explain_http)

    @api.post("/v1/images/generations")
    def generate_images() -> Response:
        require_json_object()
        fields: dict[str, Any] = request.get_json()
        return _answer("image_generation", translate(fields, {}, names), services)

    @api.post("/v1/images/edits")
    def edit_image() -> Response:
        fields, images = read_edit(request, services)
        return _answer("image_edit", translate(fields, images, names), services)

    @api.post("/v1/images/variations")
    def vary_image() -> Response:
        return error_response(404, "variations are not supported: edit the image instead", "not_found")

    return api


def _answer(kind: Kind, call: ImageCall, services: Services) -> Response:
    if call.options.stream:
        return _stream(kind, call, services)
    try:
        with WaitingCall(services, request.environ) as waiting:
            waiting.submit(call.submission, request.headers.get("Idempotency-Key", ""))
            for _ in waiting.events():
                pass
            job = waiting.read()
    except ClientDisconnected:  # nobody reads an answer; what is raised further would be logged as an error
        return Response(status=CLIENT_CLOSED_REQUEST)
    if job.status != "succeeded":
        status, detail = explain_failure(job.error, job.status)
        return json_response(ErrorResponse(error=detail), status, {"x-should-retry": "false"})
    return json_response(images_response(job, call.options, services.images, call.warnings))


def _stream(kind: Kind, call: ImageCall, services: Services) -> Response:
    waiting = WaitingCall(services, request.environ)
    try:
        job = waiting.submit(call.submission, request.headers.get("Idempotency-Key", ""))
        stream = ImageStream(kind, call, waiting, services, job.spec)
    except BaseException:
        waiting.close()
        raise
    response = Response(stream.blocks(), mimetype="text/event-stream")
    response.call_on_close(waiting.close)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response
