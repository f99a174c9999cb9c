from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.services import Services
from shared import keys
from shared.metrics import publish
from shared.registry.workers import publish_heartbeat
from shared.webhooks.dispatchers import PREFIX
from shared.webhooks.endpoint import EVENTS
from tests.api.services import heartbeat

MODEL = "emoji-sd"


def samples(client: FlaskClient, family: str) -> list[tuple[dict[str, str], float]]:
    """Labels and values of a metric as a scrape returns it."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return [(sample.labels, sample.value) for one in families if one.name == family for sample in one.samples]


def test_jobs_that_wait_and_run_are_counted_by_model(client: FlaskClient, services: Services) -> None:
    assert ({"model": MODEL}, 0.0) in samples(client, "swift_jobs_waiting")
    ids = [client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"] for _ in range(3)]
    attempt = services.jobs.claim(ids[0], "unet-1")
    assert attempt is not None
    assert samples(client, "swift_jobs_waiting") == [({"model": MODEL}, 2.0)]
    assert samples(client, "swift_jobs_running") == [({"model": MODEL}, 1.0)]
    attempt.end("failed", None, [])
    client.post(f"/v1/jobs/{ids[1]}/cancel")
    client.delete(f"/v1/jobs/{ids[2]}")
    assert samples(client, "swift_jobs_waiting") == [({"model": MODEL}, 0.0)]
    assert samples(client, "swift_jobs_running") == [({"model": MODEL}, 0.0)]


def test_devices_of_live_workers_are_shown(client: FlaskClient, services: Services) -> None:
    worker = heartbeat("unet-1", "unet", MODEL, [])
    report = worker.model_copy(update={"device_free_bytes": 3, "device_total_bytes": 8})
    publish_heartbeat(services.control, report, 60)
    publish_heartbeat(services.control, heartbeat("controlnet-1", "controlnet", "edge", []), 60)
    assert samples(client, "swift_worker_busy_share") == [
        ({"worker": "controlnet-1", "kind": "controlnet"}, 0.5),
        ({"worker": "unet-1", "kind": "unet"}, 0.5),
    ]
    assert samples(client, "swift_worker_device_free_bytes") == [({"worker": "unet-1"}, 3.0)]
    assert samples(client, "swift_worker_device_bytes") == [({"worker": "unet-1"}, 8.0)]


def test_the_time_that_devices_worked_is_shown_by_tenant(client: FlaskClient, services: Services) -> None:
    assert samples(client, "swift_tenant_device_seconds") == []
    services.control.hset(keys.USAGE_SERIES, mapping={"acme": 1500, "_other": 250})
    assert samples(client, "swift_tenant_device_seconds") == [
        ({"tenant": "_other"}, 0.25),
        ({"tenant": "acme"}, 1.5),
    ]


def test_webhook_dispatchers_and_events_that_wait_for_one_are_counted(
    client: FlaskClient, services: Services
) -> None:
    assert samples(client, "swift_webhook_dispatchers") == [({}, 0.0)]
    services.webhooks.create("local", "https://example.com", EVENTS, description="", now=1.0)
    job_id = client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert samples(client, "swift_webhook_events_waiting") == [({}, 1.0)]
    publish(services.control, f"{PREFIX}host-1", 60)
    assert samples(client, "swift_webhook_dispatchers") == [({}, 1.0)]
