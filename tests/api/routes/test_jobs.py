import json
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.dispatch import Dispatcher
from api.services import Services
from shared import keys
from shared.errors import AttemptLost
from shared.jobs.events import stream_events
from shared.jobs.record import StoredImage
from shared.jobs.store import JobStore
from shared.messaging.celery_app import GENERATE, make_celery, unet_queue
from shared.messaging.messages import GenerateJob
from shared.redis_clients import control_redis, without_retries
from tests.api.services import announce_workers, edge, lora, succeed
from tests.shared.jobs.records import UNREADABLE, damage

NOWHERE = "redis://127.0.0.1:1/0"


def submit(client: FlaskClient, **request: Any) -> str:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", **request})
    assert answer.status_code == 202, answer.json
    return str(answer.json["id"])


def test_a_submission_is_answered_with_where_to_look(client: FlaskClient, services: Services) -> None:
    announce_workers(services)
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "seed": 7})
    home = f"/v1/jobs/{answer.json['id']}"
    assert answer.status_code == 202
    assert answer.headers["Location"] == home
    assert answer.json == {
        "id": answer.json["id"],
        "status": "queued",
        "seed": 7,
        "seeds": [7],
        "links": {"self": home, "events": f"{home}/events", "images": f"{home}/images"},
        "warnings": [],
        "estimate": answer.json["estimate"],  # tests/api/test_estimates.py
    }


def test_an_accepted_job_lies_in_its_models_queue(client: FlaskClient, services: Services) -> None:
    job_id = submit(client)
    (message,) = services.control.lrange("unet.emoji-sd", 0, -1)
    headers = json.loads(str(message))["headers"]
    assert headers["task"] == GENERATE
    with services.celery.connection() as connection:
        received = connection.SimpleQueue("unet.emoji-sd").get(timeout=5)
        args, _, _ = received.payload
        received.ack()
    assert args == [GenerateJob(job_id=job_id).model_dump()]
    assert services.control.zcard(keys.UNSENT) == 0


def test_a_job_that_cannot_be_placed_is_accepted_and_left_to_recovery(services: Services) -> None:
    settings = services.settings.model_copy(update={"redis_url": NOWHERE})
    nowhere = JobStore(without_retries(control_redis(settings)), settings)
    broken = replace(services)
    vars(broken)["dispatcher"] = Dispatcher(settings, nowhere, services.celery)
    client = create_app(broken).test_client()
    job_id = submit(client)
    assert client.get(f"/v1/jobs/{job_id}").json["status"] == "queued"
    assert services.jobs.orphans(unsent_after_s=0) == [job_id]


def test_a_job_is_placed_though_flower_cannot_be_told(services: Services) -> None:
    broken = make_celery(services.settings.model_copy(update={"redis_url": NOWHERE}))
    client = create_app(replace(services, celery=broken)).test_client()
    submit(client)
    assert services.control.llen(unet_queue("emoji-sd")) == 1
    assert services.jobs.orphans(unsent_after_s=0) == []


def test_without_redis_a_job_is_refused_and_may_be_tried_again(services: Services) -> None:
    settings = services.settings.model_copy(update={"redis_url": NOWHERE})
    away = without_retries(type(services.control).from_url(NOWHERE, decode_responses=True))
    without = replace(services, control=away, jobs=JobStore(away, settings), celery=make_celery(settings))
    answer = create_app(without).test_client().post("/v1/jobs", json={"prompt": "a cat"})
    assert answer.status_code == 503
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["code"] == "unavailable"


def test_a_queued_job_has_its_whole_request(client: FlaskClient) -> None:
    before = time.time()
    job = client.get(f"/v1/jobs/{submit(client, seed=7, width=64, controlnets=[edge()])}").json
    assert set(job) == {
        "id", "status", "created_at", "started_at", "finished_at", "queue_position", "progress",
        "images", "controlnets", "receipt", "timeline", "error", "request", "warnings",
        "priority", "deadline_s", "estimate", "has_webhook",
    }  # fmt: skip
    assert before - 1 < datetime.fromisoformat(job["created_at"]).timestamp() < time.time() + 1
    assert (job["status"], job["started_at"], job["finished_at"]) == ("queued", None, None)
    assert job["progress"] == {"step": 0, "total": 0}
    assert (job["images"], job["timeline"], job["receipt"], job["error"]) == ([], [], None, None)
    assert (job["request"]["prompt"], job["request"]["seed"], job["request"]["width"]) == ("a cat", 7, 64)
    assert len(job["request"]["controlnets"][0]["image"]) == 64
    assert not job["has_webhook"]


