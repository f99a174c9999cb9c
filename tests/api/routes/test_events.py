import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from werkzeug.test import TestResponse

from api.app import create_app
from api.routes.events import MAX_JOBS
from api.services import Services
from shared import keys
from shared.jobs.events import READ_EVENTS
from shared.settings import Settings
from tests.api.gunicorn_server import environment, serving
from tests.api.services import succeed
from tests.api.tenants import add_tenant, client_of, with_keys


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


def test_streams_are_bounded_and_give_their_slot_back(
    app_with: Callable[..., OpenAPI], services: Services
) -> None:
    client = app_with(api_event_streams=1).test_client()
    url = f"/v1/jobs/{client.post('/v1/jobs', json={'prompt': 'a cat'}).json['id']}/events"
    first = client.get(url)
    next(iter(first.response))
    refused = client.get(url)
    assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers
    first.close()
    again = client.get(url, buffered=False)
    assert again.status_code == 200
    again.close()


def test_a_client_that_never_reads_gives_its_slot_back(
    app_with: Callable[..., OpenAPI], services: Services
) -> None:
    client = app_with(api_event_streams=1).test_client()
    url = f"/v1/jobs/{client.post('/v1/jobs', json={'prompt': 'a cat'}).json['id']}/events"
    for _ in range(3):
        answer = client.get(url)
        assert answer.status_code == 200
        answer.close()


# --- many jobs ---


@pytest.fixture(scope="module")
def app_with_keys(connected: Services) -> OpenAPI:
    return create_app(with_keys(connected))


@pytest.fixture
def acme(app_with_keys: OpenAPI, services: Services) -> FlaskClient:
    """A client with a key of another tenant than `client`'s."""
    add_tenant(services, "acme")
    return client_of(app_with_keys, services, "acme")


@pytest.fixture
def job_ids(client: FlaskClient) -> list[str]:
    return [str(client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]) for _ in range(3)]


def url_of(job_ids: Sequence[str]) -> str:
    return "/v1/events?" + "&".join(f"job={job_id}" for job_id in job_ids)


def kinds(events: Sequence[dict[str, str]], job_id: str) -> list[str]:
    """The kinds of the events of one of the jobs."""
    return [event["event"] for event in events if json.loads(event["data"])["job"] == job_id]


def position(event: dict[str, str]) -> tuple[int, ...]:
    return tuple(map(int, event["id"].split("-")))


