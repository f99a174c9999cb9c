"""``progress``, ``interrupt`` and ``skip`` of A1111, through its real clients, unmodified."""

import base64
import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sd_backend_client.api.a1111_webservice import A1111Webservice
from sd_backend_client.api.shared_data.generation_handle import GenerationError, GenerationStatus
from sd_backend_client.api.webui.diffusion_request_body import DiffusionRequestBody
from webuiapi import WebUIApi

from api.services import Services
from shared.errors import JobCancelled
from shared.jobs.attempt import Attempt
from shared.keys import LOCAL
from tests.api.compat.fake_worker import FakeWorker
from tests.api.gunicorn_server import call
from tests.api.services import base64_of, image_file
from tests.shared.jobs.records import spec


def run_until_cancelled(services: Services, attempt: Attempt) -> None:
    """Compute steps as a worker does, which hears of a cancel when it reports one."""
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            attempt.advance(3, 4)
            attempt.preview(base64_of(image_file((8, 8))), 3)
            time.sleep(0.05)
    except JobCancelled:
        attempt.end("cancelled", None, [])


@pytest.fixture
def endless(services: Services) -> Iterator[FakeWorker]:
    """A worker whose jobs end only if they are cancelled."""
    worker = FakeWorker(services)
    worker.work = run_until_cancelled
    worker.start()
    yield worker
    for job_id in worker.jobs:
        services.jobs.cancel(job_id)
    worker.stop()


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def test_without_a_call_nothing_runs(webui: WebUIApi, backend: A1111Webservice) -> None:
    idle = webui.get_progress()
    assert (idle["progress"], idle["eta_relative"], idle["current_image"]) == (0.0, 0.0, None)
    state = backend.progress_check().state  # which rejects an answer without all of its fields
    assert (state.job_count, state.sampling_steps) == (0, 0)


def test_progress_tells_of_the_caller_s_call_with_a_preview(
    backend: A1111Webservice, endless: FakeWorker, services: Services
) -> None:
    handle = backend.submit_txt2img(DiffusionRequestBody(prompt="a cat", steps=4, width=128, height=64))
    told = until(lambda: (body := backend.progress_check()).current_image and body)
    assert told.progress == 0.75
    assert (told.state.job_count, told.state.sampling_step, told.state.sampling_steps) == (1, 3, 4)
    assert told.eta_relative >= 0
    preview = handle.poll().preview
    assert preview is not None
    assert preview.size == (128, 64)
    without = backend.get("/sdapi/v1/progress", url_params={"skip_current_image": "true"}).json()
    assert without["current_image"] is None
    assert handle.cancel()
    with pytest.raises(GenerationError) as cancelled:
        handle.wait(timeout=30)
    assert cancelled.value.status is GenerationStatus.CANCELLED
    until(lambda: services.jobs.get(endless.jobs[0]).status == "cancelled")


@pytest.mark.parametrize("verb", ["interrupt", "skip"])
def test_an_interrupted_call_is_answered_with_a_preview(
    verb: str, webui: WebUIApi, port: int, endless: FakeWorker
) -> None:
    found: list[tuple[int, Any]] = []

    def generate() -> None:
        answer, body = call(port, "POST", "/sdapi/v1/txt2img", {"prompt": "a cat"})
        found.append((answer.status, json.loads(body)))

    thread = threading.Thread(target=generate)
    thread.start()
    until(lambda: webui.get_progress()["state"]["sampling_step"])
    assert getattr(webui, verb)() == {}
    thread.join()
    [(status, told)] = found
    assert status == 200
    assert len(told["images"]) == 1
    info = json.loads(told["info"])
    assert info["warnings"] == ["the call was interrupted: its image is a preview"]
    assert len(info["all_seeds"]) == 1


def test_a_call_of_a_model_that_only_another_api_has_is_told_of(
    client: FlaskClient, services: Services
) -> None:
    gone = spec(model="gone", width=None, height=None)
    job_id, _ = services.jobs.create(gone, tenant=LOCAL)
    services.waiting_calls.renew(LOCAL, job_id)
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    attempt.advance(1, 4)
    attempt.preview(base64_of(image_file((8, 8))), 1)
    answer = client.get("/sdapi/v1/progress")
    assert answer.status_code == 200
    assert answer.json["progress"] == 0.25
    with Image.open(io.BytesIO(base64.b64decode(answer.json["current_image"]))) as image:
        assert image.size == (512, 512)


def test_a_call_that_waits_is_told_of_too(port: int, webui: WebUIApi, services: Services) -> None:
    thread = threading.Thread(target=call, args=(port, "POST", "/sdapi/v1/txt2img", {"prompt": "a cat"}))
    thread.start()
    told = until(lambda: (body := webui.get_progress())["state"]["job_count"] and body)
    assert (told["progress"], told["textinfo"]) == (0.01, "Waiting for a worker")
    assert webui.interrupt() == {}
    thread.join()
    assert webui.get_progress()["state"]["job_count"] == 0


def test_a_call_is_found_behind_any_number_of_newer_jobs(
    port: int, webui: WebUIApi, services: Services
) -> None:
    thread = threading.Thread(target=call, args=(port, "POST", "/sdapi/v1/txt2img", {"prompt": "a cat"}))
    thread.start()
    until(lambda: webui.get_progress()["state"]["job_count"])
    [waiting], _ = services.jobs.page()
    newer = {"prompt": "a dog", "prompt_syntax": "a1111"}
    others = [json.loads(call(port, "POST", "/v1/jobs", newer)[1])["id"] for _ in range(101)]
    assert webui.get_progress()["state"]["job_count"] == 1
    assert webui.interrupt() == {}
    thread.join()
    assert services.jobs.get(waiting.id).status == "cancelled"
    assert {services.jobs.get(job_id).status for job_id in others} == {"queued"}


def test_jobs_of_other_apis_are_neither_told_nor_stopped(
    webui: WebUIApi, port: int, services: Services
) -> None:
    # As the console does: prompts are read as A1111 reads them
    _, body = call(port, "POST", "/v1/jobs", {"prompt": "a cat", "prompt_syntax": "a1111"})
    assert webui.get_progress()["state"]["job_count"] == 0
    assert webui.interrupt() == {}
    assert services.jobs.get(json.loads(body)["id"]).status == "queued"


def test_a_client_that_hangs_up_has_its_job_cancelled(
    port: int, services: Services, endless: FakeWorker
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"prompt": "a cat", "steps": 4})
    connection.request("POST", "/sdapi/v1/txt2img", body, {"Content-Type": "application/json"})
    until(lambda: endless.jobs)
    connection.close()
    until(lambda: services.jobs.get(endless.jobs[0]).status == "cancelled")