def test_a_running_job_has_its_progress(client: FlaskClient, services: Services) -> None:
    job_id = submit(client)
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    attempt.advance(3, 25)
    job = client.get(f"/v1/jobs/{job_id}").json
    assert (job["status"], job["progress"]) == ("running", {"step": 3, "total": 25})
    assert job["started_at"] >= job["created_at"]
    assert job["queue_position"] is None


def test_a_finished_job_has_images_receipt_and_timeline(client: FlaskClient, services: Services) -> None:
    job_id = submit(client, seed=7)
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    succeed(attempt, [StoredImage(key="images/x.png", seed=7, width=64, height=48, sha256="ab")])
    job = client.get(f"/v1/jobs/{job_id}").json
    url = f"/v1/jobs/{job_id}/images/0"
    assert job["status"] == "succeeded"
    image = {"url": url, "content_type": "image/png", "seed": 7, "width": 64, "height": 48, "sha256": "ab"}
    assert job["images"] == [image]
    denoise = {"name": "denoise", "start_s": 0.5, "end_s": 1.25, "worker": "unet-1"}
    wait = {"name": "wait for residuals", "start_s": 0.5, "end_s": 0.75, "worker": "unet-1"}
    assert job["timeline"] == [
        {**denoise, "counts": {"evictions": 2}, "residual": None},
        {**wait, "counts": {}, "residual": 0},
    ]
    assert job["receipt"]["spec"]["seed"] == 7
    assert job["finished_at"] >= job["started_at"]


def test_queued_jobs_know_their_place(client: FlaskClient, services: Services) -> None:
    first, second, third = (submit(client) for _ in range(3))
    services.jobs.cancel(first)
    places = {job["id"]: job["queue_position"] for job in client.get("/v1/jobs").json["jobs"]}
    assert places == {first: None, second: 1, third: 2}
    assert client.get(f"/v1/jobs/{third}").json["queue_position"] == 2


def test_jobs_are_listed_newest_first_and_in_pages(client: FlaskClient) -> None:
    ids = [submit(client) for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = client.get("/v1/jobs", query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).json
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]


def test_jobs_are_listed_by_status(client: FlaskClient, services: Services) -> None:
    first, second = submit(client), submit(client)
    services.jobs.cancel(first)
    listed = client.get("/v1/jobs?status=queued").json["jobs"]
    assert [job["id"] for job in listed] == [second]


def test_a_list_holds_summaries_of_jobs(client: FlaskClient, services: Services) -> None:
    job_id = submit(client, prompt="a cat " * 100, seed=7, controlnets=[edge()])
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    succeed(attempt, [StoredImage(key="images/x.png", seed=7, width=64, height=48, sha256="a" * 64)])
    page = client.get("/v1/jobs")
    [summary] = page.json["jobs"]
    whole = client.get(f"/v1/jobs/{job_id}").json
    assert summary == {name: whole[name] for name in summary.keys() & whole} | {
        "model": "emoji-sd",
        "prompt": ("a cat " * 100)[:100],
        "links": {"self": f"/v1/jobs/{job_id}", "events": f"/v1/jobs/{job_id}/events",
                  "images": f"/v1/jobs/{job_id}/images"},
    }  # fmt: skip
    assert set(summary) == {
        "id", "status", "created_at", "started_at", "finished_at", "queue_position", "progress", "model",
        "prompt", "images", "error", "links",
    }  # fmt: skip
    assert len(page.data) < 1000


def test_a_list_has_the_fields_that_the_query_names(client: FlaskClient, services: Services) -> None:
    job_id = submit(client, seed=7, controlnets=[edge()])
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    succeed(attempt, [])
    whole = client.get(f"/v1/jobs/{job_id}").json
    for names in (
        "receipt,timeline",
        "request",
        "controlnets,warnings",
        "progress",
        "created_at&fields=receipt",
    ):
        [job] = client.get(f"/v1/jobs?fields={names}").json["jobs"]
        asked = {"id", "status", *names.replace("&fields=", ",").split(",")}
        assert job == {name: whole[name] for name in asked}


