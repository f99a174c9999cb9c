"""Which job is released next, and that each goes one way."""

import base64
import json
from collections import Counter, defaultdict
from typing import Any

import hypothesis.strategies as st
import pytest
from celery import Celery
from hypothesis import HealthCheck, given, settings
from redis import Redis

from shared import keys
from shared.lua_script import read_lua
from shared.messaging.celery_app import make_celery, unet_queue, worker_queue
from shared.registry.availability import Availability
from shared.scheduling.eta import TenantQueue
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from tests.job_messages import send_job
from tests.shared.scheduling.held_jobs import MODEL, SOON, HeldJobs

AGEING_S = 600.0


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> HeldJobs:
    control.flushall()
    return HeldJobs(control, FairQueue(control, servers))


@pytest.fixture
def celery(servers: Settings) -> Celery:
    return make_celery(servers)


# --- one tenant ------------------------------------------------------------------------------------


def test_jobs_of_one_tenant_are_taken_in_the_order_in_which_they_came(jobs: HeldJobs) -> None:
    jobs.serve(3)
    accepted = [jobs.submit(cost_s=cost_s) for cost_s in (5, 1, 100, 1, 3, 1, 1, 50, 2)]
    assert jobs.take_all() == accepted


def test_a_queue_holds_as_many_messages_as_workers_take_its_jobs(jobs: HeldJobs) -> None:
    jobs.serve(3)
    accepted = [jobs.submit() for _ in range(5)]
    assert jobs.waiting() == accepted[:3]
    # When a worker takes one, then the next one is released
    assert jobs.take() == accepted[0]
    assert jobs.waiting() == accepted[1:4]
    # When a fourth worker comes, then its heartbeat releases another one
    jobs.queue.serve("unet4@a", [MODEL], SOON)
    assert jobs.waiting() == accepted[1:5]


def test_without_a_live_worker_one_message_shows_that_jobs_wait(jobs: HeldJobs) -> None:
    accepted = [jobs.submit() for _ in range(3)]
    assert jobs.waiting() == accepted[:1]
    jobs.serve(2)
    assert jobs.waiting() == accepted[:2]


def test_a_worker_that_takes_no_more_jobs_does_not_count(jobs: HeldJobs) -> None:
    jobs.serve(2)
    jobs.queue.serve("unet1@a", [MODEL], 0)
    accepted = [jobs.submit() for _ in range(3)]
    assert jobs.waiting() == accepted[:1]


def test_a_job_that_is_placed_twice_has_one_message(jobs: HeldJobs) -> None:
    jobs.serve(2)
    job_id = jobs.submit()
    assert jobs.queue.place(job_id, MODEL) is None
    assert jobs.waiting() == [job_id]
    assert jobs.redis.zcard(keys.UNSENT) == 0


def test_a_message_is_what_celery_would_have_sent(jobs: HeldJobs, celery: Celery) -> None:
    job_id = jobs.submit()
    [released] = map(json.loads, jobs.redis.lrange(unet_queue(MODEL), 0, -1))  # type: ignore[arg-type]
    jobs.redis.delete(unet_queue(MODEL))
    send_job(celery, job_id, MODEL)
    [sent] = map(json.loads, jobs.redis.lrange(unet_queue(MODEL), 0, -1))  # type: ignore[arg-type]
    for message in (released, sent):
        del message["headers"]["origin"], message["properties"]["delivery_tag"]
        message["body"] = _body(message)
        del message["properties"]["body_encoding"]
    assert released == {**sent, "properties": {**sent["properties"], "reply_to": ""}}


def _body(message: Any) -> Any:
    is_encoded = message["properties"]["body_encoding"] == "base64"
    return json.loads(base64.b64decode(message["body"]) if is_encoded else message["body"])


# --- reservations ----------------------------------------------------------------------------------


