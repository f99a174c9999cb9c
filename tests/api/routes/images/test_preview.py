import pytest
from flask.testing import FlaskClient

from api.routes.images.latest_preview import LATEST_EVENTS
from api.services import Services
from shared import keys
from shared.jobs.attempt import Attempt
from tests.api.services import base64_of, image_file, succeed


@pytest.fixture
def attempt(client: FlaskClient, services: Services) -> Attempt:
    job_id = client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    return attempt


def test_the_latest_preview_is_sent_as_an_image(client: FlaskClient, attempt: Attempt) -> None:
    images = [image_file((8, 8)), image_file((9, 9))]
    for step, image in enumerate(images, 1):
        attempt.advance(step, 5)
        attempt.preview(base64_of(image), step)
    attempt.advance(3, 5)
    answer = client.get(f"/v1/jobs/{attempt.job.id}/preview?step=3")
    assert (answer.status_code, answer.content_type, answer.data) == (200, "image/png", images[1])
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_last_preview_stays_after_the_job_has_ended(client: FlaskClient, attempt: Attempt) -> None:
    attempt.preview(base64_of(image_file()), 5)
    succeed(attempt, [])
    assert client.get(f"/v1/jobs/{attempt.job.id}/preview").data == image_file()


def test_a_preview_that_the_client_has_is_not_sent_again(client: FlaskClient, attempt: Attempt) -> None:
    attempt.preview(base64_of(image_file()), 1)
    etag = client.get(f"/v1/jobs/{attempt.job.id}/preview").headers["ETag"]
    answer = client.get(f"/v1/jobs/{attempt.job.id}/preview", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.data) == (304, b"")
    attempt.preview(base64_of(image_file()), 2)
    answer = client.get(f"/v1/jobs/{attempt.job.id}/preview", headers={"If-None-Match": etag})
    assert answer.status_code == 200


def test_asking_for_a_preview_that_is_not_there_has_workers_make_one(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    assert not attempt.watched()
    answer = client.get(f"/v1/jobs/{attempt.job.id}/preview")
    assert (answer.status_code, answer.json["code"]) == (404, "no_preview")
    assert attempt.watched()


def test_a_long_stream_of_events_is_not_searched(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    attempt.preview(base64_of(image_file()), 1)
    for step in range(2, LATEST_EVENTS + 2):
        attempt.advance(step, 50)
    assert services.control.xlen(keys.events(attempt.job.id)) > LATEST_EVENTS
    assert client.get(f"/v1/jobs/{attempt.job.id}/preview").json["code"] == "no_preview"


def test_a_job_that_does_not_exist_is_told_from_one_without_previews(client: FlaskClient) -> None:
    assert client.get("/v1/jobs/none/preview").json["code"] == "not_found"
