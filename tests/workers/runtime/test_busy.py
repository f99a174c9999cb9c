import time

from workers.runtime.busy import BusyShare


def test_an_idle_device_is_not_busy() -> None:
    assert BusyShare().share() == 0.0


def test_time_inside_counts_once_however_many_are_inside() -> None:
    busy = BusyShare()
    with busy, busy:
        assert 0.0 < busy.share() <= 1.0
    assert 0.0 < busy.share() <= 1.0


def test_what_is_added_afterwards_counts_where_nothing_else_did() -> None:
    now, busy = time.time(), BusyShare(created_at=time.monotonic() - 40.0)
    for start_s, end_s in ((now - 30.0, now - 20.0), (now - 25.0, now - 15.0), (now - 29.0, now - 28.0)):
        busy.add(start_s, end_s)
    assert abs(busy.share() - 15.0 / 40.0) < 0.01
