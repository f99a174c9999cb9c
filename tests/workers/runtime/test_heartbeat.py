"""The heartbeat thread goes on whatever fails in it."""

import threading
from collections.abc import Callable

import pytest
from redis import Redis

from shared import keys
from shared.redis_clients import control_redis
from shared.registry import workers
from shared.registry.workers import Heartbeat
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.infra.local.waiting import eventually
from tests.proxy import proxied
from workers.devices.base import Device, MemoryInfo
from workers.devices.selection import find_device
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.heartbeat import HeartbeatThread, describe_worker


def report_of(settings: Settings, jobs: list[str] | None = None, device: Device | None = None) -> Heartbeat:
    return describe_worker(
        settings,
        device,
        name="unet1@test",
        kind="unet",
        serves=["tiny"],
        loaded=[],
        jobs=jobs or [],
        attached_jobs={},
        engines={},
        load_errors={},
        unavailable_reasons=[],
        warnings=[],
        received_residuals={},
        activity=DeviceActivity(),
        started_at=0.0,
    )


def fail() -> list[str]:
    raise RuntimeError("out of order")


@pytest.mark.parametrize(("name", "told"), [(None, "cuda:0"), ("cuda:3", "cuda:3")])
def test_a_report_calls_the_device_what_the_operator_calls_it(name: str | None, told: str) -> None:
    assert report_of(Settings(device="cuda:0", device_name=name)).device == told


def test_a_report_says_what_the_device_is_and_how_much_of_its_memory_is_free() -> None:
    device = FakeDevice(memory=MemoryInfo(1, 80))
    report = report_of(Settings(), device=device)
    assert (report.gpu, report.device_free_bytes, report.device_total_bytes) == ("fake", 1, 80)
    for without in (find_device("cpu"), None):  # or a device that is lost
        report = report_of(Settings(), device=without)
        assert (report.gpu, report.device_free_bytes, report.device_total_bytes) == (None, None, None)


@pytest.mark.parametrize("jobs", [list, fail], ids=["in order", "no report"])
def test_a_failing_part_of_the_heartbeat_stops_no_other_part(
    servers: Settings, control: Redis, jobs: Callable[[], list[str]]
) -> None:
    # Given tasks around one that fails, and a report that may
    control.flushdb()
    before, after = threading.Event(), threading.Event()

    def report() -> Heartbeat:
        return report_of(servers, jobs())

    tasks = [before.set, fail, after.set]
    reporter = HeartbeatThread(control, "unet1@test", servers.heartbeat_s, report, tasks)
    # When it beats, then the other tasks run, and so does the report if it can be built
    reporter.start()
    try:
        assert before.wait(30)
        assert after.wait(30)
        assert [worker.name for worker in workers.live_workers(control)] == (
            ["unet1@test"] if jobs is list else []
        )
    finally:
        reporter.stop()
    assert workers.live_workers(control) == []


def test_a_connection_that_is_dead_without_being_closed_delays_no_heartbeat(
    servers: Settings, control: Redis
) -> None:
    control.flushdb()
    with proxied(servers.redis_port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        behind = control_redis(servers.model_copy(update={"redis_url": url}))
        reporter = HeartbeatThread(behind, "unet1@test", 0.25, lambda: report_of(servers))
        reporter.start()
        try:
            eventually(lambda: workers.live_workers(control))
            proxy.silence()
            control.delete(keys.worker("unet1@test"))
            eventually(lambda: workers.live_workers(control))
        finally:
            reporter.stop()