def test_a_job_goes_to_the_free_worker_if_nothing_else_waits(jobs: HeldJobs) -> None:
    names = ["unet1@a", "unet2@a"]
    availability = Availability(jobs.redis)
    for name in names:
        assert availability.register_free(name, [MODEL], SOON)
        jobs.queue.serve(name, [MODEL], SOON)
    first, second, third = (jobs.accept() for _ in range(3))
    assert jobs.queue.place(first, MODEL, ["unet2@a", "unet1@a"]) == "unet2@a"
    assert jobs.queue.place(second, MODEL, ["unet2@a", "unet1@a"]) == "unet1@a"
    assert jobs.queue.place(third, MODEL, ["unet2@a", "unet1@a"]) is None
    assert jobs.waiting(worker_queue(MODEL, "unet2@a")) == [first]
    assert jobs.waiting(worker_queue(MODEL, "unet1@a")) == [second]
    assert jobs.waiting() == [third]
    # When a worker begins another job, then what was reserved for it goes to all
    assert availability.register_busy("unet2@a", [MODEL], SOON) == 1
    assert jobs.waiting() == [first, third]


def test_no_worker_is_reserved_while_others_hold_jobs(jobs: HeldJobs) -> None:
    older = [jobs.submit("a") for _ in range(2)]
    jobs.redis.delete(unet_queue(MODEL))  # as if its message were just taken
    jobs.redis.zadd(keys.FREE_WORKERS, {"unet1@a": 2e9})
    assert jobs.queue.place(jobs.accept("a"), MODEL, ["unet1@a"]) is None
    assert jobs.waiting() == older[1:]


# --- tenants ---------------------------------------------------------------------------------------


def test_a_tenant_that_comes_late_waits_for_no_flood(jobs: HeldJobs) -> None:
    flood = [jobs.submit("a") for _ in range(50)]
    taken = jobs.take_all(20)
    late = [jobs.submit("b") for _ in range(10)]
    after = jobs.take_all(20)
    assert taken == flood[:20]
    # Then both get as much from now on, but for the one that was released before
    assert sum(job_id in late for job_id in after[:10]) in (4, 5)
    assert [job_id for job_id in after if job_id in late] == late[: len(set(after) & set(late))]


def test_device_time_is_shared_by_weight(jobs: HeldJobs) -> None:
    jobs.set_share("a", weight=1)
    jobs.set_share("b", weight=3)
    of = {jobs.submit(tenant): tenant for _ in range(100) for tenant in ("a", "b")}
    counts = Counter(of[job_id] for job_id in jobs.take_all(100))
    assert abs(counts["b"] - 75) <= 2


def test_what_a_job_has_used_counts_in_place_of_what_it_was_estimated(jobs: HeldJobs) -> None:
    of = {jobs.submit(tenant): tenant for _ in range(40) for tenant in ("a", "b")}
    counts: Counter[str] = Counter()
    for job_id in (jobs.take() for _ in range(40)):
        assert job_id is not None
        counts[of[job_id]] += 1
        # Each job of b takes three times as long as it was estimated
        end(jobs, job_id, used_s=3.0 if of[job_id] == "b" else 1.0)
    assert 28 <= counts["a"] <= 32


def end(jobs: HeldJobs, job_id: str, used_s: float) -> None:
    """As `finish` of the job's script does."""
    script = read_lua("shared", "call") + read_lua("shared.scheduling", "held")
    script += "held.settle(ARGV[1], ARGV[2]) held.drop(ARGV[1])"
    jobs.redis.eval(script, 0, job_id, used_s)
    jobs.redis.delete(keys.job(job_id))


def test_a_tenant_has_no_more_jobs_released_than_its_cap(jobs: HeldJobs) -> None:
    jobs.serve(8)
    jobs.set_share("a", max_running_jobs=2)
    capped = [jobs.submit("a") for _ in range(5)]
    other = [jobs.submit("b") for _ in range(2)]
    assert jobs.waiting() == [*capped[:2], *other]
    assert jobs.take() == capped[0]
    assert jobs.waiting() == [capped[1], *other]
    # When one of them has ended, then its next one is released
    end(jobs, capped[0], used_s=1)
    jobs.queue.release([MODEL])
    assert jobs.waiting() == [capped[1], *other, capped[2]]
    # When the cap is lifted, then all are
    jobs.set_share("a")
    jobs.queue.release([MODEL])
    assert jobs.waiting() == [capped[1], *other, *capped[2:]]


