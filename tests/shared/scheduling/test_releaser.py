"""A worker takes a job next whose LoRAs it has in its weights, of those that its tenant has waiting."""

from collections import Counter

import pytest
from redis import Redis

from shared import keys
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from tests.shared.scheduling.held_jobs import MODEL, HeldJobs

PASSED, PASSED_S = 32, 30


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> HeldJobs:
    control.flushall()
    return HeldJobs(control, FairQueue(control, servers))


def test_a_held_job_with_the_loras_comes_next_and_the_others_keep_their_order(jobs: HeldJobs) -> None:
    first, second, same, last = (jobs.submit(loras=[name]) for name in ("x", "y", "z", "x"))
    assert jobs.waiting() == [first]
    assert jobs.queue.prefer(MODEL, ["z"])
    assert jobs.waiting() == [same]
    assert jobs.queue.heal_held([first, second, last]) == set()
    assert jobs.take_all() == [same, first, second, last]


def test_a_released_job_with_the_loras_changes_places_with_the_next_one(jobs: HeldJobs) -> None:
    jobs.serve(3)
    first, other, same, held = (jobs.submit(loras=[name]) for name in ("x", "y", "z", "z"))
    assert jobs.queue.prefer(MODEL, ["z", "unused"])
    assert jobs.waiting() == [same, other, first]
    assert jobs.take_all() == [same, other, first, held]


def test_the_order_stays_while_nothing_is_held(jobs: HeldJobs) -> None:
    jobs.serve(2)
    submitted = [jobs.submit(loras=[name]) for name in ("x", "z")]
    assert not jobs.queue.prefer(MODEL, ["z"])
    assert jobs.waiting() == submitted


@pytest.mark.parametrize("wanted", [["z"], ["y", "z"]])
def test_the_order_stays_if_the_next_job_has_the_loras(wanted: list[str], jobs: HeldJobs) -> None:
    submitted = [jobs.submit(loras=loras) for loras in (wanted, ["z"], ["z"])]
    assert not jobs.queue.prefer(MODEL, ["y", "z"])
    assert jobs.take_all() == submitted


def test_a_job_with_a_lora_more_or_with_none_is_not_preferred(jobs: HeldJobs) -> None:
    submitted = [jobs.submit(loras=loras) for loras in (["x"], ["x", "z"], [])]
    assert not jobs.queue.prefer(MODEL, ["z"])
    assert jobs.take_all() == submitted


def test_no_job_of_another_tenant_or_priority_is_preferred(jobs: HeldJobs) -> None:
    first = jobs.submit("a", loras=["x"])
    jobs.submit("b", loras=["z"])
    jobs.submit("a", loras=["z"], priority="batch")
    assert not jobs.queue.prefer(MODEL, ["z"])
    assert jobs.waiting() == [first]


def test_a_job_is_not_passed_by_one_that_was_accepted_much_later(jobs: HeldJobs) -> None:
    first, same = jobs.submit(loras=["x"]), jobs.submit(loras=["z"])
    jobs.redis.hincrbyfloat(keys.job(first), "order", -PASSED_S - 1)
    assert not jobs.queue.prefer(MODEL, ["z"])
    assert jobs.take_all() == [first, same]


def test_a_job_passes_a_few_others_at_most(jobs: HeldJobs) -> None:
    submitted = [jobs.submit(loras=["x"]) for _ in range(PASSED + 1)]
    submitted.append(jobs.submit(loras=["z"]))
    assert not jobs.queue.prefer(MODEL, ["z"])
    assert jobs.take() == submitted[0]
    assert jobs.queue.prefer(MODEL, ["z"])
    assert jobs.take() == submitted[-1]


def test_a_job_that_has_begun_is_not_passed(jobs: HeldJobs) -> None:
    first = jobs.submit(loras=["x"])
    assert jobs.take() == first
    for _ in range(2):
        jobs.submit(loras=["z"])
    jobs.redis.hset(keys.job(first), "attempts", 1)
    jobs.queue.send(first, MODEL, "first")
    assert not jobs.queue.prefer(MODEL, ["z"])
    assert jobs.take() == first


def test_tenants_get_their_shares_whatever_is_preferred(jobs: HeldJobs) -> None:
    jobs.serve(4)
    jobs.set_share("b", weight=2)
    of = {
        jobs.submit(tenant, loras=[f"{tenant}{n % 3}"], cost_s=1 + n % 2): tenant
        for n in range(120)
        for tenant in ("a", "b")
    }
    counts: Counter[str] = Counter()
    for n in range(90):
        jobs.queue.prefer(MODEL, [f"a{n % 3}", f"b{n % 3}"])
        job_id = jobs.take()
        assert job_id is not None
        counts[of[job_id]] += int(jobs.redis.hget(keys.job(job_id), "cost_s") or 0)
    assert abs(counts["b"] - 2 * counts["a"]) <= 6


def test_a_tenant_at_its_cap_has_no_job_more_released(jobs: HeldJobs) -> None:
    jobs.set_share("a", max_running_jobs=1)
    first, same = jobs.submit("a", loras=["x"]), jobs.submit("a", loras=["z"])
    jobs.serve(2)
    assert jobs.queue.prefer(MODEL, ["z"])
    assert jobs.waiting() == [same]
    assert jobs.redis.smembers(keys.released("a")) == {same}
    jobs.redis.hset(keys.job(same), "status", "succeeded")
    jobs.queue.forget_ended("a")
    assert jobs.take() == same
    assert jobs.waiting() == [first]


def test_messages_that_are_none_of_ours_change_nothing(jobs: HeldJobs) -> None:
    assert not jobs.queue.prefer(MODEL, ["z"])
    for text in ("no message", '{"id": "0123"}'):
        jobs.redis.rpush(unet_queue(MODEL), text)
        jobs.submit(loras=["z"])
        assert not jobs.queue.prefer(MODEL, ["z"])
