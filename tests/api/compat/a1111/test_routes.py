"""A1111's API as a whole: how clients send a key, whose calls they see, and a client for Node."""

import pytest
from flask.testing import FlaskClient

from api.services import Services
from shared.keys import LOCAL
from tests.api.api_keys import BOOTSTRAP_KEY, UNKNOWN_KEY, basic, bearer, make_key, make_tenant
from tests.api.compat.fake_worker import FakeWorker
from tests.node_scripts import NodeScripts

PROGRESS, INTERRUPT, JOBS = "/sdapi/v1/progress", "/sdapi/v1/interrupt", "/v1/jobs"


@pytest.mark.parametrize("header", [basic("me", BOOTSTRAP_KEY), basic(BOOTSTRAP_KEY, ""), bearer()])
def test_the_key_is_the_password_or_the_user_part_of_a_url(
    header: dict[str, str], keyed_client: FlaskClient
) -> None:
    assert keyed_client.get(PROGRESS, headers=header).json["state"]["job_count"] == 0
    assert keyed_client.post(INTERRUPT, headers=header).json == {}


@pytest.mark.parametrize(
    ("header", "code"), [({}, "key_missing"), (basic("me", "secret"), "key_malformed"),
    (basic("me", UNKNOWN_KEY), "key_unknown")],
)  # fmt: skip
def test_a_missing_or_wrong_key_is_refused_in_a1111_s_shape(
    header: dict[str, str], code: str, keyed_client: FlaskClient
) -> None:
    answer = keyed_client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}, headers=header)
    assert (answer.status_code, answer.json["error"]) == (401, code)
    assert set(answer.json) == {"error", "detail", "body", "errors"}


def test_progress_and_interrupt_are_about_the_tenant_s_own_calls(
    keyed_client: FlaskClient, services: Services
) -> None:
    headers = []
    for tenant in ("acme", "globex"):
        make_tenant(keyed_client, tenant)
        headers.append(basic("me", make_key(keyed_client, tenant, scopes=["jobs"])))
    own, others = headers
    body = {"prompt": "a cat", "prompt_syntax": "a1111"}
    job_id = keyed_client.post(JOBS, json=body, headers=own).json["id"]
    assert keyed_client.get(PROGRESS, headers=own).json["state"]["job_count"] == 1
    assert keyed_client.get(PROGRESS, headers=others).json["state"]["job_count"] == 0
    assert keyed_client.post(INTERRUPT, headers=others).json == {}
    assert services.jobs.get(job_id).status == "queued"
    assert keyed_client.post(INTERRUPT, headers=own).json == {}
    assert services.jobs.get(job_id).status == "cancelled"


def test_a_call_waits_on_one_of_the_connections_that_event_streams_have(
    client: FlaskClient, services: Services
) -> None:
    slots, limit = services.event_slots, services.settings.api_event_streams
    for _ in range(limit):
        slots.take(LOCAL)
    try:
        answer = client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"})
    finally:
        for _ in range(limit):
            slots.give_back(LOCAL)
    assert answer.status_code in (429, 503)
    assert set(answer.json) == {"error", "detail", "body", "errors"}
    assert services.jobs.page()[0] == []


def test_a_client_for_node_generates(
    node: NodeScripts, port: int, services: Services, worker: FakeWorker
) -> None:
    told = node.run("a1111_generate.mjs", str(port))
    assert told == {
        "sizes": [[64, 64]] * 3,
        "seeds": [7, 8],
        "warnings": [],
        "progress": 0,
        "refused": [404, "not_found"],
    }
    with_controlnet, with_image = (services.jobs.get(job_id).spec for job_id in worker.jobs)
    assert [one.guidance_end for one in with_controlnet.controlnets] == [0.5]
    assert with_image.strength == 0.75
