import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.catalog.entries import Catalog, ModelEntry
from shared.jobs.attempt import Attempt
from shared.jobs.record import Failure, JobScheduling
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.messaging.celery_app import unet_queue
from shared.registry.workers import publish_heartbeat
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from tests.api.services import heartbeat
from tests.infra.local.waiting import eventually
from tests.shared.jobs.records import damage
from tests.workers.unet.specs import spec
from workers.unet.maintenance.recovery import Recovery, recover
from workers.unet.maintenance.unacked import HELD_S, UNACKED, UNACKED_INDEX

CATALOG = Catalog(default_model="emoji-sd", models={"emoji-sd": ModelEntry(source="hub:x/y")})
GRACE_S = 300.0
CONTROLNET = {
    "name": "old",
    "image": "0" * 64,
    "conditioning_scale": 1.0,
    "guidance_start": 0.0,
    "guidance_end": 1.0,
}


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushall()
    return JobStore(control, servers)


@pytest.fixture
def queue(control: Redis, servers: Settings) -> FairQueue:
    """Of a fleet with more workers than any test has jobs: nothing is held."""
    found = FairQueue(control, servers)
    for n in range(9):
        found.serve(f"busy{n}@test", ["emoji-sd", "elsewhere"], GRACE_S)
    return found


def recover_now(queue: FairQueue, jobs: JobStore) -> None:
    jobs.redis.delete(keys.RECOVERY)  # as if some seconds had passed
    recover(queue, jobs, CATALOG, GRACE_S, settled_s=0.0)


def in_queue(control: Redis) -> list[str]:
    messages: Any = control.lrange(unet_queue("emoji-sd"), 0, -1)
    return [json.loads(text)["headers"]["id"] for text in messages]


def accept(jobs: JobStore) -> str:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    jobs.redis.zrem(keys.UNSENT, job_id)
    return job_id


def claim(jobs: JobStore, job_id: str) -> Attempt:
    attempt = jobs.claim(job_id, "unet1@test")
    assert attempt is not None
    return attempt


def lose(jobs: JobStore, job_id: str) -> None:
    """As if its worker had died, and its lease had expired."""
    claim(jobs, job_id)
    jobs.redis.delete(keys.lease(job_id))


