from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.routes.readiness import ReadinessCheck
from api.services import Services
from shared import keys
from shared.metrics import publish
from shared.registry.workers import publish_heartbeat
from shared.webhooks.dispatchers import PREFIX
from shared.webhooks.endpoint import ENDED
from tests.api.api_keys import bearer, make_key
from tests.api.services import announce_workers, heartbeat

NOWHERE = "redis://127.0.0.1:1/0"


def test_a_living_process_is_healthy_whatever_else_is_down(services: Services) -> None:
    away = type(services.control).from_url(NOWHERE)
    client = create_app(replace(services, control=away, residuals=[away])).test_client()
    assert client.get("/healthz").json["status"] == "ok"


def test_it_is_ready_when_all_servers_answer_and_workers_are_there(
    client: FlaskClient, services: Services
) -> None:
    announce_workers(services)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    servers = ["control_redis", "residual_redis", "lora_bucket", "image_bucket"]
    assert answer.json["checks"] == dict.fromkeys([*servers, "unet_workers", "controlnet_workers"], "ok")


def test_it_is_not_ready_without_workers_and_names_what_has_none(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert answer.json["detail"] == "not ready: unet_workers, controlnet_workers"
    checks = answer.json["checks"]
    assert checks["unet_workers"] == "no UNet worker takes work yet for model emoji-sd"
    assert checks["controlnet_workers"] == "no ControlNet worker takes work yet for ControlNet edge, colour"


@pytest.mark.parametrize(("workers", "held", "status"), [(0, [], 200), (1, [], 503), (1, ["edge"], 200)])
def test_a_fleet_without_controlnet_workers_by_design_is_ready(
    workers: int, held: list[str], status: int, services: Services
) -> None:
    unet = heartbeat("unet-1", "unet", "emoji-sd", []).model_copy(update={"served_controlnets": held})
    publish_heartbeat(services.control, unet, 60)
    changes = {"controlnet_workers": workers}
    app = create_app(replace(services, settings=services.settings.model_copy(update=changes)))
    assert app.test_client().get("/readyz").status_code == status


def test_it_is_degraded_while_nobody_sends_webhooks_that_a_tenant_has(
    client: FlaskClient, services: Services
) -> None:
    announce_workers(services)
    assert client.get("/readyz").json["status"] == "ok"
    services.webhooks.create("acme", "https://example.com", ENDED, description="", now=1.0)
    answer = client.get("/readyz")
    # A load balancer is not to take the API out for that: jobs run
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert answer.json["webhooks"].startswith("no webhook dispatcher runs")
    publish(services.control, f"{PREFIX}host-1", 60)
    answer = client.get("/readyz")
    assert (answer.json["status"], answer.json["webhooks"]) == ("ok", None)


def test_it_is_not_ready_without_a_redis(services: Services) -> None:
    announce_workers(services)
    away = type(services.control).from_url(NOWHERE)
    answer = create_app(replace(services, residuals=[away])).test_client().get("/readyz")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert "Retry-After" in answer.headers
    assert answer.json["checks"]["control_redis"] == "ok"
    assert "ConnectionError" in answer.json["checks"]["residual_redis"]
    assert answer.json["detail"] == "not ready: residual_redis"


def test_it_is_not_ready_without_one_of_several_residual_servers(services: Services) -> None:
    announce_workers(services)
    residuals = [*services.residuals, type(services.control).from_url(NOWHERE)]
    answer = create_app(replace(services, residuals=residuals)).test_client().get("/readyz")
    assert answer.json["detail"] == "not ready: residual_redis_2"


def test_it_is_not_ready_when_one_redis_plays_both_roles(services: Services) -> None:
    announce_workers(services)
    answer = create_app(replace(services, residuals=[services.control])).test_client().get("/readyz")
    assert answer.status_code == 503
    assert "control Redis" in answer.json["checks"]["residual_redis"]


def test_it_is_not_ready_without_s3(services: Services) -> None:
    announce_workers(services)
    settings = services.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"})
    answer = create_app(replace(services, settings=settings)).test_client().get("/readyz")
    assert answer.status_code == 503
    assert "S3" in answer.json["checks"]["image_bucket"]


def test_however_many_ask_servers_are_asked_once_in_a_while(services: Services) -> None:
    announce_workers(services)
    given = replace(services, readiness_cache_s=60)
    client, clock = create_app(given).test_client(), [0.0]
    check = ReadinessCheck(given, lambda: clock[0])
    answers = [client.get("/readyz") for _ in range(3)]
    assert {(answer.status_code, answer.json["status"]) for answer in answers} == {(200, "ok")}
    # Given that everything else is gone meanwhile
    found = check()
    services.control.flushdb()
    clock[0] = 59.9
    assert check() is found
    assert client.get("/readyz").status_code == 200
    # Then it is noticed when the time is over
    clock[0] = 60.0
    assert "unet_workers" in check().broken


def test_beside_keys_reasons_are_shown_to_those_with_scope_fleet(keyed_client: FlaskClient) -> None:
    jobs, fleet = (bearer(make_key(keyed_client, scopes=[scope])) for scope in ("jobs", "fleet"))
    for headers in ({}, jobs, bearer("wrong")):
        answer = keyed_client.get("/readyz", headers=headers)
        assert (answer.status_code, answer.json["checks"]["control_redis"]) == (503, "ok")
        assert answer.json["checks"]["unet_workers"] == "failed"
    checks = keyed_client.get("/readyz", headers=fleet).json["checks"]
    assert checks["unet_workers"] == "no UNet worker takes work yet for model emoji-sd"


def test_beside_keys_a_probe_sees_that_all_is_well(keyed_client: FlaskClient, services: Services) -> None:
    announce_workers(services)
    answer = keyed_client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "ok")
    assert set(answer.json) == {"status", "checks"}


def test_metrics_show_this_process_at_once(client: FlaskClient, services: Services) -> None:
    client.get("/v1/jobs/0123456789abcdef")
    answer = client.get("/metrics")
    assert answer.content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    labels = [sample.labels for sample in families["swift_http_requests"].samples]
    assert {
        "method": "GET",
        "route": "/v1/jobs/<id>",
        "status": "404",
        "process": services.process,
    } in labels


def test_metrics_show_every_process(client: FlaskClient, services: Services) -> None:
    text = '# TYPE swift_steps counter\nswift_steps_total{model="m"} 3\n'
    publish(services.control, "unet-1", 60)
    services.control.set(keys.worker_metrics("unet-1"), text)
    assert 'swift_steps_total{model="m",process="unet-1"} 3.0' in client.get("/metrics").text


def test_unknown_paths_do_not_make_metrics_of_their_own(client: FlaskClient) -> None:
    client.get("/some/path/to/wonderland")
    client.open("/v1/jobs", method="BREW")
    text = client.get("/metrics").text
    assert "wonderland" not in text
    assert "BREW" not in text
