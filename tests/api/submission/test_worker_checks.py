"""What a client and an operator hear of models and ControlNets that no worker serves, or can load."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared.registry.workers import Heartbeat, publish_heartbeat
from tests.api.services import announce_workers, edge, heartbeat

REQUEST = {"prompt": "a cat"}


def report(services: Services, worker: Heartbeat, **changes: Any) -> None:
    publish_heartbeat(services.control, worker.model_copy(update=changes), 60)


def unet(name: str = "unet-1") -> Heartbeat:
    return heartbeat(name, "unet", "emoji-sd", [])


def controlnet(name: str = "controlnet-1") -> Heartbeat:
    return heartbeat(name, "controlnet", "edge", [])


def submit(client: FlaskClient, **request: Any) -> list[str]:
    accepted = client.post("/v1/jobs", json={**REQUEST, **request})
    assert accepted.status_code == 202, accepted.json
    warnings: list[str] = accepted.json["warnings"]
    return warnings


def test_a_job_that_is_served_has_no_warning(client: FlaskClient, services: Services) -> None:
    report(services, unet())
    report(services, controlnet())
    assert submit(client, controlnets=[edge()]) == []


def test_a_job_that_no_worker_serves_is_accepted_with_a_warning(client: FlaskClient) -> None:
    (warning,) = submit(client)
    assert "no worker serves model 'emoji-sd'" in warning


@pytest.mark.parametrize(
    "changes", [{"unavailable_reasons": ["it did not consume from unet.emoji-sd"]}, {"serves": ["other"]}]
)
def test_a_worker_that_takes_no_jobs_of_the_model_does_not_serve_it(
    changes: dict[str, Any], client: FlaskClient, services: Services
) -> None:
    report(services, unet(), **changes)
    (warning,) = submit(client)
    assert "emoji-sd" in warning
    assert "emoji-sd" in client.get("/readyz").json["checks"]["unet_workers"]
    assert client.get("/v1/models").json["models"][0]["workers"] == []


def test_the_warning_for_a_controlnet_that_no_worker_may_load_says_what_happens(
    client: FlaskClient, services: Services
) -> None:
    report(services, unet())
    (warning,) = submit(client, controlnets=[edge()])
    assert "ControlNet 'edge'" in warning
    assert "cannot end" in warning
    # Then a UNet worker that may load it ends the warning
    report(services, unet(), served_controlnets=["edge"])
    assert submit(create_app(services).test_client(), controlnets=[edge()]) == []


def test_an_operator_sees_what_nobody_serves(client: FlaskClient, services: Services) -> None:
    # Given a worker for one of two ControlNets, and jobs that wait for a model
    report(services, controlnet())
    for _ in range(2):
        submit(client)
    # Then everything that shows the fleet says so, and jobs are still accepted
    wanted = {"models": ["emoji-sd"], "controlnets": ["colour"]}
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["checks"]["unet_workers"] == "no UNet worker takes work yet for model emoji-sd"
    assert ready.json["checks"]["controlnet_workers"] == "ok"
    assert client.get("/v1/fleet").json["without_workers"] == wanted
    text = client.get("/metrics").text
    assert 'swift_jobs_without_workers{model="emoji-sd",' in text
    counted = next(line for line in text.splitlines() if line.startswith("swift_jobs_without_workers"))
    assert counted.endswith(" 2.0")
    assert 'swift_catalog_entry_without_workers{kind="controlnet",name="colour",' in text


def test_a_unet_worker_that_may_load_controlnets_serves_them(client: FlaskClient, services: Services) -> None:
    report(services, unet(), served_controlnets=["edge", "colour"], loaded_controlnets=["edge"])
    assert client.get("/readyz").json["status"] == "ok"
    assert submit(client, controlnets=[edge()]) == []
    found = {one["name"]: one for one in client.get("/v1/controlnets").json["controlnets"]}
    assert (found["edge"]["workers"], found["edge"]["loaded"]) == (["unet-1"], ["unet-1"])
    assert (found["colour"]["workers"], found["colour"]["loaded"]) == (["unet-1"], [])
    # One that it cannot load is refused as where no ControlNet worker could
    report(services, unet(), served_controlnets=["edge"], controlnet_load_errors={"edge": "cut off"})
    refused = client.post("/v1/jobs", json={**REQUEST, "controlnets": [edge()]})
    assert (refused.status_code, refused.json["detail"]) == (503, "cut off")
    checks = client.get("/readyz").json["checks"]
    assert checks["controlnet_workers"].endswith("edge, colour; unet-1: cut off")


def test_a_fleet_that_serves_everything_is_ok(client: FlaskClient, services: Services) -> None:
    announce_workers(services)
    assert client.get("/readyz").json["status"] == "ok"
    assert client.get("/v1/fleet").json["without_workers"] == {"models": [], "controlnets": []}


def test_what_a_worker_could_not_load_is_shown_with_the_reason(
    client: FlaskClient, services: Services
) -> None:
    report(services, unet("unet-1"), load_errors={"emoji-sd": "model 'emoji-sd' cannot be loaded: cut off"})
    report(services, unet("unet-2"))
    report(services, controlnet(), load_errors={"edge": "ControlNet 'edge' cannot be loaded: a pointer"})
    model = client.get("/v1/models").json["models"][0]
    assert (list(model["load_errors"]), model["workers"]) == (["unet-1"], ["unet-2"])
    edge_controlnet = client.get("/v1/controlnets").json["controlnets"][0]
    assert "a pointer" in edge_controlnet["load_errors"]["controlnet-1"]
    # The only ControlNet worker serves nothing, so the fleet is not ready; with another one it is
    checks = client.get("/readyz").json["checks"]
    assert checks["unet_workers"] == "ok"
    assert "controlnet-1: ControlNet 'edge' cannot be loaded: a pointer" in checks["controlnet_workers"]
    report(services, controlnet("controlnet-2"), serves=["colour"])
    ready = client.get("/readyz").json
    assert ready["status"] == "degraded"
    assert "cut off" in ready["worker_errors"]["unet-1"][0]
    assert ready["without_workers"]["controlnets"] == ["edge"]
    workers = {worker["name"]: worker for worker in client.get("/v1/fleet").json["workers"]}
    assert "cut off" in workers["unet-1"]["load_errors"]["emoji-sd"]
    assert 'swift_workers_with_load_error{kind="model",name="emoji-sd"' in client.get("/metrics").text


@pytest.mark.parametrize("failed", ["emoji-sd", "edge"])
def test_a_job_for_what_no_worker_can_load_is_refused_with_the_reason(
    failed: str, client: FlaskClient, services: Services
) -> None:
    report(services, unet(), load_errors={"emoji-sd": "cut off"} if failed == "emoji-sd" else {})
    report(services, controlnet(), load_errors={"edge": "cut off"} if failed == "edge" else {})
    refused = client.post("/v1/jobs", json={**REQUEST, "controlnets": [edge()]})
    assert (refused.status_code, refused.json["code"]) == (503, "model_failed")
    assert refused.json["detail"] == "cut off"
    assert "Retry-After" in refused.headers
    assert client.get("/v1/jobs").json["jobs"] == []


def test_a_job_is_accepted_while_one_worker_can_load_its_model(
    client: FlaskClient, services: Services
) -> None:
    report(services, unet("unet-1"), load_errors={"emoji-sd": "cut off"})
    report(services, unet("unet-2"))
    assert submit(client) == []


def test_a_report_that_cannot_be_read_hides_no_other(client: FlaskClient, services: Services) -> None:
    report(services, unet("a"))
    report(services, unet("b"))
    services.control.set("swift:worker:a", "garbage")
    services.control.set("swift:worker:b", unet("b").model_dump_json()[:-1] + ', "newer": 1}')
    assert [worker["name"] for worker in client.get("/v1/fleet").json["workers"]] == ["b"]
    assert submit(client) == []
