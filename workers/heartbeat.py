"""A worker's own thread: it reports the worker and its numbers, and runs small chores in between."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from redis.exceptions import RedisError

from shared import fleet, metrics
from shared.fleet import Heartbeat
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A report outlives this many missed beats.
GRACE_BEATS = 4


class Reporter:
    """Says every ``heartbeat_s`` what the worker serves, has loaded and is doing."""

    def __init__(
        self,
        redis: "Redis",
        settings: Settings,
        *,
        name: str,
        kind: Literal["unet", "controlnet"],
        serves: Sequence[str],
        loaded: Callable[[], list[str]],
        doing: Callable[[], list[str]],
        busy_share: Callable[[], float],
        chores: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._chores = chores
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        started = time.time()
        self._report = lambda: Heartbeat(
            name=name,
            kind=kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=settings.device,
            serves=list(serves),
            loaded=loaded(),
            doing=doing(),
            busy_share=busy_share(),
            started_at=started,
            version=version("swiftdiffusion"),
        )
        self._name = name

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """Take the worker off the list and end."""
        self._stop.set()
        self._thread.join(timeout=5)
        try:
            fleet.leave(self._redis, self._name)
        except RedisError:
            log.warning("could not sign off; the report expires by itself")

    def _run(self) -> None:
        ttl_s = self._settings.heartbeat_s * GRACE_BEATS
        while not self._stop.is_set():
            try:
                fleet.beat(self._redis, self._report(), ttl_s)
                metrics.publish(self._redis, self._name, ttl_s)
                for chore in self._chores:
                    chore()
            except Exception:
                log.exception("heartbeat failed; trying again")
            self._stop.wait(self._settings.heartbeat_s)