def test_a_message_that_was_lost_with_its_worker_is_sent_again(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    # Given two accepted jobs, of which one message was popped by a worker that died
    kept, lost = accept(jobs), accept(jobs)
    recover_now(queue, jobs)
    assert sorted(in_queue(control)) == sorted([kept, lost])
    control.ltrim(unet_queue("emoji-sd"), 0, 0)
    [still] = in_queue(control)
    # When a worker recovers, then the other is sent again, once
    recover_now(queue, jobs)
    recover_now(queue, jobs)
    assert sorted(in_queue(control)) == sorted([kept, lost])
    assert still in (kept, lost)


def test_jobs_that_lost_their_worker_come_before_those_that_wait(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    lost = [accept(jobs) for _ in range(3)]
    waiting = accept(jobs)
    queue.place(waiting, "emoji-sd")
    for job_id in lost:
        lose(jobs, job_id)
    recover_now(queue, jobs)
    # Then workers, which take from the right, take the oldest first
    assert in_queue(control)[::-1] == [*lost, waiting]


def test_a_job_that_keeps_losing_its_workers_comes_after_those_that_wait(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    killing, broken, moved, waiting = (accept(jobs) for _ in range(4))
    queue.place(waiting, "emoji-sd")
    # Given a job that has lost a worker already, one that has lost a device, and one that was handed over
    lose(jobs, killing)
    jobs.orphans()
    lost_device = Failure(code="device_lost", detail="lost")
    claim(jobs, broken).requeue(lost_device, is_infrastructure=True)
    for _ in range(2):
        claim(jobs, moved).hand_over()
    # When each loses its worker
    for job_id in (killing, broken, moved):
        lose(jobs, job_id)
    recover_now(queue, jobs)
    # Then only the latter is put before others
    assert in_queue(control)[::-1] == [moved, waiting, killing, broken]


def test_jobs_that_no_worker_had_begun_come_after_those_that_wait(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    never_sent = [accept(jobs) for _ in range(2)]
    control.zadd(keys.UNSENT, dict.fromkeys(never_sent, 0))
    waiting = accept(jobs)
    queue.place(waiting, "emoji-sd")
    recover_now(queue, jobs)
    assert in_queue(control)[::-1] == [waiting, *never_sent]


def test_a_job_that_is_held_is_not_lost(jobs: JobStore, control: Redis, servers: Settings) -> None:
    # Given a fleet of one worker, and a job that is held behind another one
    queue = FairQueue(control, servers)
    released, held = accept(jobs), accept(jobs)
    for job_id in (released, held):
        queue.place(job_id, "emoji-sd")
    recover_now(queue, jobs)
    assert in_queue(control) == [released]
    # When the message of the first is lost, then it alone is placed anew, behind the other one
    control.delete(unet_queue("emoji-sd"))
    recover_now(queue, jobs)
    recover_now(queue, jobs)
    assert in_queue(control) == [held]
    assert queue.heal_held([released, held]) == {held}


def hold_copies(control: Redis, job_id: str, count: int) -> None:
    """Have so many jobs be held as ``job_id`` is, of 200 tenants."""
    record: Any = control.hgetall(keys.job(job_id))
    pipe = control.pipeline(transaction=False)
    for n in range(count):
        copy, tenant = f"{n:016x}", f"t{n % 200}"
        pipe.hset(keys.job(copy), mapping={**record, "id": copy, "tenant": tenant})
        pipe.zadd(keys.by_status("queued"), {copy: record["created_at"]})
        pipe.zadd(keys.held("emoji-sd", tenant), {copy: record["order"]})
    pipe.execute()


def commands(control: Redis) -> int:
    stats: Any = control.info("commandstats")
    return sum(one["calls"] for one in stats.values())


def test_recovery_takes_as_many_commands_whatever_is_held(
    jobs: JobStore, control: Redis, servers: Settings
) -> None:
    # Given a fleet of one worker, and a job that is held behind another one
    queue, cost = FairQueue(control, servers), {}
    released, held = accept(jobs), accept(jobs)
    for job_id in (released, held):
        queue.place(job_id, "emoji-sd")
    for count in (10, 1000, 10_000):
        hold_copies(control, held, count)
        recover_now(queue, jobs)
        before = commands(control)
        recover_now(queue, jobs)
        cost[count] = commands(control) - before
    # Then what it costs does not grow with what is held: a part of it is read each time
    print(cost)
    assert cost[10] < cost[1000]
    assert cost[10_000] < 1.2 * cost[1000]
    # And a message that is lost is missed at once
    control.delete(unet_queue("emoji-sd"))
    recover_now(queue, jobs)
    assert released in in_queue(control) or control.zscore(keys.held("emoji-sd", LOCAL), released)
    assert control.llen(unet_queue("emoji-sd")) == 1


def test_a_queued_job_that_no_script_knows_is_found_in_its_portion(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    # Given a job that another version has released, or that was taken off its list by hand
    job_id = accept(jobs)
    queue.place(job_id, "emoji-sd")
    control.delete(unet_queue("emoji-sd"), keys.UNCLAIMED)
    recover_now(queue, jobs)
    assert in_queue(control) == [job_id]
    # When a worker of such a version begins it, then recovery forgets it by itself
    claim(jobs, job_id)
    control.zadd(keys.UNCLAIMED, {job_id: 1})
    recover_now(queue, jobs)
    assert control.exists(keys.UNCLAIMED) == 0


def test_a_job_whose_deadline_has_passed_is_failed(jobs: JobStore, queue: FairQueue, control: Redis) -> None:
    late, _ = jobs.create(spec(), scheduling=JobScheduling(deadline_s=0.001), tenant=LOCAL)
    other, _ = jobs.create(spec(), scheduling=JobScheduling(deadline_s=600), tenant=LOCAL)
    for job_id in (late, other):
        queue.place(job_id, "emoji-sd")
    eventually(lambda: jobs.past_deadline() == [late])
    recover_now(queue, jobs)
    job = jobs.get(late)
    assert (job.status, job.error and job.error.code) == ("failed", "deadline_passed")
    assert jobs.get(other).status == "queued"
    assert jobs.past_deadline() == []


def test_a_message_that_a_worker_holds_is_not_lost(jobs: JobStore, queue: FairQueue, control: Redis) -> None:
    job_id = accept(jobs)
    recover_now(queue, jobs)
    message = control.lpop(unet_queue("emoji-sd"))
    assert isinstance(message, str)
    control.hset(UNACKED, "tag", json.dumps([json.loads(message), "exchange", "key"]))
    control.zadd(UNACKED_INDEX, {"tag": time.time() - 3600})  # by the clock of that worker
    recover_now(queue, jobs)
    assert in_queue(control) == []
    # But not for ever: a worker that holds it without starting it has died
    control.zincrby(keys.MESSAGES_SEEN, -HELD_S - 1, "tag")
    recover_now(queue, jobs)
    assert in_queue(control) == [job_id]
    assert jobs.get(job_id).status == "queued"


def test_a_job_whose_worker_died_is_queued_again(jobs: JobStore, queue: FairQueue, control: Redis) -> None:
    job_id = accept(jobs)
    assert jobs.claim(job_id, "unet1@test") is not None
    recover_now(queue, jobs)
    assert in_queue(control) == []
    control.delete(keys.lease(job_id))
    recover_now(queue, jobs)
    assert in_queue(control) == [job_id]
    assert jobs.get(job_id).status == "queued"


def test_a_job_that_expired_in_the_queue_is_forgotten(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    control.zadd(keys.UNSENT, {job_id: 0})
    control.delete(keys.job(job_id))
    recover_now(queue, jobs)
    assert in_queue(control) == []
    assert control.zscore(keys.UNSENT, job_id) is None


def age(control: Redis, job_id: str, seconds: float) -> None:
    """As if recovery had first seen so long ago that nothing can run the job."""
    control.zincrby(keys.UNRUNNABLE, -seconds, job_id)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "old"}, "model_gone"),
        ({"controlnets": [CONTROLNET]}, "controlnet_gone"),
        ({"scheduler": "old"}, "scheduler_gone"),
    ],
)
@pytest.mark.parametrize("has_message", [True, False])
def test_a_job_whose_names_left_every_catalog_is_failed_and_not_sent_again(
    changes: dict[str, Any], code: str, has_message: bool, jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    job_id, _ = jobs.create(spec(**changes), tenant=LOCAL)
    name = unet_queue(jobs.get(job_id).spec.model)
    if has_message:
        queue.place(job_id, jobs.get(job_id).spec.model)
    before = control.llen(name)
    # A new catalog is being rolled out, perhaps: the job is given time
    for _ in range(3):
        recover_now(queue, jobs)
    assert (jobs.get(job_id).status, control.llen(name)) == ("queued", before)
    age(control, job_id, GRACE_S)
    recover_now(queue, jobs)
    job = jobs.get(job_id)
    assert (job.status, job.error and job.error.code) == ("failed", code)
    assert control.llen(name) == before


def test_a_job_that_another_live_worker_serves_is_not_failed(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    job_id, _ = jobs.create(spec(model="elsewhere"), tenant=LOCAL)
    recover_now(queue, jobs)
    age(control, job_id, GRACE_S)
    publish_heartbeat(control, heartbeat("unet2@test", "unet", "elsewhere", []), 60)
    recover_now(queue, jobs)
    assert jobs.get(job_id).status == "queued"
    assert control.zscore(keys.UNRUNNABLE, job_id) is None
    # And its time begins anew when that worker is gone
    control.delete(keys.worker("unet2@test"))
    recover_now(queue, jobs)
    assert jobs.get(job_id).status == "queued"


def test_a_message_in_the_queue_of_a_model_that_others_serve_is_not_sent_twice(
    jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    publish_heartbeat(control, heartbeat("unet2@test", "unet", "elsewhere", []), 60)
    job_id, _ = jobs.create(spec(model="elsewhere"), tenant=LOCAL)
    queue.place(job_id, "elsewhere")
    recover_now(queue, jobs)
    assert control.llen(unet_queue("elsewhere")) == 1


@pytest.mark.parametrize("garbage", ["no message", "[]", "3", '{"headers": []}', "[" * 5000])
def test_garbage_among_the_messages_keeps_no_job_waiting(
    garbage: str, jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    job_id = accept(jobs)
    control.rpush(unet_queue("emoji-sd"), garbage)
    control.hset(UNACKED, "tag", garbage)
    control.zadd(UNACKED_INDEX, {"tag": 1})
    control.set(keys.worker("bad@test"), garbage)
    control.zadd(keys.WORKERS, {"bad@test": 1})
    recover_now(queue, jobs)
    messages: Any = control.lrange(unet_queue("emoji-sd"), 0, -1)
    assert [text for text in messages if job_id in text]


@pytest.mark.parametrize("how", ["spec is x", "a string in its place"])
def test_a_damaged_job_is_failed_and_keeps_no_other_waiting(
    how: str, jobs: JobStore, queue: FairQueue, control: Redis
) -> None:
    bad, good = accept(jobs), accept(jobs)
    damage(control, bad, how)
    recover_now(queue, jobs)
    assert in_queue(control) == [good]
    age(control, bad, GRACE_S)
    recover_now(queue, jobs)
    assert control.zscore(keys.by_status("queued"), bad) is None
    if how == "spec is x":
        assert json.loads(str(control.hget(keys.job(bad), "error")))["code"] == "job_unreadable"


def test_expired_leases_are_looked_for_by_one_worker_at_a_time(
    queue: FairQueue, jobs: JobStore, control: Redis, servers: Settings
) -> None:
    workers = [Recovery(jobs, CATALOG, servers) for _ in range(2)]
    # Given a job whose worker died just after somebody has looked
    workers[0].recover_in_turn()
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    assert jobs.claim(job_id, "unet1@test") is not None
    control.delete(keys.lease(job_id))
    control.set(keys.LEASES_CHECKED, 1, px=60_000)
    # Then another one does not look again at once, and does in the next turn
    workers[1].recover_in_turn()
    assert jobs.get(job_id).status == "running"
    control.delete(keys.LEASES_CHECKED)
    workers[1].recover_in_turn()
    assert jobs.get(job_id).status == "queued"
    assert in_queue(control) == [job_id]


def test_the_job_of_a_process_that_is_killed_is_queued_again(
    queue: FairQueue, jobs: JobStore, control: Redis, servers: Settings
) -> None:
    # Given a process that keeps the lease of its job, with the settings of an operator who turned nothing
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    jobs.redis.zrem(keys.UNSENT, job_id)
    env = {
        **os.environ,
        "SWIFT_REDIS_URL": servers.redis_url,
        "SWIFT_RESIDUAL_REDIS_URL": "redis://127.0.0.1:1",
    }
    command = [sys.executable, "-m", "tests.workers.unet.maintenance.claimant", job_id]
    recovery = Recovery(jobs, CATALOG, servers)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        recovery.start()
        try:
            # When it is killed, then another worker notices
            process.kill()
            killed_at = time.monotonic()
            eventually(lambda: in_queue(control) == [job_id])
            print(f"noticed after {time.monotonic() - killed_at:.1f} s")
        finally:
            recovery.stop()
    assert jobs.get(job_id).status == "queued"
