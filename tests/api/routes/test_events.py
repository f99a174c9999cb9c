import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.services import Services
from tests.api.services import succeed


@pytest.fixture
def job_id(client: FlaskClient) -> str:
    return str(client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"])


def finish(services: Services, job_id: str, steps: int = 2) -> None:
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    for step in range(1, steps + 1):
        attempt.advance(step, steps)
    attempt.preview("cGljdHVyZQ==", steps)
    succeed(attempt, [])


def blocks(answer: TestResponse) -> Iterator[dict[str, str]]:
    """The events of a stream, as fields; comments are dropped."""
    text = ""
    for chunk in answer.response:
        text += chunk.decode() if isinstance(chunk, bytes) else chunk
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in fields:
                yield fields


def test_a_stream_has_all_events_of_a_job_and_closes(
    client: FlaskClient, services: Services, job_id: str
) -> None:
    finish(services, job_id)
    answer = client.get(f"/v1/jobs/{job_id}/events")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = [(event["event"], json.loads(event["data"])) for event in blocks(answer)]
    assert [kind for kind, _ in events] == [
        "status", "status", "progress", "progress", "preview", "status", "done",
    ]  # fmt: skip
    assert [data["status"] for kind, data in events if kind == "status"] == ["queued", "running", "succeeded"]
    assert events[3][1] == {"step": 2, "total": 2}
    assert events[-1][1]["status"] == "succeeded"


def test_events_arrive_while_the_job_runs(client: FlaskClient, services: Services, job_id: str) -> None:
    answer = client.get(f"/v1/jobs/{job_id}/events")
    events = blocks(answer)
    assert json.loads(next(events)["data"])["status"] == "queued"
    worker = threading.Thread(target=finish, args=[services, job_id])
    worker.start()
    assert [event["event"] for event in events][-1] == "done"
    worker.join()


def test_a_stream_resumes_after_the_last_event_that_was_seen(
    client: FlaskClient, services: Services, job_id: str
) -> None:
    finish(services, job_id)
    all_events = list(blocks(client.get(f"/v1/jobs/{job_id}/events")))
    headers = {"Last-Event-ID": all_events[2]["id"]}
    assert list(blocks(client.get(f"/v1/jobs/{job_id}/events", headers=headers))) == all_events[3:]


def test_a_client_that_has_seen_the_last_event_gets_204(
    client: FlaskClient, services: Services, job_id: str
) -> None:
    finish(services, job_id)
    *_, done = blocks(client.get(f"/v1/jobs/{job_id}/events"))
    answer = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": done["id"]})
    assert (answer.status_code, answer.data) == (204, b"")


@pytest.mark.parametrize("last", ["x", "1-2-3", "$", "99999999999999999999-0"])
def test_an_id_that_is_none_is_refused(client: FlaskClient, job_id: str, last: str) -> None:
    answer = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


def test_streams_are_bounded_and_give_their_slot_back(services: Services) -> None:
    one = replace(services, settings=services.settings.model_copy(update={"api_event_streams": 1}))
    client = create_app(one).test_client()
    url = f"/v1/jobs/{client.post('/v1/jobs', json={'prompt': 'a cat'}).json['id']}/events"
    first = client.get(url)
    next(iter(first.response))
    refused = client.get(url)
    assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers
    first.close()
    assert client.get(url, buffered=False).status_code == 200


def test_a_client_that_never_reads_gives_its_slot_back(services: Services) -> None:
    one = replace(services, settings=services.settings.model_copy(update={"api_event_streams": 1}))
    client = create_app(one).test_client()
    url = f"/v1/jobs/{client.post('/v1/jobs', json={'prompt': 'a cat'}).json['id']}/events"
    for _ in range(3):
        answer = client.get(url)
        assert answer.status_code == 200
        answer.close()