def test_a_job_whose_record_is_gone_counts_against_no_cap(jobs: HeldJobs) -> None:
    jobs.serve(8)
    jobs.set_share("a", max_running_jobs=1)
    gone, held = jobs.submit("a"), jobs.submit("a")
    jobs.take()
    jobs.redis.delete(keys.job(gone))
    assert jobs.queue.forget_ended("a") == 1
    jobs.queue.release([MODEL])
    assert jobs.waiting() == [held]
    assert jobs.queue.forget_ended("a") == 0


def test_waiting_at_a_cap_saves_nothing_up(jobs: HeldJobs) -> None:
    jobs.set_share("a", max_running_jobs=1)
    capped = [jobs.submit("a") for _ in range(30)]
    assert jobs.take() == capped[0]
    for _ in range(30):
        jobs.submit("b")
    jobs.take_all(20)
    jobs.set_share("a")
    assert 4 <= sum(job_id in capped for job_id in jobs.take_all(10)) <= 6


def test_a_tenant_with_jobs_of_two_models_gets_no_two_shares(jobs: HeldJobs) -> None:
    for _ in range(40):
        jobs.submit("a", model="x")
        jobs.submit("b", model="x")
        jobs.submit("b", model="y")
    counts: Counter[str | None] = Counter()
    for _ in range(20):  # workers take jobs of both in turn
        for model in ("x", "y"):
            counts[jobs.redis.hget(keys.job(str(jobs.take(model))), "tenant")] += 1  # type: ignore[index]
    assert 18 <= counts["a"] <= 22


# --- priorities ------------------------------------------------------------------------------------


def test_within_a_tenant_a_higher_priority_comes_first(jobs: HeldJobs) -> None:
    first = jobs.submit(priority="batch")
    batch, normal, interactive = (jobs.submit(priority=name) for name in ("batch", "normal", "interactive"))
    assert jobs.take_all() == [first, interactive, normal, batch]


def test_the_priority_of_one_tenant_costs_another_nothing(jobs: HeldJobs) -> None:
    of = {jobs.submit("a", priority="batch"): "a" for _ in range(20)}
    of |= {jobs.submit("b", priority="interactive"): "b" for _ in range(20)}
    counts = Counter(of[job_id] for job_id in jobs.take_all(20))
    assert abs(counts["a"] - 10) <= 1


def test_a_job_that_has_waited_for_long_comes_before_younger_ones_of_the_next_class(
    jobs: HeldJobs,
) -> None:
    jobs.submit()
    old, young = jobs.submit(priority="batch"), jobs.submit(priority="batch")
    jobs.redis.zincrby(keys.held(MODEL, "local"), -AGEING_S - 1, old)  # as if it had come sooner
    normal = jobs.submit()
    assert jobs.take_all()[1:] == [old, normal, young]


# --- jobs that come back ---------------------------------------------------------------------------


def test_a_job_that_is_given_back_comes_behind_those_that_wait(jobs: HeldJobs) -> None:
    first, *others = (jobs.submit() for _ in range(4))
    assert jobs.take() == first
    jobs.queue.send(first, MODEL, "last")
    assert jobs.take_all() == [*others, first]


def test_a_job_that_is_handed_over_comes_before_those_that_wait(jobs: HeldJobs) -> None:
    first, *others = (jobs.submit() for _ in range(4))
    assert jobs.take() == first
    jobs.queue.send(first, MODEL, "first")
    assert jobs.take_all() == [first, *others]


