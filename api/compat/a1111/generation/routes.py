"""``txt2img`` and ``img2img``: a job is submitted, waited for, and answered with its images."""

from collections.abc import Callable

from flask import Blueprint, Response, request

from api.compat.a1111.errors import explain_failure
from api.compat.a1111.generation.accepted_call import AcceptedCall, accepted_call
from api.compat.a1111.generation.info import generation_response
from api.compat.a1111.generation.translate import GenerationCall, translate_img2img, translate_txt2img
from api.compat.a1111.options import sticky_options
from api.compat.waiting import CLIENT_CLOSED_REQUEST, WaitingCall
from api.routes.json_body import read_json_object
from api.services import Services
from shared.errors import ClientDisconnected


def add_generation_routes(api: Blueprint, services: Services) -> None:
    """Add both calls to ``api``."""

    @api.post("/sdapi/v1/txt2img")
    def txt2img() -> Response:
        def read_call() -> GenerationCall:
            return translate_txt2img(read_json_object(), sticky_options(services), services)

        return _answer(read_call, services)

    @api.post("/sdapi/v1/img2img")
    def img2img() -> Response:
        def read_call() -> GenerationCall:
            return translate_img2img(read_json_object(), sticky_options(services), services)

        return _answer(read_call, services)


def _answer(read_call: Callable[[], GenerationCall], services: Services) -> Response:
    try:
        with WaitingCall(services, request.environ, is_listed=True) as waiting:  # before anything is decoded
            call = _submit(read_call, waiting)
            for _ in waiting.events():
                pass
            job = waiting.read()
    except ClientDisconnected:  # nobody reads an answer; what is raised further would be logged as an error
        return Response(status=CLIENT_CLOSED_REQUEST)
    if job.status == "failed":
        return explain_failure(job.error)
    return generation_response(job, call, services)


def _submit(read_call: Callable[[], GenerationCall], waiting: WaitingCall) -> AcceptedCall:
    """Have the job accepted; what is left of the call may wait for long, and has only what it needs."""
    call = read_call()
    accepted = accepted_call(call)
    key = request.headers.get("Idempotency-Key", "")
    waiting.submit(call.submission, key, keeps_body=accepted.keeps_body)
    return accepted
