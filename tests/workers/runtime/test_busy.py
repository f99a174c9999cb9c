from workers.runtime.busy import BusyShare


def test_an_idle_device_is_not_busy() -> None:
    assert BusyShare().share() == 0.0


def test_time_inside_counts_once_however_many_are_inside() -> None:
    busy = BusyShare()
    with busy, busy:
        assert 0.0 < busy.share() <= 1.0
    assert 0.0 < busy.share() <= 1.0
