"""A link whose bandwidth its transfers share evenly."""

from heapq import heappop, heappush
from itertools import count

from infra.bench.simulate.kernel import Event, Process, Simulation


class SharedLink:
    """Processor sharing: of n transfers each gets an nth of ``bytes_per_s``.

    ``_served_bytes`` is what a transfer that began with the link would have by now: each is over when
    that has grown by its bytes, whoever comes and goes meanwhile.
    """

    def __init__(self, simulation: Simulation, bytes_per_s: float) -> None:
        self._simulation = simulation
        self._bytes_per_s = bytes_per_s
        self._served_bytes, self._since_s = 0.0, 0.0
        self._transfers: list[tuple[float, int, Event]] = []
        self._serial = count()
        self._timer = 0  # only the newest one counts

    def transfer(self, size_bytes: float) -> Event:
        """Begin a transfer; the event is its end."""
        self._pass_time()
        done = Event()
        heappush(self._transfers, (self._served_bytes + size_bytes, next(self._serial), done))
        self._set_timer()
        return done

    def _pass_time(self) -> None:
        now_s = self._simulation.now_s
        if self._transfers:
            self._served_bytes += (now_s - self._since_s) * self._bytes_per_s / len(self._transfers)
        self._since_s = now_s

    def _set_timer(self) -> None:
        self._timer += 1
        if self._transfers:
            self._simulation.start(self._finish_first(self._timer))

    def _finish_first(self, timer: int) -> Process:
        if timer != self._timer:
            return
        left_bytes = self._transfers[0][0] - self._served_bytes
        yield max(left_bytes, 0.0) * len(self._transfers) / self._bytes_per_s
        if timer == self._timer:
            self._pass_time()
            ends_at, _, done = heappop(self._transfers)
            self._served_bytes = max(self._served_bytes, ends_at)  # not a rounding error less
            self._simulation.set(done)
            self._set_timer()
