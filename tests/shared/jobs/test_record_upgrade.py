"""Records and receipts of version 0.1 after an upgrade: they are read, run and ended as those of today."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from shared import keys
from shared.errors import JobUnreadable
from shared.jobs.legacy_receipt import LegacyReceipt
from shared.jobs.receipt import FORMAT
from shared.jobs.record import RECORD_VERSION
from shared.jobs.store import JobStore
from shared.settings import Settings
from tests.samples.old_versions import old_receipt, restore, sample


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushdb()
    return JobStore(control, servers)


def test_a_queued_job_of_the_old_version_is_claimed_as_it_was_stored(jobs: JobStore, control: Redis) -> None:
    record = sample("queued_job")["hash"]
    attempt = jobs.claim(restore(control, record), "w")
    assert attempt is not None
    assert attempt.job.version < RECORD_VERSION
    stored = json.loads(record["spec"])
    read = attempt.job.spec.model_dump(mode="json")
    for controlnet in (*stored["controlnets"], *read["controlnets"]):
        controlnet["map"] = controlnet.pop("control_map", controlnet.get("map"))
    assert [controlnet.pop("control_range") for controlnet in read["controlnets"]] == [None, None]
    later = {name: read.pop(name) for name in read.keys() - stored.keys()}
    assert read == stored
    assert later == {
        "output_format": "png",
        "output_quality": None,
        "prompt_syntax": "plain",
        **dict.fromkeys(("prompt_3", "negative_prompt_3", "true_cfg_scale", "max_sequence_length")),
        "shift": None,
        "mu": None,
        "cfg_normalization": 0.0,
        "cfg_truncation": 1.0,
    }


def test_a_control_map_of_the_old_version_is_kept(jobs: JobStore, control: Redis) -> None:
    record = sample("queued_replay")
    job = jobs.get(restore(control, record))
    maps = [controlnet["map"] for controlnet in json.loads(record["spec"])["controlnets"]]
    assert None not in maps
    assert [controlnet.control_map for controlnet in job.spec.controlnets] == maps
    assert job.replays is not None
    assert [controlnet.control_map for controlnet in job.replays.spec.controlnets] == maps


def test_a_finished_job_of_the_old_version_is_read_with_its_receipt(jobs: JobStore, control: Redis) -> None:
    record = sample("succeeded_job")
    job = jobs.get(restore(control, record))
    assert jobs.page()[0] == [job]
    receipt = job.receipt
    assert receipt is not None
    was = json.loads(record["receipt"])
    assert (was["version"], receipt.version) == (2, FORMAT)
    assert not receipt.is_edited()
    assert receipt.model_sha256 == was["model_sha256"]
    assert [lora.model_dump() for lora in receipt.loras] == [
        {name: lora[name] for name in ("name", "sha256", "step")} for lora in was["loras"]
    ]
    assert receipt.worker.model_dump(exclude_defaults=True) == {
        name: was[name] for name in ("device", "threads", "dtype", "versions")
    }
    assert [span.model_dump(exclude_none=True) for span in job.timeline] == json.loads(record["timeline"])


@pytest.mark.parametrize("version", [1, 2])
def test_a_receipt_of_an_old_format_loses_nothing_when_it_is_upgraded(version: int) -> None:
    was = old_receipt(version)
    flat = LegacyReceipt.model_validate(was)
    assert (flat.version, flat.is_edited()) == (version, False)
    receipt = flat.upgraded()
    for name in was.keys() & receipt.spec.model_dump().keys() - {"controlnets", "loras"}:
        assert receipt.spec.model_dump(mode="json")[name] == was[name], name
    assert [(one.image, one.control_map) for one in receipt.spec.controlnets] == [
        (one["image"], one.get("map")) for one in was["controlnets"]
    ]
    assert [one.sha256 for one in receipt.controlnets] == [one["sha256"] for one in was["controlnets"]]


@pytest.mark.parametrize(
    "edit",
    [
        {"seed": 8},
        {"controlnets": []},
        {"digest": ""},
        {"version": 1},
        {"assistant": {"device": "cpu", "threads": 2, "dtype": "float32", "versions": {}}},
    ],
    ids=str,
)
def test_an_edited_receipt_of_the_second_format_is_found(edit: dict[str, Any]) -> None:
    assert LegacyReceipt.model_validate(old_receipt(2) | edit).is_edited()


def test_a_receipt_of_the_present_format_is_no_flat_one() -> None:
    with pytest.raises(ValidationError):
        LegacyReceipt.model_validate(old_receipt(2) | {"version": FORMAT})


def test_an_old_record_that_cannot_be_converted_is_reported_and_ends_with_the_reason(
    jobs: JobStore, control: Redis
) -> None:
    record = sample("queued_replay")
    replays = json.loads(record["replays"])
    del replays["model_sha256"]
    job_id = restore(control, record | {"replays": json.dumps(replays)})
    with pytest.raises(JobUnreadable, match="model_sha256"):
        jobs.get(job_id)
    assert jobs.claim(job_id, "w") is None
    assert "model_sha256" in str(control.hget(keys.job(job_id), "error"))
