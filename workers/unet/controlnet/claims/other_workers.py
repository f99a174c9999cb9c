"""Knows whether another worker could serve a ControlNet now: what nobody could take need not be sent."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from shared.registry.controlnet_servers import ControlNetServers, Served

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: So often the registry is read while jobs ask: a worker that becomes idle is noticed after as long at most.
READ_EVERY_S = 1.0
#: What was read longer ago says nothing: without it everything is sent.
KNOWN_S = 3 * READ_EVERY_S
#: What no job has asked for so long is not read any more.
ASKED_S = 60.0


class OtherWorkers:
    """What the registry says of the others, for a worker with a job; safe to use from several threads."""

    def __init__(self, redis: "Redis", now: Callable[[], float] = time.monotonic) -> None:
        self._servers, self._now = ControlNetServers(redis), now
        self._lock = threading.Lock()
        self._is_reading = False
        self._read_at = float("-inf")
        self._asked: dict[Served, float] = {}  # when last
        self._known: dict[Served, bool] = {}

    def may_serve(self, controlnet: str, platform: str = "") -> bool:
        """Whether one could take a step of this ControlNet now, or nobody knows.

        ``platform``: digest of the only one that may; empty: any.
        Never waits: what was read more than a second ago is read again in a thread.
        """
        wanted = Served(controlnet, platform)
        with self._lock:
            self._note([wanted])
            is_known = self._now() - self._read_at <= KNOWN_S
            return self._known.get(wanted, True) if is_known else True

    def expect(self, wanted: Iterable[Served]) -> None:
        """Have it known soon who could serve these: a job will ask."""
        with self._lock:
            self._note(wanted)

    def read(self, wanted: Iterable[Served] = ()) -> None:
        """Read the registry of ``wanted`` and what was lately asked for; raises `redis.RedisError`."""
        at = self._now()
        with self._lock:
            self._asked |= dict.fromkeys(wanted, at)
            self._asked = {one: asked for one, asked in self._asked.items() if at - asked < ASKED_S}
            asked_for = list(self._asked)
        served = self._servers.are_served(asked_for)
        with self._lock:
            self._read_at = at
            self._known = dict(zip(asked_for, served, strict=True))

    def _note(self, wanted: Iterable[Served]) -> None:
        """Have them read, if what is known is old, or nothing of one of them is."""
        now = self._now()
        self._asked |= dict.fromkeys(wanted, now)
        is_old = now - self._read_at >= READ_EVERY_S
        if not self._is_reading and (is_old or not self._known.keys() >= self._asked.keys()):
            self._is_reading = True
            threading.Thread(target=self._read_beside, name="other workers", daemon=True).start()

    def _read_beside(self) -> None:
        try:
            self.read()
        except RedisError:
            log.warning("not known who may serve; steps are sent")
        finally:
            with self._lock:
                self._is_reading = False