def test_a_job_that_is_delayed_is_not_released_sooner_and_keeps_its_place(jobs: HeldJobs) -> None:
    first = jobs.submit()
    assert jobs.take() == first
    jobs.queue.send(first, MODEL, "later")
    others = [jobs.submit() for _ in range(2)]
    assert jobs.take() == others[0]
    assert jobs.queue.heal_held([first, others[1]]) == {others[1]}
    jobs.redis.zadd(keys.DELAYED, {first: 1})  # as if the time had passed
    assert jobs.take_all() == [others[1], first]


def test_what_is_held_needs_no_message(jobs: HeldJobs) -> None:
    released, held = jobs.submit(), jobs.submit()
    without_place = jobs.accept()
    assert jobs.queue.heal_held([released, held, without_place]) == {released, without_place}
    assert jobs.queue.is_held(held)
    assert not any(jobs.queue.is_held(one) for one in (released, without_place, "of no job"))


def test_a_job_whose_delay_is_not_over_is_held(jobs: HeldJobs) -> None:
    delayed = jobs.submit()
    assert jobs.take() == delayed
    assert not jobs.queue.is_held(delayed)
    jobs.queue.send(delayed, MODEL, "later")
    assert jobs.queue.is_held(delayed)


def test_what_is_held_competes_again_after_a_lost_write(jobs: HeldJobs) -> None:
    released, held = jobs.submit(), jobs.submit()
    jobs.redis.delete(keys.held_tenants(MODEL))
    assert jobs.take_all() == [released]
    assert jobs.queue.is_held(held)
    assert jobs.queue.heal_held([held]) == set()
    jobs.queue.release([MODEL])
    assert jobs.take() == held


def test_a_job_that_is_gone_stands_in_the_way_of_none(jobs: HeldJobs) -> None:
    first, gone, ended, last = (jobs.submit() for _ in range(4))
    jobs.redis.delete(keys.job(gone))
    jobs.redis.hset(keys.job(ended), "status", "cancelled")
    assert jobs.take_all() == [first, last]
    assert not jobs.redis.exists(keys.held(MODEL, "local"), keys.held_tenants(MODEL))


def test_what_is_before_a_job_is_its_tenants_older_jobs_and_those_of_others(jobs: HeldJobs) -> None:
    jobs.set_share("b", weight=3)
    for cost_s in (1, 1, 2):
        jobs.submit("a", cost_s=cost_s)
    for _ in range(2):
        jobs.submit("b", cost_s=4)
    state = jobs.queue.read_state(MODEL, "a")
    assert (state.own.jobs, state.released) == (2, 1)
    assert state.others == [TenantQueue(3, 2, 4)]
    # And before an interactive one, or for a tenant that holds none, as others were lately
    assert jobs.queue.read_state(MODEL, "a", "interactive", queues={}).own.jobs == 0
    queues = jobs.queue.read_queues(MODEL)
    assert set(queues) == {"a", "b"}
    assert len(jobs.queue.read_state(MODEL, "c", queues=queues).others) == 2


def test_what_is_kept_of_a_tenant_or_of_urgent_jobs_expires(jobs: HeldJobs) -> None:
    for _ in range(2):
        jobs.submit("a", priority="interactive")
    assert jobs.redis.ttl(keys.share("a")) > 0
    assert jobs.redis.ttl(keys.urgent_jobs(MODEL, "a")) > 0
    assert jobs.redis.ttl(keys.urgent_released(MODEL)) > 0


# --- any order -------------------------------------------------------------------------------------

