import time

from prometheus_client import REGISTRY

from workers.runtime.activity.busy import BusyShare
from workers.runtime.activity.device_activity import METRIC_DELAY_S, DeviceActivity


def activity_since(seconds: float) -> DeviceActivity:
    return DeviceActivity(generate=BusyShare(created_at=time.monotonic() - seconds))


def test_an_idle_device_is_not_busy() -> None:
    activity = DeviceActivity()
    assert activity.shares() == {"generate": 0.0, "follow": 0.0, "serve": 0.0, "idle": 1.0}
    assert (activity.utilization(), activity.current()) == (0.0, "idle")


def test_time_inside_counts_once_however_many_are_inside() -> None:
    activity = DeviceActivity()
    with activity.serve, activity.serve:
        assert 0.0 < activity.utilization() <= 1.0
    assert 0.0 < activity.utilization() <= 1.0


def test_what_overlaps_counts_for_the_job_then_for_the_branch_then_for_steps() -> None:
    now, activity = time.time(), activity_since(40.0)
    activity.serve.add(now - 30.0, now - 10.0)
    activity.generate.add(now - 25.0, now - 20.0)
    activity.follow.add(now - 22.0, now - 18.0)
    shares, utilization = activity.shares(), activity.utilization()
    late_s = time.time() - now
    wanted = {"generate": 5.0, "follow": 2.0, "serve": 13.0, "idle": 20.0}
    assert all(abs(40.0 * shares[name] - seconds) < 0.5 + late_s for name, seconds in wanted.items())
    assert abs(utilization - 0.5) < 0.02 + late_s / 40.0


def test_between_two_steps_a_device_still_serves_or_follows_and_its_own_job_comes_first() -> None:
    activity = DeviceActivity()
    with activity.serve:
        pass
    assert activity.current() == "serve"
    with activity.follow:
        pass
    assert activity.current() == "follow"
    with activity.serve:
        assert activity.current() == "serve"
        with activity.generate:
            assert activity.current() == "generate"


def test_every_second_is_counted_for_one_activity() -> None:
    def counted(name: str) -> float:
        metric = "swift_worker_activity_seconds_total"
        return REGISTRY.get_sample_value(metric, {"activity": name}) or 0.0

    names = ("generate", "follow", "serve", "idle")
    before = {name: counted(name) for name in names}
    activity, now = DeviceActivity(counted_until=time.monotonic() - 11.0), time.time()
    activity.serve.add(now - 8.0, now - 5.0)
    activity.count()
    activity.count()
    late_s = time.time() - now
    found = {name: counted(name) - before[name] for name in names}
    assert abs(found["serve"] - 3.0) < 0.1
    assert abs(sum(found.values()) - (11.0 - METRIC_DELAY_S)) < 0.5 + late_s


def test_the_parts_of_a_step_are_one_span() -> None:
    busy, now, middle = BusyShare(), time.time(), time.monotonic() - 4.5
    for k in range(5):
        busy.add(now - 10.0 + k, now - 9.0005 + k)
    assert len(busy.spans(0.0)) == 1
    busy.add(now - 4.0, now - 3.0)
    assert len(busy.spans(0.0)) == 2
    assert len(busy.spans(middle)) == 1
