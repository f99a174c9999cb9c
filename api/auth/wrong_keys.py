"""Counts the wrong keys of each address, so that a flood of them costs little."""

import ipaddress
import math
import time
from collections import Counter
from collections.abc import Callable

from shared.errors import TooManyRequests

WINDOW_S = 60
#: Addresses that are counted in one window: memory is bounded, and a flood from more is none of one client.
MAX_ADDRESSES = 100_000
#: Of an IPv6 address: a client has a network of its own, with more addresses than there are keys.
IPV6_PREFIX = 64


class WrongKeys:
    """Counts in windows of a minute, the same for all addresses: what was counted is forgotten at once.

    No storage of the package limits: its one in memory starts a thread and walks all counts at every count.
    """

    def __init__(self, limit: int, now: Callable[[], float] = time.monotonic) -> None:
        """``limit`` 0 means none."""
        self._limit, self._now = limit, now
        self._counts: Counter[str] = Counter()
        self._ends_at = 0.0

    def add(self, address: str) -> None:
        """Count a wrong key of ``address``."""
        name = _client(address)
        self._forget()
        if name in self._counts or len(self._counts) < MAX_ADDRESSES:
            self._counts[name] += 1

    def check(self, address: str) -> None:
        """Raise `TooManyRequests` if there were too many."""
        if not self._limit or not self._counts or self._counts[_client(address)] < self._limit:
            return
        self._forget()
        if self._counts[_client(address)] >= self._limit:
            raise TooManyRequests(
                "too many wrong API keys from this address",
                policy="wrong-keys",
                limit=self._limit,
                window_s=WINDOW_S,
                retry_after_s=math.ceil(self._ends_at - self._now()),
            )

    def _forget(self) -> None:
        now = self._now()
        if now >= self._ends_at:
            self._counts.clear()
            self._ends_at = now + WINDOW_S


def _client(address: str) -> str:
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, IPV6_PREFIX), strict=False).network_address)