def test_a_list_reads_nothing_of_a_job_that_it_does_not_tell(client: FlaskClient, services: Services) -> None:
    job_id = submit(client)
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    succeed(attempt, [])
    services.control.hset(keys.job(job_id), "receipt", "not read, so not parsed")
    [job] = client.get("/v1/jobs").json["jobs"]
    assert (job["id"], job["status"]) == (job_id, "succeeded")


def test_an_unknown_field_of_a_list_is_refused_with_the_known_ones(client: FlaskClient) -> None:
    answer = client.get("/v1/jobs?fields=id,colour")
    assert (answer.status_code, answer.json["field"]) == (422, "fields.1")
    assert "timeline" in answer.json["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=201", "limit"), ("status=lost", "status"), ("page=2", "page")],
)
def test_a_bad_query_is_refused_by_its_field(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.json["field"]) == (422, field)


@pytest.mark.parametrize("cursor", ["nothing", "", "é", "MTox", "bmFuOjAxMjM0NTY3ODlhYmNkZWY", "a" * 4000])
def test_what_is_no_cursor_is_refused_in_one_sentence(client: FlaskClient, cursor: str) -> None:
    answer = client.get("/v1/jobs", query_string={"cursor": cursor})
    assert (answer.status_code, answer.json["field"]) == (422, "cursor")
    assert answer.json["detail"] == "it is not the next_cursor of a page"


def test_the_last_page_has_no_cursor_and_every_other_page_is_full(
    client: FlaskClient, services: Services
) -> None:
    # Given six jobs, of which two have expired and one changes its status between two pages
    ids = [submit(client) for _ in range(6)]
    for gone in (ids[1], ids[4]):
        services.control.delete(keys.job(gone))
    first = client.get("/v1/jobs?limit=2").json
    services.jobs.cancel(first["jobs"][-1]["id"])
    services.jobs.delete(first["jobs"][-1]["id"])
    rest = client.get("/v1/jobs", query_string={"limit": 2, "cursor": first["next_cursor"]}).json
    # Then the pages hold the four others, newest first, the last without a cursor
    listed = [job["id"] for job in first["jobs"] + rest["jobs"]]
    assert listed == [ids[5], ids[3], ids[2], ids[0]]
    assert (first["next_cursor"] is None, rest["next_cursor"]) == (False, None)
    # And what has expired is off the lists
    assert services.control.zcard(keys.JOBS) == 3


@pytest.mark.parametrize("path", ["", "/events", "/images", "/images/0"])
def test_an_unknown_job_is_not_found(client: FlaskClient, path: str) -> None:
    answer = client.get(f"/v1/jobs/0123456789abcdef{path}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def cancel(client: FlaskClient, job_id: str) -> TestResponse:
    return client.post(f"/v1/jobs/{job_id}/cancel")


def test_cancelling_a_queued_job_ends_it_at_once(client: FlaskClient) -> None:
    answer = cancel(client, submit(client))
    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")


def test_cancelling_a_running_job_reaches_its_worker(client: FlaskClient, services: Services) -> None:
    job_id = submit(client)
    services.jobs.claim(job_id, "unet-1")
    answer = cancel(client, job_id)
    assert (answer.status_code, answer.json["status"]) == (202, "running")
    assert services.control.hget(keys.job(job_id), "cancel") == "1"


def test_cancelling_an_ended_job_changes_nothing_and_keeps_its_images(
    client: FlaskClient, services: Services
) -> None:
    job_id = submit(client)
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    succeed(attempt, [StoredImage(key="images/x.png", seed=7, width=64, height=48, sha256="ab")])
    before = client.get(f"/v1/jobs/{job_id}").json
    for _ in range(2):
        answer = cancel(client, job_id)
        assert (answer.status_code, answer.json) == (200, before)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "cancelled"])
