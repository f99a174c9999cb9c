"""What a generation call keeps while it waits for its job."""

import gc
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.app import create_app
from api.compat.a1111.generation.fields import Img2ImgFields
from api.schemas.submission import Submission
from api.services import Services
from shared.jobs.attempt import Attempt
from tests.api.compat.fake_worker import FakeWorker, generate
from tests.api.services import base64_of

SIZE = {"width": 64, "height": 64}


def noise(side: int) -> str:
    """An image in base64 that cannot be compressed."""
    file = io.BytesIO()
    pixels = np.random.default_rng(7).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return base64_of(file.getvalue())


NOISE, LARGE = noise(64), noise(256)
UNIT = {"model": "edge", "image": NOISE}
CALLS: dict[str, dict[str, Any]] = {
    "txt2img": {"alwayson_scripts": {"ControlNet": {"args": [UNIT]}}},
    "img2img": {"init_images": [NOISE]},
}
#: The fields of an ``img2img`` call, without images.
KEPT = {"txt2img": 0, "img2img": 1}


def until(is_so: Callable[[], bool]) -> None:
    """Ask for half a minute."""
    deadline = time.monotonic() + 30
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.05)


def large_objects() -> int:
    """Objects of the process that hold requests or images."""
    gc.collect()
    return sum(isinstance(one, Submission | Img2ImgFields | Image.Image) for one in gc.get_objects())


def client_with(services: Services, *, body_bytes: int) -> FlaskClient:
    settings = services.settings.model_copy(update={"api_body_bytes": body_bytes})
    return create_app(replace(services, settings=settings)).test_client()


def answer_of(
    client: FlaskClient, services: Services, verb: str, body: dict[str, Any], look: Callable[[], int]
) -> tuple[int, Any]:
    """What ``look`` returns while the call waits for its job, and the call's answer."""
    seen: list[int] = []

    def work(services: Services, attempt: Attempt) -> None:
        worker.work = generate
        seen.append(look())
        generate(services, attempt)

    worker = FakeWorker(services)
    worker.work = work
    worker.start()
    try:
        answer = client.post(f"/sdapi/v1/{verb}", json={"prompt": "a cat", **SIZE, **body})
    finally:
        worker.stop()
    assert answer.status_code == 200, answer.text
    return seen[0], answer.json


def submit_image(client: FlaskClient) -> int:
    """The status of a job, submitted with an image as large as that of a call."""
    body = {"prompt": "a cat", "image": NOISE}
    return client.application.test_client().post("/v1/jobs", json=body).status_code


@pytest.mark.usefixtures("only_new_objects")
@pytest.mark.parametrize("verb", CALLS)
def test_a_call_that_waits_keeps_nothing_of_its_body(verb: str, services: Services) -> None:
    # Given an API that may hold one body of this size
    client = client_with(services, body_bytes=len(NOISE) * 3 // 2)
    before = large_objects()

    def look() -> int:
        # When a call waits for its job, another one of that size comes
        until(lambda: submit_image(client) == 202)
        until(lambda: large_objects() <= before + KEPT[verb])
        return large_objects() - before

    # Then it is accepted, and of the first one nothing is left but its fields
    seen, answer = answer_of(client, services, verb, CALLS[verb], look)
    assert seen <= KEPT[verb]
    assert NOISE not in json.dumps(answer["parameters"])


@pytest.mark.usefixtures("only_new_objects")
def test_a_call_with_a_mask_counts_for_its_body_until_it_has_ended(services: Services) -> None:
    client = client_with(services, body_bytes=len(NOISE) * 5 // 2)
    body = {"init_images": [NOISE], "mask": NOISE, "mask_blur": 0, "inpaint_full_res": False}
    before = large_objects()

    def look() -> int:
        until(lambda: large_objects() <= before + 1)
        return submit_image(client)

    seen, answer = answer_of(client, services, "img2img", body, look)
    assert seen == 503  # its images are kept, as they were sent
    assert len(answer["images"]) == 1
    assert submit_image(client) == 202


def test_images_that_are_answered_again_count_for_the_body(services: Services) -> None:
    body = {"init_images": [LARGE], "include_init_images": True}
    client = client_with(services, body_bytes=len(LARGE) + 1000)
    seen, answer = answer_of(client, services, "img2img", body, lambda: submit_image(client))
    assert seen == 503
    assert answer["parameters"]["init_images"] == [LARGE]