TENANTS = ("a", "b", "c")
costs = st.sampled_from([0.5, 1.0, 2.0, 7.0])
events = st.lists(
    st.one_of(st.just(None), st.tuples(st.sampled_from(TENANTS), costs)),  # None: a worker takes a job
    max_size=40,
)
MANY = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@MANY
@given(
    weights=st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3),
    before=events,
    workers=st.integers(1, 4),
    taken=st.integers(1, 40),
)
def test_tenants_that_wait_get_their_shares_whatever_came_before(
    weights: tuple[float, ...], before: Any, workers: int, taken: int, control: Redis, servers: Settings
) -> None:
    """Start-time fair queueing: what two tenants get by their weights differs by a job of each at most."""
    control.flushall()
    jobs = HeldJobs(control, FairQueue(control, servers))
    jobs.serve(workers)
    by = dict(zip(TENANTS, weights, strict=True))
    for tenant, weight in by.items():
        jobs.set_share(tenant, weight=weight)
    of: dict[str, tuple[str, float]] = {}

    def submit(tenant: str, cost_s: float) -> None:
        of[jobs.submit(tenant, cost_s=cost_s)] = (tenant, cost_s)

    for event in before:
        if event is None:
            jobs.take()
        else:
            submit(*event)
    # Given that from now on all tenants hold jobs all the time
    for tenant in TENANTS:
        for _ in range(taken + workers + 1):  # those that are released at once are not held
            submit(tenant, 7.0)
    jobs.take_all(len(jobs.waiting()))  # released before
    got: defaultdict[str, float] = defaultdict(float)
    for job_id in jobs.take_all(taken):
        got[of[job_id][0]] += of[job_id][1] / by[of[job_id][0]]
        for one in TENANTS:
            for other in TENANTS:
                assert abs(got[one] - got[other]) <= 7.0 / by[one] + 7.0 / by[other] + 1e-6


@MANY
@given(before=events, workers=st.integers(1, 4))
def test_every_job_is_released_once_and_none_is_kept(
    before: Any, workers: int, control: Redis, servers: Settings
) -> None:
    control.flushall()
    jobs = HeldJobs(control, FairQueue(control, servers))
    jobs.serve(workers)
    accepted, taken = [], []
    for event in before:
        if event is None:
            taken += [job_id for job_id in [jobs.take()] if job_id]
        else:
            accepted.append(jobs.submit(event[0], cost_s=event[1]))
    taken += jobs.take_all()
    assert sorted(taken) == sorted(accepted)
    assert set(control.scan_iter("swift:held*")) == set()


@MANY
@given(
    events=st.lists(st.sampled_from(["submit", "submit", "take", "take", "first", "last"]), max_size=60),
    workers=st.integers(1, 4),
)
def test_jobs_of_one_tenant_and_priority_are_taken_in_the_order_of_one_list(
    events: list[str], workers: int, control: Redis, servers: Settings
) -> None:
    """The order is that of a list which a job joins at its end, or as its head if it was handed over."""
    control.flushall()
    jobs = HeldJobs(control, FairQueue(control, servers))
    jobs.serve(workers)
    one_list: list[str] = []
    taken: list[str] = []
    for event in events:
        if event == "submit":
            one_list.append(jobs.submit(cost_s=len(one_list) + 1))
        elif event == "take":
            job_id = jobs.take()
            assert job_id == (one_list.pop(0) if one_list else None)
            taken += [job_id] if job_id else []
        elif taken:
            job_id = taken.pop()
            jobs.queue.send(job_id, MODEL, "first" if event == "first" else "last")
            one_list.insert(0 if event == "first" else len(one_list), job_id)
    assert jobs.take_all() == one_list


# --- cost ------------------------------------------------------------------------------------------


def commands(control: Redis) -> int:
    """How many commands the server has run, in scripts and outside."""
    stats: Any = control.info("commandstats")
    return sum(one["calls"] for one in stats.values())


def test_a_release_takes_as_many_commands_whatever_is_held(jobs: HeldJobs) -> None:
    """Each of them takes a time that grows with the logarithm of what is held."""

    def measure() -> int:
        """The least of some: other processes of the tests may send commands meanwhile."""

        def once() -> int:
            before = commands(jobs.redis)
            assert jobs.take() is not None
            return commands(jobs.redis) - before

        return min(once() for _ in range(5))

    for tenant in range(2):
        for _ in range(6):
            jobs.submit(f"t{tenant}")
    few = measure()
    for n in range(1000):
        jobs.submit(f"t{n % 200}")
    assert measure() == few
