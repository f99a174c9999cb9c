"""Requests per second of a tenant, in a real Redis."""

from flask.testing import FlaskClient

from tests.api.api_keys import bearer, make_key, make_tenant


def test_a_tenant_may_send_so_many_requests_a_second_over_all_its_keys(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme", limits={"requests_per_s": 3})
    make_tenant(keyed_client, "other")
    first, second = (bearer(make_key(keyed_client, "acme")) for _ in range(2))
    # A second window may begin in between: of eight requests at once no more than two windows' are taken
    answers = [keyed_client.get("/v1/jobs", headers=[first, second][i % 2]) for i in range(8)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:3] == [200, 200, 200]
    assert statuses.count(429) >= 2
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json["code"] == "too_many_requests"
    assert "'acme' may send 3 requests a second" in refused.json["detail"]
    assert refused.headers["RateLimit-Policy"] == '"requests";q=3;w=1'
    assert refused.headers["RateLimit"] == f'"requests";r=0;t={refused.headers["Retry-After"]}'
    assert int(refused.headers["Retry-After"]) in (1, 2)
    # Others are not concerned
    assert keyed_client.get("/v1/jobs", headers=bearer(make_key(keyed_client, "other"))).status_code == 200
    assert keyed_client.get("/v1/jobs", headers=bearer()).status_code == 200


def test_a_dry_run_counts_as_a_read_and_uses_up_nothing_that_jobs_need(keyed_client: FlaskClient) -> None:
    # Given a tenant without any room for jobs, and one whose requests are limited
    job = {"prompt": "a cat", "width": 64, "height": 64, "num_inference_steps": 4}
    make_tenant(keyed_client, "full", limits={"max_waiting_jobs": 0, "pixel_steps_per_day": 0})
    make_tenant(keyed_client, "typist", limits={"requests_per_s": 2})
    full, typist = (bearer(make_key(keyed_client, tenant)) for tenant in ("full", "typist"))
    # Then the first is told the estimates of jobs that it may not submit
    assert keyed_client.post("/v1/jobs", json=job, headers=full).status_code == 429
    for _ in range(3):
        assert keyed_client.post("/v1/jobs?dry_run=1", json=job, headers=full).status_code == 200
    # And the other one may ask as often as it may read
    answers = [
        keyed_client.post("/v1/jobs?dry_run=1", json=job, headers=typist)
        if n % 2
        else keyed_client.get("/v1/jobs", headers=typist)
        for n in range(6)
    ]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 2
    assert {answer.json["code"] for answer in refused} == {"too_many_requests"}


def test_a_limit_can_be_changed_and_taken_away(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme", limits={"requests_per_s": 1})
    key = bearer(make_key(keyed_client, "acme"))
    change = {"limits": {"requests_per_s": None}}
    assert (
        keyed_client.open("/v1/tenants/acme", method="PATCH", json=change, headers=bearer()).status_code
        == 200
    )
    assert {keyed_client.get("/v1/jobs", headers=key).status_code for _ in range(5)} == {200}
