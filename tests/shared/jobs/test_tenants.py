"""Jobs belong to tenants: none sees another's, and each has its own lists, keys and limits."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from shared import keys
from shared.errors import Conflict, JobUnreadable, LimitExceeded, NotFound
from shared.jobs.record import Failure, Job
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from tests.shared.jobs.records import DAMAGES, damage, spec

STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushdb()
    return JobStore(control, servers)


def listed(jobs: JobStore, tenant: str | None, **query: object) -> list[str]:
    return [job.id for job in jobs.page(tenant=tenant, **query)[0]]  # type: ignore[arg-type]


def limit(control: Redis, tenant: str, **limits: int) -> None:
    """As `shared.tenants.store` stores them."""
    control.hset(keys.tenant(tenant), mapping=dict(limits))


def forget_tenant(control: Redis, job_id: str) -> None:
    """Make a job one of a version that knew no tenants."""
    control.hdel(keys.job(job_id), "tenant")
    for key in control.scan_iter("swift:tenant:*:jobs*"):
        control.zrem(str(key), job_id)


def test_another_tenants_job_is_as_one_that_does_not_exist(jobs: JobStore) -> None:
    job_id, _ = jobs.create(spec(), tenant="acme")
    assert jobs.get(job_id, tenant="acme").tenant == "acme"
    calls = [jobs.get, jobs.cancel, jobs.delete]
    for stranger in ("globex", keys.LOCAL):
        for call in calls:
            with pytest.raises(NotFound) as foreign:
                call(job_id, tenant=stranger)
            with pytest.raises(NotFound) as missing:
                call("0" * 16, tenant=stranger)
            assert str(foreign.value).replace(job_id, "0" * 16) == str(missing.value)
    assert jobs.get(job_id).status == "queued"
    assert jobs.cancel(job_id, tenant="acme") == "cancelled"
    jobs.delete(job_id, tenant="acme")


def test_a_job_is_on_the_lists_of_all_and_of_its_tenant_alone(jobs: JobStore) -> None:
    first, second = (jobs.create(spec(), tenant=tenant)[0] for tenant in ("acme", "globex"))
    own, _ = jobs.create(spec(), tenant=LOCAL)
    assert listed(jobs, None) == [own, second, first]
    assert (listed(jobs, "acme"), listed(jobs, "globex"), listed(jobs, "local")) == ([first], [second], [own])
    attempt = jobs.claim(first, "w")
    assert attempt is not None
    assert (listed(jobs, "acme", status="running"), listed(jobs, "acme", status="queued")) == ([first], [])
    attempt.end("failed", None, [])
    assert listed(jobs, "acme", status="failed") == [first]
    assert listed(jobs, "globex", status="failed") == []


@pytest.mark.parametrize("how", ["deletes it", "expires"])
def test_a_job_that_is_gone_is_on_no_list_of_its_tenant(jobs: JobStore, control: Redis, how: str) -> None:
    job_id, _ = jobs.create(spec(), tenant="acme")
    if how == "expires":
        control.delete(keys.job(job_id))
        assert listed(jobs, "acme") == []  # which also corrects the lists
    else:
        jobs.delete(job_id, tenant="acme")
    left = [key for key in control.scan_iter("swift:tenant:*") if control.type(key) == "zset"]
    assert left == []
    assert control.hgetall(keys.JOB_TENANTS) == {}


def test_pages_of_a_tenant_go_on_where_they_ended(jobs: JobStore) -> None:
    ids = []
    for i in range(10):
        job_id, _ = jobs.create(spec(seed=i), tenant="acme" if i % 2 else "globex")
        ids += [job_id] if i % 2 else []
    seen, cursor = [], None
    while True:
        page, cursor = jobs.page(limit=2, cursor=cursor, tenant="acme")
        seen += [job.id for job in page]
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_jobs_of_older_versions_belong_to_the_tenant_local_at_once(jobs: JobStore, control: Redis) -> None:
    old = [jobs.create(spec(seed=i), tenant=LOCAL)[0] for i in range(3)]
    for job_id in old:
        forget_tenant(control, job_id)
    foreign, _ = jobs.create(spec(), tenant="acme")
    new, _ = jobs.create(spec(), tenant=LOCAL)
    assert jobs.get(old[0], tenant="local").tenant == "local"
    # Before any sweep, and after it
    for _ in range(2):
        assert listed(jobs, "local") == [new, *old[::-1]]
        assert listed(jobs, "local", status="queued") == [new, *old[::-1]]
        jobs.heal([*old, foreign, new])
    assert control.zcard(keys.jobs_of("local")) == 4
    assert listed(jobs, "acme") == [foreign]


def test_two_tenants_may_use_the_same_idempotency_key(jobs: JobStore) -> None:
    ids = {
        tenant: jobs.create(spec(), idempotency_key="k", digest=tenant, tenant=tenant)[0]
        for tenant in ("local", "acme", "globex")
    }
    assert len(set(ids.values())) == 3
    for tenant, job_id in ids.items():
        assert jobs.find_repeated("k", tenant, tenant) == job_id
        assert jobs.create(spec(), idempotency_key="k", digest=tenant, tenant=tenant) == (job_id, False)
        with pytest.raises(Conflict):
            jobs.create(spec(), idempotency_key="k", digest="other", tenant=tenant)
    assert jobs.find_repeated("k", "initech", "initech") is None


def test_no_more_jobs_of_a_tenant_wait_than_it_may_have(jobs: JobStore, control: Redis) -> None:
    limit(control, "acme", max_waiting_jobs=5)

    def submit(i: int) -> str | None:
        try:
            return jobs.create(spec(seed=i), tenant="acme")[0]
        except LimitExceeded:
            return None

    with ThreadPoolExecutor(8) as pool:
        accepted = [job_id for job_id in pool.map(submit, range(24)) if job_id]
    assert len(accepted) == 5
    with pytest.raises(LimitExceeded) as error:
        jobs.create(spec(), tenant="acme")
    assert (error.value.policy, error.value.limit, error.value.remaining) == ("max_waiting_jobs", 5, 0)
    assert jobs.create(spec(), tenant="globex")[1]
    # Room is left by one that runs, and by one that is cancelled
    assert jobs.claim(accepted[0], "w") is not None
    jobs.cancel(accepted[1])
    assert [submit(i) is not None for i in range(3)] == [True, True, False]


def test_a_job_that_is_refused_leaves_nothing_behind(jobs: JobStore, control: Redis) -> None:
    limit(control, "acme", max_waiting_jobs=0)
    with pytest.raises(LimitExceeded):
        jobs.create(spec(), idempotency_key="k", tenant="acme")
    with pytest.raises(LimitExceeded, match="0 jobs of this tenant wait already"):
        jobs.check_limits("acme")
    assert set(control.scan_iter("swift:*")) == {keys.tenant("acme")}


def test_a_repeated_submission_is_the_first_job_also_at_the_limit(jobs: JobStore, control: Redis) -> None:
    limit(control, "acme", max_waiting_jobs=1, pixel_steps_per_day=100)
    first = jobs.create(spec(), idempotency_key="k", digest="d", tenant="acme", pixel_steps=100)[0]
    again = jobs.create(spec(), idempotency_key="k", digest="d", tenant="acme", pixel_steps=100)
    assert again == (first, False)


def test_a_budget_of_pixels_times_steps_is_spent_by_the_day(jobs: JobStore, control: Redis) -> None:
    limit(control, "acme", pixel_steps_per_day=100)
    jobs.create(spec(), tenant="acme", pixel_steps=70)
    jobs.check_limits("acme")  # some job may fit, and nothing is counted
    with pytest.raises(LimitExceeded) as error:
        jobs.create(spec(), tenant="acme", pixel_steps=31)
    assert (error.value.policy, error.value.limit, error.value.remaining) == ("pixel_steps_per_day", 100, 30)
    assert 0 < error.value.retry_after_s <= error.value.window_s == 86_400
    jobs.create(spec(), tenant="acme", pixel_steps=30)
    [spent] = control.scan_iter(keys.pixel_steps("acme") + "*")
    assert (control.get(spent), 0 < control.ttl(spent) <= 2 * 86_400) == ("100", True)
    with pytest.raises(LimitExceeded):
        jobs.check_limits("acme")
    # Given another day
    control.rename(spent, keys.pixel_steps("acme") + "1")
    assert jobs.create(spec(), tenant="acme", pixel_steps=100)[1]


@pytest.mark.parametrize("how", ["cancelled", "deleted", "failed"])
def test_a_job_that_no_worker_began_costs_nothing(jobs: JobStore, control: Redis, how: str) -> None:
    limit(control, "acme", pixel_steps_per_day=100)
    job_id, _ = jobs.create(spec(), tenant="acme", pixel_steps=100)
    if how == "failed":
        jobs.fail(job_id, Failure(code="model_gone", detail="gone"))
    else:
        (jobs.cancel if how == "cancelled" else jobs.delete)(job_id)
    if how == "cancelled":
        jobs.delete(job_id)  # that gives nothing back a second time
    begun, _ = jobs.create(spec(), tenant="acme", pixel_steps=100)
    attempt = jobs.claim(begun, "w")
    assert attempt is not None
    attempt.requeue(Failure(code="unavailable", detail="away"))
    jobs.delete(begun)
    with pytest.raises(LimitExceeded):
        jobs.create(spec(), tenant="acme", pixel_steps=1)


@pytest.mark.parametrize("how", DAMAGES)
def test_what_is_wrong_with_a_record_is_said_to_its_tenant_alone(
    jobs: JobStore, control: Redis, how: str
) -> None:
    job_id, _ = jobs.create(spec(), tenant="acme")
    damage(control, job_id, how)
    with pytest.raises(NotFound):
        jobs.get(job_id, tenant="globex")
    with pytest.raises(NotFound):
        jobs.cancel(job_id, tenant="globex")
    try:
        jobs.get(job_id, tenant="acme")
    except (JobUnreadable, NotFound):
        jobs.delete(job_id)
    jobs.heal([job_id])
    assert listed(jobs, "globex") == []


@pytest.mark.parametrize("tenant", ["", "a:b", "A", "a" * 33, "*", "swift"])
def test_a_record_that_names_what_is_no_tenant_is_on_no_tenants_list(
    jobs: JobStore, control: Redis, tenant: str
) -> None:
    job_id, _ = jobs.create(spec(), tenant="acme")
    control.hset(keys.job(job_id), "tenant", tenant)
    jobs.heal([job_id])
    assert listed(jobs, None) == [job_id]
    assert listed(jobs, "globex") == []
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    attempt.end("cancelled", None, [])
    jobs.delete(job_id)
    assert listed(jobs, "acme") == []


def test_the_jobs_that_are_a_tenants_own_are_told_from_others(jobs: JobStore) -> None:
    own, foreign = (jobs.create(spec(), tenant=tenant)[0] for tenant in ("acme", "globex"))
    old, _ = jobs.create(spec(), tenant=LOCAL)
    ids = [own, foreign, old, "0" * 16]
    assert (jobs.owned(ids, "acme"), jobs.owned(ids, "local"), jobs.owned([], "acme")) == (
        {own},
        {old},
        set(),
    )


def test_recovery_reads_the_jobs_of_all_tenants(jobs: JobStore, control: Redis) -> None:
    ids = {jobs.create(spec(), tenant=tenant)[0] for tenant in ("acme", "globex", "local")}
    assert set(jobs.orphans(unsent_after_s=0)) == ids
    assert all(isinstance(job, Job) for job in jobs.read(ids).values())
