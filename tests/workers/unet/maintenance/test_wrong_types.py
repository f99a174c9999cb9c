"""Keys of the wrong type that recovery and sweeps read, in a real Redis."""

import pytest
from redis import Redis

from shared import keys
from shared.jobs.store import JobStore
from shared.settings import Settings
from tests.workers.unet.maintenance.test_recovery import CATALOG, accept, in_queue, lose
from workers.unet.maintenance.recovery import Recovery
from workers.unet.maintenance.wrong_types import KEYS, drop_wrong_types

READ = sorted(name for names in KEYS.values() for name in names)


@pytest.mark.parametrize("key", READ)
def test_recovery_finds_lost_jobs_whatever_key_has_the_wrong_type(
    key: str, control: Redis, servers: Settings
) -> None:
    control.flushall()
    jobs = JobStore(control, servers)
    recovery = Recovery(jobs, CATALOG, servers)
    lose(jobs, accept(jobs))
    control.delete(key)
    control.set(key, "somebody else's")
    for _ in range(3):  # as if some seconds had passed
        control.delete(keys.LEASES_CHECKED, keys.RECOVERY)
        recovery.recover_in_turn()
    # When another job loses its worker after that
    lose(jobs, job_id := accept(jobs))
    control.delete(keys.LEASES_CHECKED, keys.RECOVERY)
    recovery.recover_in_turn()
    # Then it is queued again
    assert job_id in in_queue(control)


def test_keys_of_the_right_type_stay(control: Redis) -> None:
    control.flushall()
    control.zadd(keys.JOBS, {"a": 1})
    control.set(keys.UNSENT, "somebody else's")
    drop_wrong_types(control, ValueError("another error"))
    assert control.exists(keys.JOBS, keys.UNSENT) == 2
    drop_wrong_types(control, ValueError("WRONGTYPE Operation against …"))
    assert [control.type(key) for key in (keys.JOBS, keys.UNSENT)] == ["zset", "none"]
