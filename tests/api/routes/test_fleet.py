import json
import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared import keys
from shared.messaging.celery_app import encode_queue, follow_queue
from shared.registry.lora_inventory import LoraInventory, publish_disk_cache, publish_inventory
from shared.registry.workers import live_workers, publish_heartbeat
from tests.api.services import heartbeat


def test_the_fleet_lists_live_workers_queues_and_job_counts(client: FlaskClient, services: Services) -> None:
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "emoji-sd", []), 10)
    publish_heartbeat(services.control, heartbeat("dead", "unet", "emoji-sd", []), 0.001)
    ids = [client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"] for _ in range(3)]
    client.post(f"/v1/jobs/{ids[0]}/cancel")
    services.control.rpush(follow_queue("emoji-sd"), "a message")
    services.control.rpush(encode_queue("emoji-sd"), "a message", "another")
    fleet = client.get("/v1/fleet").json
    services.control.delete(follow_queue("emoji-sd"), encode_queue("emoji-sd"))
    assert [worker["name"] for worker in fleet["workers"]] == ["unet-1"]
    assert fleet["queues"] == {
        "unet.emoji-sd": 3,
        "follow.emoji-sd": 1,
        "encode.emoji-sd": 2,
        "controlnet.edge": 0,
        "controlnet.colour": 0,
    }
    assert fleet["queued_steps"] == {"edge": 0, "colour": 0}
    assert fleet["jobs"] == {"queued": 2, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 1}


def test_the_fleet_lists_the_loras_that_workers_and_hosts_hold(
    client: FlaskClient, services: Services
) -> None:
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "emoji-sd", []), 10)
    inventory = LoraInventory(
        worker="unet-1", host="here", serves=["emoji-sd"], loaded=[], patched=[], memory=["emoji-sd@x"]
    )
    publish_inventory(services.control, inventory, 10)
    publish_disk_cache(services.control, "here", ["y", "x"], 10)
    fleet = client.get("/v1/fleet").json
    assert fleet["lora_inventory"] == [inventory.model_dump()]
    assert fleet["lora_disk_cache"] == {"here": ["x", "y"]}


def test_a_worker_that_is_slower_than_it_could_be_says_so_and_takes_work(
    client: FlaskClient, services: Services
) -> None:
    slow = heartbeat("controlnet-1", "controlnet", "edge", ["edge"])
    slow = slow.model_copy(update={"warnings": ["shared memory is too small"]})
    publish_heartbeat(services.control, slow, 10)
    [worker] = client.get("/v1/fleet").json["workers"]
    assert worker["warnings"] == ["shared memory is too small"]
    assert slow.takes_work_for("controlnet", "edge")


def test_the_fleet_lists_attached_jobs_and_queued_steps_of_controlnets(
    client: FlaskClient, services: Services
) -> None:
    publish_heartbeat(
        services.control,
        heartbeat("controlnet-1", "controlnet", "edge", ["edge"], attached_jobs={"edge": ["j"]}),
        10,
    )
    services.residuals[0].rpush(keys.controlnet_steps("edge"), "a ticket", "another")
    fleet = client.get("/v1/fleet").json
    services.residuals[0].delete(keys.controlnet_steps("edge"))
    assert fleet["workers"][0]["attached_jobs"] == {"edge": ["j"]}
    assert fleet["queued_steps"] == {"edge": 2, "colour": 0}


def test_the_fleet_shows_which_backend_each_pair_of_workers_uses(
    client: FlaskClient, services: Services
) -> None:
    received = {"controlnet-1": {"cuda_ipc": 240, "inline": 20}, "controlnet-2": {"redis": 9}}
    own = heartbeat("unet-1", "unet", "emoji-sd", []).model_copy(update={"received_residuals": received})
    publish_heartbeat(services.control, own, 10)
    workers = {worker["name"]: worker for worker in client.get("/v1/fleet").json["workers"]}
    assert workers["unet-1"]["received_residuals"] == received


def test_the_fleet_is_shown_while_the_residual_redis_is_down(services: Services) -> None:
    away = type(services.control).from_url("redis://127.0.0.1:1/0")
    client = create_app(replace(services, residuals=[away])).test_client()
    assert client.get("/v1/fleet").json["queued_steps"] is None


@pytest.mark.parametrize("garbage", ["", "no JSON", "[]", '{"name": "unet-2"}'])
def test_an_unreadable_report_of_one_worker_hides_no_other(
    garbage: str, client: FlaskClient, services: Services
) -> None:
    # Given a whole report, one of a newer version, and garbage, as heartbeats, LoRAs and metrics
    newer = heartbeat("unet-1", "unet", "emoji-sd", []).model_dump() | {"newer": 1}
    publish_heartbeat(services.control, heartbeat("unet-0", "unet", "emoji-sd", []), 10)
    for name, report in (("unet-1", json.dumps(newer)), ("unet-2", garbage)):
        services.control.set(keys.worker(name), report)
        services.control.zadd(keys.WORKERS, {name: 1})
        services.control.set(keys.lora_inventory(name), garbage)
        services.control.set(keys.worker_metrics(name), 'metric{broken="')
        services.control.zadd(keys.PUBLISHERS, {name: 4e9})
    assert [worker["name"] for worker in client.get("/v1/fleet").json["workers"]] == ["unet-0", "unet-1"]
    assert client.get("/metrics").status_code == 200
    assert client.get("/v1/models").status_code == 200


def test_a_worker_with_a_wrong_clock_removes_no_other_from_the_list(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "emoji-sd", []), 10)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 7200)
    publish_heartbeat(services.control, heartbeat("unet-2", "unet", "emoji-sd", []), 10)
    assert [report.name for report in live_workers(services.control)] == ["unet-1", "unet-2"]
