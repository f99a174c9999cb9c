"""Waits until the control Redis has written a job to disk, before the submission is answered."""

import logging
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from shared.errors import InvalidSetting, Unavailable
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

log = logging.getLogger(__name__)

#: A disk that does not complete a write within this time counts as unavailable.
FSYNC_WAIT_MS = 5000


class Durability:
    """Waits for the disk with `WAITAOF` (Redis 7.2, Valkey), as far as server and setting allow it."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis = redis
        self._mode = settings.durable_submit
        self._is_on = self._mode != "off"

    def probe(self) -> bool:
        """Whether accepted jobs are durable; raises `InvalidSetting` if they must be and cannot."""
        if self._mode == "off":
            return False
        try:
            self._redis.execute_command("WAITAOF", 1, 0, 1)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            self._refuse(error)
        return self._is_on

    def execute(self, pipe: "Pipeline") -> Any:
        """Run the write in ``pipe`` and wait until it is on disk; returns the reply to the write.

        Raises `Unavailable` when the disk does not take it in time: nobody knows then whether it will last.
        """
        if not self._is_on:
            return pipe.execute()[0]
        pipe.execute_command("WAITAOF", 1, 0, FSYNC_WAIT_MS)  # type: ignore[no-untyped-call]
        reply, written = pipe.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(written, ResponseError):
            self._refuse(written)
        elif isinstance(written, Exception):
            raise written
        elif not written[0]:
            raise Unavailable("the disk of the control Redis does not take the job right now")
        return reply

    def _refuse(self, error: ResponseError) -> None:
        """The server has no append-only file, or does not know the command."""
        if self._mode == "on":
            raise InvalidSetting(f"SWIFT_DURABLE_SUBMIT=on: the control Redis cannot: {error}") from None
        self._is_on = False
        log.warning(
            "accepted jobs may be lost with the control Redis: it has no WAITAOF",
            extra={"error": str(error)},
        )
