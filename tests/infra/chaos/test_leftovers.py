"""What is left over in Redis and in `SWIFT_HOME` is found and named; keys that must stay are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from infra.chaos.interruptions import read_events, running_jobs
from infra.chaos.leftovers import LEFTOVERS
from infra.chaos.resources import ResourceLog
from infra.chaos.target import Target
from infra.local.stack import Stack
from shared import keys
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from tests.workers.unet.specs import spec
from workers.lora.cache.directory import PARTIAL_SUFFIX
from workers.transport.keys import checkpoint_key


@pytest.fixture
def target(control: Redis, residual: Redis, servers: Settings, tmp_path: Path) -> Iterator[Target]:
    control.flushall()
    residual.flushall()
    (tmp_path / "pids").mkdir()
    env = {
        "SWIFT_REDIS_URL": servers.redis_url,
        "SWIFT_RESIDUAL_REDIS_URL": servers.residual_redis_url[0],
    }
    yield Target(Stack(home=tmp_path, env=env), servers, has_own_disk=False)
    residual.flushall()


def left(target: Target, *names: str) -> list[str]:
    return [found for name in names if (found := LEFTOVERS[name](target))]


def test_a_job_that_has_ended_leaves_nothing(target: Target, servers: Settings, control: Redis) -> None:
    jobs = JobStore(control, servers)
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    jobs.redis.zrem(keys.UNSENT, job_id)
    attempt = jobs.claim(job_id, "unet1@host")
    assert attempt is not None
    assert running_jobs(target.control, "unet1") == [job_id]
    assert left(target, "leases") == [keys.lease(job_id)]
    attempt.end("cancelled", None, [])
    assert left(target, "leases", "unsent jobs", "messages", "keys", "steps", "checkpoints") == []
    events = read_events(target.control, job_id)
    assert [event.status for event in events] == ["queued", "running", "cancelled"]


def test_what_lies_in_redis_for_nobody_is_named(target: Target, control: Redis, residual: Redis) -> None:
    job_id, _ = JobStore(control, target.settings).create(spec(), tenant=LOCAL)
    control.set("swift:forgotten", 1)
    residual.rpush(keys.controlnet_steps("edge"), "step")
    residual.hset(checkpoint_key(job_id), "frame", "state")
    assert left(target, "unsent jobs") == [job_id]
    [named] = left(target, "keys")
    assert named.startswith("3 keys that never expire")
    assert "swift:forgotten" in named
    assert left(target, "steps") == [f"1 in {keys.controlnet_steps('edge')}"]
    assert left(target, "checkpoints")


def test_a_file_that_was_not_finished_is_named(target: Target) -> None:
    loras = target.stack.home / "loras"
    loras.mkdir()
    (loras / "whole.safetensors").touch()
    assert left(target, "files") == []
    (loras / f"part{PARTIAL_SUFFIX}").touch()
    assert "1 unfinished files" in left(target, "files")[0]


def test_a_sample_counts_jobs_and_keys(target: Target, control: Redis) -> None:
    JobStore(control, target.settings).create(spec(), tenant=LOCAL)
    sample = ResourceLog(target).take()
    assert sample is not None
    assert sample.jobs["queued"] == 1
    assert sample.counts["control keys"] > 0
    assert sample.counts["processes"] == 0
