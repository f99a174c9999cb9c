"""What the job script keeps besides the records of jobs."""

import json

import pytest
from redis import Redis

from shared import keys
from shared.jobs.attempt import Attempt, Used
from shared.jobs.record import Failure, StoredImage
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from tests.api.services import receipt_of
from tests.infra.local.waiting import eventually
from tests.shared.jobs.records import spec


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushdb()
    return JobStore(control, servers)


def counts(jobs: JobStore, model: str) -> tuple[int, int]:
    """How many jobs of a model are queued, and how many run."""
    queued, running = (jobs.redis.zcard(keys.by_model(status, model)) for status in ("queued", "running"))
    return int(queued), int(running)


def test_jobs_that_wait_or_run_are_listed_by_model(jobs: JobStore) -> None:
    first, _ = jobs.create(spec(model="a"), tenant=LOCAL)
    jobs.create(spec(model="a"), tenant=LOCAL)
    jobs.create(spec(model="b"), tenant=LOCAL)
    assert (counts(jobs, "a"), counts(jobs, "b")) == ((2, 0), (1, 0))
    attempt = jobs.claim(first, "w")
    assert attempt is not None
    assert counts(jobs, "a") == (1, 1)
    attempt.hand_over()
    assert counts(jobs, "a") == (2, 0)
    again = jobs.claim(first, "w")
    assert again is not None
    again.end("failed", None, [])
    assert (counts(jobs, "a"), counts(jobs, "b")) == ((1, 0), (1, 0))


def test_a_record_of_an_earlier_version_is_listed_by_the_model_of_its_spec(jobs: JobStore) -> None:
    job_id, _ = jobs.create(spec(model="a"), tenant=LOCAL)
    jobs.redis.hdel(keys.job(job_id), "model")
    jobs.redis.delete(keys.by_model("queued", "a"), keys.MODELS)
    jobs.heal([job_id])
    assert counts(jobs, "a") == (1, 0)


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_a_job_that_is_gone_is_listed_by_no_model(jobs: JobStore, how: str) -> None:
    job_id, _ = jobs.create(spec(model="a"), tenant=LOCAL)
    if how == "deleted":
        jobs.delete(job_id)
    else:
        jobs.redis.delete(keys.job(job_id))
        assert jobs.page()[0] == []  # which notices it
    assert counts(jobs, "a") == (0, 0)


# --- ids of events ---


def ids(jobs: JobStore, stream: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, entry_id.split("-"))) for entry_id, _ in jobs.redis.xrange(stream)]


def test_ids_of_events_are_unique_and_in_order_over_all_jobs(jobs: JobStore) -> None:
    job_ids = [jobs.create(spec(), tenant=LOCAL)[0] for _ in range(20)]
    for job_id in job_ids:
        jobs.cancel(job_id)
    everything = [event for job_id in job_ids for event in ids(jobs, keys.events(job_id))]
    assert len(set(everything)) == len(everything) == 60
    assert ids(jobs, keys.tenant_events("local")) == sorted(everything)


def test_ids_of_events_go_on_after_the_latest_whatever_the_clock_says(jobs: JobStore) -> None:
    jobs.redis.set(keys.LAST_EVENT, "99999999999999-9")
    first, second = jobs.create(spec(), tenant=LOCAL)[0], jobs.create(spec(), tenant=LOCAL)[0]
    assert ids(jobs, keys.events(first)) == [(99999999999999, 10)]
    assert ids(jobs, keys.events(second)) == [(99999999999999, 11)]


@pytest.mark.parametrize("last", ["5-5", "damaged", "5", ""])
def test_without_a_latest_id_events_are_added_all_the_same(jobs: JobStore, last: str) -> None:
    job_ids = [jobs.create(spec(), tenant=LOCAL)[0] for _ in range(2)]
    jobs.redis.set(keys.LAST_EVENT, last)
    for job_id in job_ids:
        jobs.cancel(job_id)
        assert len(ids(jobs, keys.events(job_id))) == 3
    assert len(ids(jobs, keys.tenant_events("local"))) == 6


