"""Which backend each pair of workers uses: counts of the last minute."""

from workers.transport.received_counts import WINDOW_S, ReceivedCounts


class Clock:
    """Stands still until the test moves it."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_residuals_are_counted_by_worker_and_backend() -> None:
    counts = ReceivedCounts()
    for worker, backend in [("c1", "cuda_ipc"), ("c1", "inline"), ("c1", "cuda_ipc"), ("c2", "redis")]:
        counts.add(worker, backend)
    assert counts.last_minute() == {"c1": {"cuda_ipc": 2, "inline": 1}, "c2": {"redis": 1}}


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    clock = Clock()
    counts = ReceivedCounts(clock)
    counts.add("c1", "shared_memory")
    clock.now_s = WINDOW_S / 2
    counts.add("c1", "cuda_ipc")
    assert counts.last_minute() == {"c1": {"cuda_ipc": 1, "shared_memory": 1}}
    clock.now_s = WINDOW_S + 1
    assert counts.last_minute() == {"c1": {"cuda_ipc": 1}}
    clock.now_s = 2 * WINDOW_S
    counts.add("c1", "redis")
    assert counts.last_minute() == {"c1": {"redis": 1}}
