"""A worker's own thread, which nothing may stop."""

import threading
from collections.abc import Callable

import pytest
from redis import Redis

from shared.registry import workers
from shared.settings import Settings
from workers.runtime.heartbeat import HeartbeatThread


def fail() -> list[str]:
    raise RuntimeError("out of order")


@pytest.mark.parametrize("doing", [list, fail], ids=["in order", "no report"])
def test_a_chore_that_fails_keeps_no_other_from_its_turn(
    servers: Settings, control: Redis, doing: Callable[[], list[str]]
) -> None:
    # Given chores around one that fails, and a report that may
    control.flushdb()
    before, after = threading.Event(), threading.Event()
    reporter = HeartbeatThread(
        redis=control,
        settings=servers,
        name="unet1@test",
        kind="unet",
        serves=["tiny"],
        loaded=list,
        doing=doing,
        busy_share=float,
        chores=[before.set, fail, after.set],
    )
    # When it beats, then the others have their turn, and so has the report if it can be made
    reporter.start()
    try:
        assert before.wait(30)
        assert after.wait(30)
        assert [worker.name for worker in workers.live_workers(control)] == (
            ["unet1@test"] if doing is list else []
        )
    finally:
        reporter.stop()
    assert workers.live_workers(control) == []