def test_events_of_a_clock_that_was_set_back_are_added_to_their_streams(jobs: JobStore) -> None:
    # Given a stream whose last id is ahead, and no other trace of that
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    jobs.redis.xadd(keys.events(job_id), {"type": "progress", "data": "{}"}, id="99999999999999-0")
    jobs.redis.delete(keys.LAST_EVENT)
    # When the job ends
    jobs.cancel(job_id)
    # Then its events follow, and those of later jobs come after them
    other, _ = jobs.create(spec(), tenant=LOCAL)
    assert ids(jobs, keys.events(job_id))[-2:] > [(99999999999999, 0)]
    assert ids(jobs, keys.events(other)) > ids(jobs, keys.events(job_id))[-1:]


@pytest.mark.parametrize("tenant", ["x:y", "", "A", "a" * 33, "*"])
def test_a_record_that_names_no_tenant_there_can_be_has_events_of_its_own_alone(
    jobs: JobStore, tenant: str
) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    jobs.redis.hset(keys.job(job_id), "tenant", tenant)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    attempt.end("failed", None, [])
    assert len(ids(jobs, keys.events(job_id))) == 4
    assert len(ids(jobs, keys.tenant_events("local"))) == 1
    assert list(jobs.redis.scan_iter("swift:tenant:*:events")) == [keys.tenant_events("local")]


@pytest.mark.parametrize("state", ["queued", "running", "failed", "unreadable"])
def test_a_deleted_job_ends_in_its_tenants_stream_as_deleted(jobs: JobStore, state: str) -> None:
    job_id, _ = jobs.create(spec(), tenant="acme")
    attempt = jobs.claim(job_id, "w") if state != "queued" else None
    if state == "failed" and attempt:
        attempt.end("failed", None, [])
    elif state == "unreadable":
        jobs.redis.set(keys.job(job_id), "x")
    own = jobs.redis.xrange(keys.events(job_id))
    jobs.delete(job_id)
    *before, (last_id, last) = jobs.redis.xrange(keys.tenant_events("acme"))
    assert (last["type"], last["job"], json.loads(last["data"])["status"]) == ("done", job_id, "deleted")
    assert ids(jobs, keys.tenant_events("acme")) == sorted(set(ids(jobs, keys.tenant_events("acme"))))
    assert jobs.redis.get(keys.LAST_EVENT) == last_id
    # Its own stream is as it was: gone, or with the end of a job that was alive
    left = jobs.redis.xrange(keys.events(job_id))
    if state in ("queued", "running"):
        assert [fields["type"] for _, fields in left[len(own) :]] == ["status", "done"]
        assert before[-1][0] == left[-1][0]
    else:
        assert left == []


# --- usage ---


def usage(jobs: JobStore) -> dict[str, int]:
    """What was counted on the days that there are."""
    found: dict[str, int] = {}
    for key in jobs.redis.scan_iter("swift:usage:[0-9]*"):
        found |= {field: int(value) for field, value in jobs.redis.hgetall(key).items()}
        assert jobs.redis.ttl(key) > 0
    return found


def began(jobs: JobStore, attempt: Attempt, ago_s: float) -> None:
    jobs.redis.hset(keys.job(attempt.job.id), "started_at", jobs.now() - ago_s)


@pytest.mark.parametrize("end", ["hand_over", "requeue", "reap", "delete", "end"])
def test_the_time_of_an_attempt_is_counted_however_it_ends(jobs: JobStore, end: str) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    began(jobs, attempt, ago_s=100)
    if end == "hand_over":
        attempt.hand_over()
    elif end == "requeue":
        attempt.requeue(Failure(code="x", detail="y"))
    elif end == "delete":
        jobs.delete(job_id)
    elif end == "end":
        attempt.end("failed", None, [])
    else:
        jobs.redis.delete(keys.lease(job_id))
        jobs.redis.hset(keys.SERVER, "since", 0)
        # After a pause of two seconds and more nobody is reaped for the length of a lease
        assert eventually(lambda: jobs.script("reap", job_id) == "reaped")
    counted = usage(jobs)
    assert 99_000 < counted["local:device_ms"] < 110_000
    assert counted.get("local:jobs", 0) == (end in ("delete", "end"))


