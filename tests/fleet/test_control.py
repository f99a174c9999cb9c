"""Cancel, refusals, and what people see of the fleet: REST and Flower."""

import time
from typing import Any

import pytest
import requests

from tests.fleet.conftest import Client, control_image
from tests.infra.local.waiting import eventually


def test_a_running_job_stops_within_a_step_and_its_device_is_free(fleet: Client) -> None:
    job_id = fleet.submit(num_inference_steps=200)
    next(event for event in fleet.events(job_id) if event[1] == "progress")
    assert fleet.cancel(job_id).status_code == 202
    job = fleet.wait(job_id)
    assert job["status"] == "cancelled"
    assert job["progress"]["step"] < 200
    assert fleet.generate()["status"] == "succeeded"


def test_a_queued_job_is_cancelled_at_once(fleet: Client) -> None:
    running = fleet.submit(num_inference_steps=200)
    queued = fleet.submit()
    assert fleet.cancel(queued).json()["status"] == "cancelled"
    fleet.cancel(running)
    assert fleet.wait(running)["status"] == "cancelled"
    assert fleet.job(queued)["images"] == []


@pytest.mark.parametrize(
    ("changes", "status", "field", "told"),
    [
        ({"model": "sdxl"}, 422, "model", "emoji-sd"),
        ({"scheduler": "fast"}, 422, "scheduler", "ddim"),
        ({"loras": [{"name": "nobody"}]}, 422, "loras.0.name", "nobody"),
        ({"controlnets": [control_image("depth")]}, 422, "controlnets.0.name", "edge"),
        ({"controlnets": [control_image("tiny-controlnet")]}, 422, "controlnets.0.name", "tiny"),
        ({"controlnets": [{"name": "edge", "image": "AAAA"}]}, 422, "controlnets.0.image", "image"),
        ({"width": 65}, 422, "width", "8"),
        ({"num_inference_steps": 5_000}, 422, "num_inference_steps", "200"),
        ({"colour": "red"}, 422, "colour", "unknown field"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_is_a_problem_that_names_its_field(
    fleet: Client, changes: dict[str, Any], status: int, field: str, told: str
) -> None:
    answer = fleet.post({"prompt": "a cat", **changes})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    fields = [problem.get("field"), *(error["field"] for error in problem.get("errors", []))]
    assert field in fields
    assert told in answer.text


def test_a_repeated_idempotency_key_generates_once(fleet: Client) -> None:
    first = fleet.post({"prompt": "a cat"}, **{"Idempotency-Key": "once"}).json()
    again = fleet.post({"prompt": "a cat"}, **{"Idempotency-Key": "once"}).json()
    assert first["id"] == again["id"]
    assert fleet.post({"prompt": "a dog"}, **{"Idempotency-Key": "once"}).status_code == 409


def test_the_fleet_view_knows_both_kinds_of_worker(fleet: Client) -> None:
    workers = fleet.get("/v1/fleet").json()["workers"]
    assert {worker["kind"] for worker in workers} == {"unet", "controlnet"}
    assert {worker["device"] for worker in workers} == {"cpu"}


def test_a_whole_fleet_is_ready_with_every_server_and_role(fleet: Client) -> None:
    ready = fleet.get("/readyz")
    assert ready.status_code == 200, ready.text
    servers = ["control_redis", "residual_redis", "lora_bucket", "image_bucket"]
    assert ready.json()["checks"] == dict.fromkeys([*servers, "unet_workers", "controlnet_workers"], "ok")


def test_metrics_of_every_process_are_on_one_page(fleet: Client) -> None:
    fleet.generate(controlnets=[control_image()])
    deadline = time.monotonic() + 20
    wanted = (
        "swift_controlnet_steps_total{",
        "swift_step_duration_seconds_count{",
        "swift_jobs_submitted_total{",
    )
    while not all(name in (text := fleet.get("/metrics").text) for name in wanted):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    assert 'process="unet1@' in text
    assert 'process="controlnet' in text


def test_flower_knows_the_workers_and_the_tasks(fleet: Client) -> None:
    fleet.generate(controlnets=[control_image()])
    flower = fleet.stack.flower_url
    login = (fleet.stack.env["FLOWER_USER"], fleet.stack.env["FLOWER_PASSWORD"])
    workers = requests.get(f"{flower}/api/workers", auth=login, timeout=30).json()
    known = {name.split("@")[0] for name in workers}  # those that other tests have stopped as well
    assert {"unet1", "controlnet1", "controlnet2"} <= known
    # And what each device does, as a worker's page shows it. Where a worker answers late, or Flower's
    # connections were lost with their server, a refresh shows what was known before: of one that was killed.
    shares: dict[str, float] = {}

    def is_refreshed() -> bool:
        answer = requests.get(f"{flower}/api/workers", params={"refresh": "true"}, auth=login, timeout=30)
        found = next(worker for name, worker in answer.json().items() if name.startswith("unet1@"))
        stats = found.get("stats", {})
        shares.update(stats.get("activity_shares", {}))
        return stats.get("activity") in {"generate", "follow", "serve", "idle"} and shares["generate"] > 0

    eventually(is_refreshed, 30)
    assert shares["generate"] <= 1
    deadline = time.monotonic() + 20
    done: set[str] = set()
    while not {"unet.generate", "controlnet.attach"} <= done:
        assert time.monotonic() < deadline, done
        tasks = requests.get(f"{flower}/api/tasks", auth=login, timeout=30).json()
        done = {task["name"] for task in tasks.values() if task["state"] == "SUCCESS"}
        time.sleep(0.1)
