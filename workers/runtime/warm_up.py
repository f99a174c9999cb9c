"""How far a worker is with running its models once before their first job, for the log and for the fleet."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from shared.registry.workers import WARMING_UP, Heartbeat
from workers.devices.base import Device
from workers.runtime.heartbeat import HeartbeatThread

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: The first round does what libraries do once, the second captures or compiles, the third runs that.
ROUNDS = 3


def is_first_run_slower(engine: str, device: Device) -> bool:
    """Whether a first run is worth doing before the first job: on a GPU, which loads each kernel when it
    first runs it, and with an engine that captures or compiles.
    """
    return engine != "eager" or device.memory() is not None


class PreparesStages(Protocol):
    """An engine (`workers.engines.base.Engine`)."""

    @property
    def prepared_stages(self) -> int:
        """How many layouts of stages have been captured or compiled."""


class WarmUp:
    """The warm-up of one model: so many equal parts."""

    def __init__(self, name: str, parts: int, engine: PreparesStages | None = None) -> None:
        """``engine`` runs the model: one part may be minutes of compiling."""
        self._name, self._parts, self._engine = name, parts, engine
        self._done = 0

    def problems(self) -> list[str]:
        """Why the worker takes no work yet, with its progress: a reason that goes on changing."""
        share = f"{WARMING_UP} {self._name}: {100 * self._done // self._parts} %"
        prepared = 0 if self._engine is None else self._engine.prepared_stages
        return [f"{share}, stages prepared: {prepared}" if prepared else share]

    def note_part(self) -> None:
        """One part is done."""
        self._done += 1
        log.info("warming up", extra={"model": self._name, "share": round(self._done / self._parts, 2)})

    def run(self, compute: Callable[["WarmUp"], object]) -> None:
        """Call ``compute``; if it fails, the first job is slower, or says what is wrong."""
        try:
            compute(self)
        except Exception:
            log.exception("warm-up failed", extra={"model": self._name})


@contextmanager
def reported(redis: "Redis", name: str, interval_s: float, report: Callable[[], Heartbeat]) -> Iterator[None]:
    """Within the block the worker ``name`` is known to the fleet by its ``report``."""
    heartbeat = HeartbeatThread(redis, name, interval_s, report)
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()