def test_what_a_worker_says_is_counted_once_with_images_and_bytes(jobs: JobStore) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    began(jobs, attempt, ago_s=100)
    image = StoredImage(key="k", seed=7, width=8, height=8, sha256="0" * 64)
    for _ in range(2):  # the reply to the first was lost
        attempt.succeed([image], receipt_of(attempt.job.spec), [], used=Used(device_s=1.5, image_bytes=77))
    expected = {"device_ms": 1500, "jobs": 1, "images": 1, "image_bytes": 77}
    assert usage(jobs) == {f"local:{name}": number for name, number in expected.items()}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1", "many", ""])
@pytest.mark.parametrize("field", ["device_s", "image_bytes", "images", "started_at"])
def test_numbers_that_are_none_are_not_counted(jobs: JobStore, field: str, value: str) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    jobs.redis.hset(keys.job(job_id), field, value)
    jobs.script("finish", job_id, attempt.token, "succeeded")
    assert jobs.redis.hget(keys.job(job_id), "status") == "succeeded"
    counted = usage(jobs)
    assert counted["local:jobs"] == 1
    assert all(0 <= number < 60_000 for number in counted.values())


def use(jobs: JobStore, tenant: str, device_s: float) -> None:
    """Have a tenant's job use a device."""
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    jobs.redis.hset(keys.job(job_id), "tenant", tenant)
    attempt.end("failed", None, [], used=Used(device_s))


def test_what_a_tenant_uses_is_in_one_series_also_while_tenants_change_places(jobs: JobStore) -> None:
    def series() -> dict[str, int]:
        return {tenant: int(ms) for tenant, ms in jobs.redis.hgetall(keys.USAGE_SERIES).items()}

    for n in range(50):
        use(jobs, f"t{n}", 10 + n)
    # Given tenants that take each other's places
    for tenant in ("late", "late", "late", "t0", "t0", "t1", "late", "t1"):
        before = series()
        use(jobs, tenant, 7)
        after = series()
        # Then each series has more or begins anew, as a counter may: their rates add up to what was used
        changes = {name: ms - before.get(name, 0) for name, ms in after.items()}
        assert sorted(changes.values())[-2:] == [0, 7000]
        assert min(changes.values()) == 0
    # The sum of the counters does not: a displaced tenant's are gone
    assert sum(series().values()) < sum(1000 * (10 + n) for n in range(50)) + 8 * 7000


def test_a_bounded_number_of_tenants_has_a_series_those_who_used_most(jobs: JobStore) -> None:
    def use(tenant: str, device_s: float) -> None:
        job_id, _ = jobs.create(spec(), tenant=LOCAL)
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        jobs.redis.hset(keys.job(job_id), "tenant", tenant)
        attempt.end("failed", None, [], used=Used(device_s))

    # Given as many tenants as have a series, and one that uses more than they do only later
    for n in range(50):
        use(f"t{n}", 10 + n)
    use("late", 5)
    series = jobs.redis.hgetall(keys.USAGE_SERIES)
    assert len(series) == 51
    assert (series["_other"], series["t0"]) == ("5000", "10000")
    use("late", 30)
    series = jobs.redis.hgetall(keys.USAGE_SERIES)
    # Then it has taken the place of the one that used least, and no series has gone back
    assert len(series) == 51
    assert "t0" not in series
    assert (series["_other"], series["late"]) == ("5000", "30000")
    use("t0", 1)
    assert jobs.redis.hget(keys.USAGE_SERIES, "_other") == "6000"
