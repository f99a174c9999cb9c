"""The dispatcher: makes deliveries of events and sends what is due, several at once."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from redis.exceptions import RedisError

from shared.webhooks.deliveries import Delivery, DeliveryStore
from workers.webhooks.job_events import JobEvents
from workers.webhooks.tenant_shares import TenantShares

log = logging.getLogger(__name__)

#: Deliveries that are sent at once; `TenantShares` divides them: receivers that hang hold up no other tenant.
SENDERS = 32
#: Longest wait for an event before the due deliveries are looked at again.
BLOCK_S = 1.0
#: Pause after an error of Redis, whose client has tried again for some seconds before.
PAUSE_S = 1.0


class Dispatcher:
    """Sends deliveries until it is stopped. Several may run: each delivery is taken by one."""

    def __init__(
        self,
        events: JobEvents,
        deliveries: DeliveryStore,
        send: Callable[[str, Delivery], object],
        *,
        lease_s: float,
    ) -> None:
        """``send`` gets a tenant and a delivery, and settles it; one that takes ``lease_s`` is sent again."""
        self._events = events
        self._deliveries = deliveries
        self._send = send
        self._lease_s = lease_s
        self._shares = TenantShares(SENDERS)
        self._changed = threading.Lock()
        self._is_closing = False
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="webhook")

    def run(self, stopping: threading.Event) -> None:
        """Dispatch until ``stopping`` is set; errors of Redis are waited out."""
        while not stopping.is_set():
            try:
                self.start_due()
                self._events.expand(self._block_s())
            except RedisError as error:
                log.warning("webhooks wait for Redis", extra={"error": type(error).__name__})
                stopping.wait(PAUSE_S)

    def start_due(self) -> None:
        """Have threads send what is due, as many as are free."""
        while (taken := self._take()) is not None:
            self._pool.submit(self._send_all, taken)

    def close(self) -> None:
        """Wait until what is being sent has ended; nothing more is taken."""
        with self._changed:
            self._is_closing = True
        self._pool.shutdown()

    def _send_all(self, taken: "Taken | None") -> None:
        """Send a delivery, and then what is due meanwhile."""
        while taken is not None:
            tenant, delivery, end = taken
            try:
                self._send(tenant, delivery)
            except RedisError as error:  # it is due again when its lease ends
                log.warning("delivery not settled", extra=_fields(delivery, type(error).__name__))
            except Exception:
                log.exception("delivery not sent", extra=_fields(delivery))
            finally:
                with self._changed:
                    end()
            try:
                taken = self._take()
            except RedisError:  # the loop of the process looks again
                taken = None

    def _take(self) -> "Taken | None":
        """A delivery that is due, if a thread is free for it."""
        with self._changed:
            full = self._shares.full()
            if self._is_closing or full is None:
                return None
            taken = self._deliveries.take(full, self._lease_s)
            return Taken(*taken, self._shares.begin(taken[0])) if taken is not None else None

    def _block_s(self) -> float:
        """How long to wait for events: until the next delivery is due, `BLOCK_S` at most."""
        due = self._deliveries.next_due()
        return BLOCK_S if due is None else min(max(due - self._deliveries.now(), 0.05), BLOCK_S)


class Taken(NamedTuple):
    """A delivery that a thread sends; ``end`` gives the thread back, under the lock of the dispatcher."""

    tenant: str
    delivery: Delivery
    end: Callable[[], None]


def _fields(delivery: Delivery, error: str = "") -> dict[str, str]:
    return {"webhook_id": delivery.message_id, "endpoint": delivery.endpoint, "error": error}