def test_a_deleted_job_is_gone_with_all_that_belongs_to_it(
    state: str, client: FlaskClient, services: Services
) -> None:
    job_id = submit(client)
    attempt = services.jobs.claim(job_id, "unet-1") if state in ("running", "succeeded") else None
    if state == "succeeded":
        assert attempt is not None
        succeed(attempt, [])
    if state == "cancelled":
        cancel(client, job_id)
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.data) == (204, b"")
    # Then nothing knows it any more: not REST, and no key of Redis but the order to delete its images
    for path in ("", "/events", "/images", "/images/0"):
        assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404
    assert (client.delete(f"/v1/jobs/{job_id}").status_code, cancel(client, job_id).status_code) == (404, 404)
    assert client.get("/v1/jobs").json["jobs"] == []
    left = {
        key for key in services.control.scan_iter("swift:job*") if services.control.ttl(key) not in range(11)
    }
    assert left == {keys.LAST_EVENT, keys.MODELS}  # of all jobs
    assert services.control.zscore(keys.IMAGES, job_id) is not None
    # And a worker that still runs it hears so at its next word, and can write nothing
    if state == "running":
        assert attempt is not None
        with pytest.raises(AttemptLost):
            succeed(attempt, [])
        assert not services.control.exists(keys.job(job_id))


def test_a_follower_of_a_deleted_job_reads_that_it_is_over(client: FlaskClient, services: Services) -> None:
    job_id = submit(client)
    services.jobs.delete(job_id)
    events = [event for event in stream_events(services.control, job_id) if event]
    assert [event.kind for event in events] == ["status", "status", "done"]


def test_an_idempotency_key_of_a_deleted_job_makes_a_new_one(client: FlaskClient) -> None:
    request = {"json": {"prompt": "a cat"}, "headers": {"Idempotency-Key": "order 7"}}
    first = client.post("/v1/jobs", **request).json["id"]
    client.delete(f"/v1/jobs/{first}")
    assert client.post("/v1/jobs", **request).json["id"] != first


@pytest.mark.parametrize("method", ["delete", "cancel"])
def test_cancelling_or_deleting_an_unknown_job_is_not_found(client: FlaskClient, method: str) -> None:
    job_id = "0123456789abcdef"
    answer = cancel(client, job_id) if method == "cancel" else client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_a_repeated_idempotency_key_returns_the_first_job(client: FlaskClient, services: Services) -> None:
    request = {"json": {"prompt": "a cat"}, "headers": {"Idempotency-Key": "order 7"}}
    first, again = client.post("/v1/jobs", **request), client.post("/v1/jobs", **request)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json == first.json  # the random seed too
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert services.control.llen("unet.emoji-sd") == 1


def test_a_repeat_returns_the_first_job_though_its_lora_is_gone(
    client: FlaskClient, services: Services
) -> None:
    services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    request = {
        "json": {"prompt": "a cat", "loras": [{"name": "anime"}]},
        "headers": {"Idempotency-Key": "order 7"},
    }
    first = client.post("/v1/jobs", **request)
    services.loras.delete("anime.safetensors")
    assert client.post("/v1/jobs", **request).json == first.json


def test_an_idempotency_key_of_another_request_is_a_conflict(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "order 7"}
    client.post("/v1/jobs", json={"prompt": "a cat"}, headers=headers)
    answer = client.post("/v1/jobs", json={"prompt": "a dog"}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")


def test_an_idempotency_key_may_not_be_endless(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"prompt": "a cat"}, headers={"Idempotency-Key": "x" * 256})
    assert (answer.status_code, answer.json["field"]) == (422, "Idempotency-Key")


def test_prompts_are_not_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="api")
    submit(client, prompt="a secret wish")
    client.post("/v1/jobs", json={"prompt": "a secret wish", "model": "none"})
    assert "secret" not in caplog.text


@pytest.mark.parametrize("how", UNREADABLE)
def test_a_damaged_record_has_an_error_code_and_hides_no_other_job(
    how: str, client: FlaskClient, services: Services
) -> None:
    bad, good = submit(client), submit(client)
    damage(services.control, bad, how)
    for path in ("", "/images", "/images/0", "/events"):
        answer = client.get(f"/v1/jobs/{bad}{path}")
        assert (answer.status_code, answer.json["code"]) == (500, "job_unreadable")
    fields = "id,request,receipt,timeline,images,queue_position,error,created_at"
    for query in ("", f"?fields={fields}"):
        assert good in [job["id"] for job in client.get(f"/v1/jobs{query}").json["jobs"]]
    assert cancel(client, bad).status_code in (200, 204)  # a status that was unknown is known again
    assert client.delete(f"/v1/jobs/{bad}").status_code == 204
    assert client.get(f"/v1/jobs/{bad}").status_code == 404
