"""Jobs, receipts and workers' reports of version 0.1, over REST after an upgrade of the API."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.services import Services
from shared import keys
from shared.jobs.receipt import FORMAT
from shared.keys import LOCAL, control_key
from shared.storage.loras import lora_key
from tests.samples.old_versions import old_receipt, restore, sample

EMOJI = Path("infra/emoji")


@pytest.fixture
def stored(services: Services) -> Services:
    """What the jobs of the samples need in S3, besides their control map."""
    lora = (EMOJI / "loras" / "twemoji.safetensors").read_bytes()
    services.loras.put(lora_key("twemoji", tenant=LOCAL), lora, content_type="application/octet-stream")
    png = (EMOJI / "control" / "2_penguin.png").read_bytes()
    key = control_key(hashlib.sha256(png).hexdigest(), tenant=LOCAL)
    services.images.put(key, png, content_type="image/png")
    return services


def test_a_finished_job_is_read_and_listed(client: FlaskClient, services: Services) -> None:
    record = sample("succeeded_job")
    job_id = restore(services.control, record)
    job = client.get(f"/v1/jobs/{job_id}").json
    assert (job["status"], job["receipt"]["version"]) == ("succeeded", FORMAT)
    was = json.loads(record["receipt"])
    assert job["receipt"]["model_sha256"] == was["model_sha256"]
    assert [one["map_url"] is not None for one in job["controlnets"]] == [True, True]
    assert job["warnings"] == json.loads(record["warnings"])
    assert len(job["timeline"]) == len(json.loads(record["timeline"]))
    [listed] = client.get("/v1/jobs?fields=receipt,request").json["jobs"]
    assert (listed["receipt"], listed["request"]) == (job["receipt"], job["request"])


def test_a_waiting_job_is_read_and_cancelled(client: FlaskClient, services: Services) -> None:
    job_id = restore(services.control, sample("queued_job")["hash"])
    job = client.get(f"/v1/jobs/{job_id}").json
    assert (job["status"], job["queue_position"]) == ("queued", 1)
    assert [one["map_url"] is not None for one in job["controlnets"]] == [True, False]
    assert client.post(f"/v1/jobs/{job_id}/cancel").json["status"] == "cancelled"


def test_the_receipt_of_a_finished_job_is_replayed_as_the_old_version_replayed_it(
    client: FlaskClient, stored: Services
) -> None:
    record = sample("queued_replay")
    wanted = stored.jobs.get(restore(stored.control, record))
    [_, canny] = wanted.spec.controlnets
    receipt = old_receipt(2)
    gone = client.post("/v1/jobs", json={"receipt": receipt})
    assert (gone.status_code, gone.json["field"]) == (410, "receipt.controlnets.1.map")
    # Given the control map, whose content decides nothing here but its name
    stored.images.put(control_key(str(canny.control_map), tenant=LOCAL), b"", content_type="image/png")
    damaged = client.post("/v1/jobs", json={"receipt": receipt})
    assert damaged.json["field"] == "receipt.controlnets.1.map"


@pytest.mark.parametrize("version", [1, 2])
def test_a_receipt_of_an_old_format_becomes_the_job_it_was_written_for(
    version: int, client: FlaskClient, stored: Services
) -> None:
    receipt = old_receipt(version)
    receipt["controlnets"] = receipt["controlnets"][:1]  # canny's map is not in the bucket
    if version == 2:
        edited = client.post("/v1/jobs", json={"receipt": receipt})
        assert (edited.status_code, edited.json["code"]) == (422, "receipt_edited")
        receipt |= {"version": 1, "digest": ""}
    answer = client.post("/v1/jobs", json={"receipt": receipt})
    assert answer.status_code == 202, answer.text
    job = stored.jobs.get(answer.json["id"])
    spec = job.spec.model_dump(mode="json")
    for name in receipt.keys() & spec.keys() - {"controlnets", "loras", "lora_loading"}:
        assert spec[name] == receipt[name], name
    assert job.spec.lora_loading.steps == {lora["name"]: lora["step"] for lora in receipt["loras"]}
    assert job.replays is not None
    assert job.replays.model_sha256 == receipt["model_sha256"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 63}, "receipt.width"),
        ({"model": "sdxl"}, "receipt.model"),
        ({"seeds": [5, 3]}, "receipt.seed"),
        ({"split_steps": [3, 3]}, "receipt.split_steps"),
    ],
    ids=str,
)
def test_errors_point_at_the_fields_of_the_old_format(
    changes: dict[str, Any], field: str, client: FlaskClient, stored: Services
) -> None:
    answer = client.post("/v1/jobs", json={"receipt": old_receipt(1) | changes})
    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_reports_of_old_workers_harm_no_list(client: FlaskClient, services: Services) -> None:
    reports = sample("messages")
    services.control.zadd(keys.WORKERS, {"unet1@old": 1.0})
    services.control.set(keys.worker("unet1@old"), reports["heartbeat"], ex=60)
    services.control.set("swift:holdings:unet1@old", reports["holdings"], ex=60)
    for path in ("/v1/fleet", "/v1/models", "/v1/controlnets", "/metrics"):
        assert client.get(path).status_code == 200
