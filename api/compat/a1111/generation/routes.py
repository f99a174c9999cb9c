"""``txt2img`` and ``img2img``: a job is submitted, waited for, and answered with its images."""

from typing import Any

from flask import Blueprint, Response, request

from api.compat.a1111.errors import explain_failure
from api.compat.a1111.generation.info import generation_response
from api.compat.a1111.generation.translate import GenerationCall, translate_img2img, translate_txt2img
from api.compat.a1111.options import sticky_options
from api.compat.waiting import CLIENT_CLOSED_REQUEST, IMAGE_HEADERS, WaitingCall
from api.json_response import json_response
from api.routes.json_body import require_json_object
from api.services import Services
from shared.errors import ClientDisconnected


def add_generation_routes(api: Blueprint, services: Services) -> None:
    """Add both calls to ``api``."""

    @api.post("/sdapi/v1/txt2img")
    def txt2img() -> Response:
        body = _body()
        return _answer(body, translate_txt2img(body, sticky_options(services), services), services)

    @api.post("/sdapi/v1/img2img")
    def img2img() -> Response:
        body = _body()
        return _answer(body, translate_img2img(body, sticky_options(services), services), services)


def _body() -> dict[str, Any]:
    require_json_object()
    body: dict[str, Any] = request.get_json()
    return body


def _answer(body: dict[str, Any], call: GenerationCall, services: Services) -> Response:
    try:
        with WaitingCall(services, request.environ) as waiting:
            waiting.submit(call.submission, request.headers.get("Idempotency-Key", ""))
            for _ in waiting.events():
                pass
            job = waiting.read()
    except ClientDisconnected:  # nobody reads an answer; what is raised further would be logged as an error
        return Response(status=CLIENT_CLOSED_REQUEST)
    if job.status == "failed":
        return explain_failure(job.error)
    return json_response(generation_response(job, body, call, services), headers=IMAGE_HEADERS)
