"""OpenAI's images API (https://platform.openai.com/docs/api-reference/images): jobs in that API's words.

No part of the OpenAPI document: clients bring their own.
"""

from collections.abc import Callable

from flask import Blueprint, Response, request
from pydantic import ValidationError

from api.compat.openai.errors import SHOULD_RETRY, ErrorResponse, explain_failure, note_job
from api.compat.openai.fields import AcceptedCall, ImageCall, translate
from api.compat.openai.form import read_edit
from api.compat.openai.models import ModelNames
from api.compat.openai.responses import images_response
from api.compat.openai.streaming import ImageStream, Kind
from api.compat.waiting import CLIENT_CLOSED_REQUEST, WaitingCall
from api.json_response import json_response
from api.middleware.errors import explain_validation
from api.routes.json_body import read_json_object
from api.services import Services
from shared.errors import ClientDisconnected, NotFound


def openai_api(services: Services) -> Blueprint:
    """The routes of images; `/v1/models` serves both APIs. Raises `InvalidSetting`."""
    api = Blueprint("openai", __name__)
    names = ModelNames(services.catalog, services.settings.openai_models)
    api.register_error_handler(ValidationError, explain_validation)

    @api.post("/v1/images/generations")
    def generate_images() -> Response:
        return _answer("image_generation", lambda: translate(read_json_object(), {}, names), services)

    @api.post("/v1/images/edits")
    def edit_image() -> Response:
        return _answer("image_edit", lambda: translate(*read_edit(request, services), names), services)

    @api.post("/v1/images/variations")
    def vary_image() -> Response:
        raise NotFound("variations are not supported: edit the image instead")

    return api


def _answer(kind: Kind, read_call: Callable[[], ImageCall], services: Services) -> Response:
    waiting = WaitingCall(services, request.environ)
    try:
        call = _submit(read_call, waiting)
        if call.options.stream:
            return _stream(ImageStream(kind, call, waiting, services), waiting)
        return _wait(call, waiting, services)
    except BaseException:
        waiting.close()
        raise


def _submit(read_call: Callable[[], ImageCall], waiting: WaitingCall) -> AcceptedCall:
    """Have the job accepted; what is left of the call may wait for long, and has nothing of its body."""
    call = read_call()
    job = waiting.submit(call.submission, request.headers.get("Idempotency-Key", ""))
    note_job(job.id)
    return AcceptedCall(call.options, call.warnings, job.spec)


def _wait(call: AcceptedCall, waiting: WaitingCall, services: Services) -> Response:
    try:
        with waiting:
            for _ in waiting.events(with_previews=False):
                pass
            job = waiting.read()
    except ClientDisconnected:  # nobody reads an answer; what is raised further would be logged as an error
        return Response(status=CLIENT_CLOSED_REQUEST)
    if job.status != "succeeded":
        status, detail = explain_failure(job.error, job.status)
        return json_response(ErrorResponse(error=detail), status, {SHOULD_RETRY: "false"})
    return images_response(job, call.options, services.images, call.warnings)


def _stream(stream: ImageStream, waiting: WaitingCall) -> Response:
    response = Response(stream.blocks(), mimetype="text/event-stream")
    response.call_on_close(waiting.close)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response