def test_one_stream_has_all_events_of_many_jobs_in_order_and_closes(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    for job_id in reversed(job_ids):
        finish(services, job_id)
    events = list(blocks(client.get(url_of(job_ids))))
    for job_id in job_ids:
        alone = list(blocks(client.get(f"/v1/jobs/{job_id}/events")))
        assert kinds(events, job_id) == [event["event"] for event in alone]
        assert [event["id"] for event in alone] == [
            event["id"] for event in events if json.loads(event["data"])["job"] == job_id
        ]
    assert [position(event) for event in events] == sorted({position(event) for event in events})
    first = json.loads(events[0]["data"])
    assert (first["job"], first["status"]) == (job_ids[0], "queued")


def test_a_stream_of_many_resumes_after_each_event_with_nothing_lost_or_repeated(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    # Given jobs with more events than one read has, of which two went on in turns
    attempts = [services.jobs.claim(job_id, "unet-1") for job_id in job_ids]
    for step in range(1, READ_EVENTS):
        for attempt in attempts[:2]:
            assert attempt is not None
            attempt.advance(step, READ_EVENTS)
    for attempt in attempts:
        assert attempt is not None
        attempt.end("failed", None, [])
    everything = list(blocks(client.get(url_of(job_ids))))
    assert len(everything) == 3 * 4 + 2 * (READ_EVENTS - 1)
    # When a client loses the connection after some event
    for n in (0, 1, 5, 6, 7, READ_EVENTS, len(everything) - 2):
        headers = {"Last-Event-ID": everything[n]["id"]}
        # Then the rest is what it has not seen
        assert list(blocks(client.get(url_of(job_ids), headers=headers))) == everything[n + 1 :]
    headers = {"Last-Event-ID": everything[-1]["id"]}
    assert client.get(url_of(job_ids), headers=headers).status_code == 204


def test_events_of_many_jobs_arrive_while_they_run(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    events = blocks(client.get(url_of(job_ids)))
    for _ in job_ids:
        assert json.loads(next(events)["data"])["status"] == "queued"
    workers = [threading.Thread(target=finish, args=[services, job_id, 30]) for job_id in job_ids]
    for worker in workers:
        worker.start()
    seen = list(events)
    assert [kinds(seen, job_id).count("progress") for job_id in job_ids] == [30, 30, 30]
    assert [kinds(seen, job_id)[-1] for job_id in job_ids] == ["done"] * 3
    assert [position(event) for event in seen] == sorted({position(event) for event in seen})
    for worker in workers:
        worker.join()


def received(port: int, url: str, last: str, most: int) -> Iterator[dict[str, str]]:
    """What a real server sends over a connection that breaks off after ``most`` events; none after a 204."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", url, headers={"Last-Event-ID": last} if last else {})
        answer = connection.getresponse()
        event: dict[str, str] = {}
        for line in iter(answer.readline, b""):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            event |= {name: value} if name in ("id", "event", "data") else {}
            if name == "" and "data" in event:
                yield event
                event, most = {}, most - 1
            if most == 0:
                return
    finally:
        connection.close()


def test_over_broken_connections_every_event_of_many_jobs_comes_once(
    client: FlaskClient, services: Services, servers: Settings, job_ids: list[str]
) -> None:
    seen: list[dict[str, str]] = []
    with serving(environment(servers)) as (port, _):
        workers = [threading.Thread(target=finish, args=[services, job_id, 50]) for job_id in job_ids]
        for worker in workers:
            worker.start()
        while len([event for event in seen if event["event"] == "done"]) < len(job_ids):
            last = seen[-1]["id"] if seen else ""
            seen += received(port, url_of(job_ids), last, most=7)
        for worker in workers:
            worker.join()
        assert list(received(port, url_of(job_ids), seen[-1]["id"], most=1)) == []
    assert seen == list(blocks(client.get(url_of(job_ids))))


def test_workers_make_previews_of_jobs_that_are_named(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    answer = client.get(url_of(job_ids))
    next(blocks(answer))
    assert services.control.exists(*map(keys.watched, job_ids)) == 3
    answer.close()


def test_a_job_that_is_deleted_ends_and_the_others_go_on(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    events = blocks(client.get(url_of(job_ids)))
    for _ in job_ids:
        next(events)
    client.delete(f"/v1/jobs/{job_ids[0]}")
    finish(services, job_ids[1])
    finish(services, job_ids[2])
    seen = list(events)
    assert kinds(seen, job_ids[0]) == ["status", "done"]
    assert kinds(seen, job_ids[1])[-1] == kinds(seen, job_ids[2])[-1] == "done"


def test_a_job_that_was_deleted_meanwhile_is_left_out_when_a_client_goes_on(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    answer = client.get(url_of(job_ids))
    seen = [next(blocks(answer))]
    answer.close()
    finish(services, job_ids[0])
    client.delete(f"/v1/jobs/{job_ids[0]}")
    for job_id in job_ids[1:]:
        finish(services, job_id)
    headers = {"Last-Event-ID": seen[0]["id"]}
    events = list(blocks(client.get(url_of(job_ids), headers=headers)))
    assert kinds(events, job_ids[0]) == []
    assert [kinds(events, job_id)[-1] for job_id in job_ids[1:]] == ["done", "done"]
    # And where all are over, nothing more will come
    headers = {"Last-Event-ID": events[-1]["id"]}
    assert client.get(url_of(job_ids), headers=headers).status_code == 204
    assert client.get(url_of(job_ids[:1]), headers=headers).status_code == 404


@pytest.mark.parametrize("other", ["0123456789abcdef", "x", "", "../jobs", "0123456789abcdef:lease"])
def test_a_job_that_does_not_exist_is_not_followed(
    client: FlaskClient, job_ids: list[str], other: str
) -> None:
    for named in ([other], [*job_ids, other]):
        answer = client.get("/v1/events", query_string={"job": named})
        assert (answer.status_code, answer.json["detail"]) == (404, f"there is no job {other!r}")


def test_another_tenants_jobs_are_not_followed(
    acme: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    foreign = job_ids[0]
    for headers in ({}, {"Last-Event-ID": "1-0"}):
        for url in (url_of([foreign]), f"/v1/jobs/{foreign}/events"):
            answer = acme.get(url, headers=headers)
            assert (answer.status_code, answer.json["detail"]) == (404, f"there is no job {foreign!r}")
    # Nor are they told from jobs that do not exist by naming an own one
    own = acme.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    finish(services, own)
    headers = {"Last-Event-ID": "0"}
    seen = list(blocks(acme.get(url_of([foreign, own]), headers=headers)))
    assert {json.loads(event["data"])["job"] for event in seen} == {own}


def test_as_many_jobs_may_be_named_as_fit_into_a_request(client: FlaskClient, job_ids: list[str]) -> None:
    many = client.get("/v1/events", query_string={"job": ["0" * 16] * (MAX_JOBS + 1)})
    assert (many.status_code, many.json["field"]) == (422, "job")
    answer = client.get("/v1/events", query_string={"job": [job_ids[0]] * MAX_JOBS})  # one, many times
    assert answer.status_code == 200
    answer.close()


@pytest.mark.parametrize("query", ["", "?job=0123456789abcdef"])
def test_an_id_that_is_none_is_refused_by_a_stream_of_many(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/v1/events{query}", headers={"Last-Event-ID": "x"})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


def test_all_streams_count_against_one_limit(app_with: Callable[..., OpenAPI], services: Services) -> None:
    client = app_with(api_event_streams=1).test_client()
    job_id = client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    urls = [f"/v1/jobs/{job_id}/events", url_of([job_id]), "/v1/events"]
    for url in urls:
        held = client.get(url)
        for other in urls:
            refused = client.get(other)
            assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
            assert "Retry-After" in refused.headers
        held.close()


# --- all jobs of a tenant ---


def test_without_jobs_a_stream_has_what_happens_to_any_job_from_now_on(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    answer = client.get("/v1/events")
    finish(services, job_ids[0])
    new = client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    events = blocks(answer)
    seen = [next(events) for _ in range(6)]
    answer.close()
    assert kinds(seen, job_ids[0]) == ["status", "progress", "progress", "status", "done"]
    assert kinds(seen, new) == ["status"]


def test_a_job_that_has_ended_is_deleted_in_the_stream_of_all_jobs(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    finish(services, job_ids[0])
    answer = client.get("/v1/events")
    assert client.delete(f"/v1/jobs/{job_ids[0]}").status_code == 204
    event = next(blocks(answer))
    answer.close()
    data = json.loads(event["data"])
    assert (event["event"], data["job"], data["status"]) == ("done", job_ids[0], "deleted")
    # And a client that was away gets it, too
    resumed = client.get("/v1/events", headers={"Last-Event-ID": "0"})
    events = blocks(resumed)
    seen = [next(events) for _ in range(services.control.xlen(keys.tenant_events("local")))]
    resumed.close()
    assert seen[-1] == event


def test_a_stream_of_all_jobs_resumes_from_where_it_was_opened(
    client: FlaskClient, services: Services
) -> None:
    first = str(client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"])
    # Given a client that lost the stream before any event came
    answer = client.get("/v1/events")
    chunk = next(iter(answer.response))
    begin = (chunk.decode() if isinstance(chunk, bytes) else chunk).splitlines()
    answer.close()
    assert begin[0] == "retry: 1000"
    finish(services, first)
    # When it resumes
    resumed = client.get("/v1/events", headers={"Last-Event-ID": begin[1].removeprefix("id: ")})
    events = blocks(resumed)
    seen = [next(events) for _ in range(5)]
    resumed.close()
    # Then it gets what happened since, and nothing of before
    assert kinds(seen, first) == ["status", "progress", "progress", "status", "done"]
    assert json.loads(seen[0]["data"])["status"] == "running"
    # And resumed once more after each of them it gets the rest
    for n, event in enumerate(seen[:-1]):
        again = client.get("/v1/events", headers={"Last-Event-ID": event["id"]})
        rest = blocks(again)
        assert [next(rest) for _ in seen[n + 1 :]] == seen[n + 1 :]
        again.close()


def test_a_client_that_missed_events_which_are_no_longer_kept_is_told(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    stream = keys.tenant_events("local")
    (oldest, _), (_, _), (newest, _) = services.control.xrange(stream)
    services.control.xtrim(stream, maxlen=1, approximate=False)
    answer = client.get("/v1/events", headers={"Last-Event-ID": oldest})
    events = blocks(answer)
    reset, kept = next(events), next(events)
    answer.close()
    assert (reset["event"], "id" in reset) == ("reset", False)
    assert kept["id"] == newest


def test_a_slow_client_of_all_jobs_is_told_that_it_has_missed_some(
    client: FlaskClient, services: Services
) -> None:
    job_id = str(client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"])
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    answer = client.get("/v1/events")
    events = blocks(answer)
    attempt.advance(1, 1000)
    assert json.loads(next(events)["data"])["step"] == 1
    # Given a client that reads nothing while more events come than are kept
    for step in range(2, 3 * READ_EVENTS):
        attempt.advance(step, 1000)
    services.control.xtrim(keys.tenant_events("local"), maxlen=2 * READ_EVENTS, approximate=False)
    # Then it is told so, and gets those that are kept
    assert next(events)["event"] == "reset"
    steps = [json.loads(next(events)["data"])["step"] for _ in range(2 * READ_EVENTS)]
    answer.close()
    assert steps == list(range(READ_EVENTS, 3 * READ_EVENTS))


def test_previews_are_only_in_streams_that_name_jobs(
    client: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    finish(services, job_ids[0])
    answer = client.get("/v1/events", headers={"Last-Event-ID": "0"})
    events = blocks(answer)
    seen = [next(events) for _ in range(8)]
    answer.close()
    assert "preview" not in {event["event"] for event in seen}
    assert "preview" in {event["event"] for event in blocks(client.get(url_of(job_ids[:1])))}


def test_a_tenants_stream_has_no_job_of_another(
    client: FlaskClient, acme: FlaskClient, services: Services, job_ids: list[str]
) -> None:
    own = acme.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    for job_id in (job_ids[0], own):
        finish(services, job_id)
    for one, expected in ((client, {*job_ids}), (acme, {own})):
        answer = one.get("/v1/events", headers={"Last-Event-ID": "0"})
        events = blocks(answer)
        count = services.control.xlen(keys.tenant_events("local" if one is client else "acme"))
        assert {json.loads(next(events)["data"])["job"] for _ in range(count)} == expected
        answer.close()


def test_a_tenant_that_has_its_share_of_streams_leaves_the_others_to_others(services: Services) -> None:
    settings = services.settings.model_copy(update={"api_event_streams": 8})
    given = with_keys(replace(services, settings=settings))
    app = create_app(given)
    for tenant in ("acme", "globex"):
        add_tenant(given, tenant)
    acme, globex = (client_of(app, given, tenant) for tenant in ("acme", "globex"))
    held = [acme.get("/v1/events") for _ in range(2)]
    job = acme.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    for url in ("/v1/events", f"/v1/jobs/{job}/events"):
        refused = acme.get(url)
        assert (refused.status_code, refused.json["code"]) == (429, "limit_exceeded")
        assert "2 event streams in this process" in refused.json["detail"]
        assert refused.headers["RateLimit-Policy"] == '"event_streams";q=2'
    other = globex.get("/v1/events")
    assert other.status_code == 200
    for answer in (*held, other):
        answer.close()
    again = acme.get("/v1/events")
    assert again.status_code == 200
    again.close()
