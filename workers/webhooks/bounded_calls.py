"""Calls that nothing can end, such as name lookups: waited for until a deadline, and bounded in number."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from workers.webhooks.tenant_shares import TenantShares

#: Lookups at once, those included for which nobody waits any more.
THREADS = 64

_T = TypeVar("_T")


class BoundedCalls:
    """Makes calls in threads of its own; ``threads`` at most, divided among tenants as `TenantShares` does.

    The C library's name lookup has no timeout, and goes on for a minute after its caller has given up.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._shares = TenantShares(threads)
        self._changed = threading.Condition()

    def call(self, tenant: str, function: Callable[[], _T], deadline: float) -> _T:
        """What ``function`` returns or raises; `TimeoutError` at ``deadline``, of `time.monotonic`."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._may_begin(tenant), max(deadline - time.monotonic(), 0)
            ):
                raise TimeoutError
            end = self._shares.begin(tenant)
        result: Future[_T] = Future()

        def run() -> None:
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)
            finally:
                with self._changed:
                    end()
                    self._changed.notify_all()

        # A daemon: the process ends without those that hang.
        threading.Thread(target=run, name="lookup", daemon=True).start()
        return result.result(max(deadline - time.monotonic(), 0))

    def _may_begin(self, tenant: str) -> bool:
        full = self._shares.full()
        return full is not None and tenant not in full
