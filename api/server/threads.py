"""Real threads for work that would keep a process from serving its other clients."""

import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """Runs ``work`` and returns what it returns, or raises what it raises.

    ``work`` computes, and neither waits nor locks: what waits belongs into the caller.
    """

    def __call__(self, work: Callable[[], T]) -> T: ...


def directly(work: Callable[[], T]) -> T:
    """In the caller's own thread: right for tests, and for servers with a thread for every request."""
    return work()


def find_offload() -> Offload:
    """How this process's server wants it: where a connection is a greenlet, by gevent's thread pool."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return directly
    from gevent import get_hub

    def offload(work: Callable[[], T]) -> T:
        result: T = get_hub().threadpool.apply(work)
        return result

    return offload
