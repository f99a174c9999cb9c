"""Runs CPU-heavy work in real threads, so that a process goes on serving other clients."""

import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """Runs ``work`` and returns what it returns, or raises what it raises.

    ``work`` computes, and neither waits nor locks: what waits belongs into the caller.
    """

    def __call__(self, work: Callable[[], T]) -> T: ...


def run_inline(work: Callable[[], T]) -> T:
    """In the caller's own thread: right for tests, and for servers with a thread for every request."""
    return work()


def find_offload() -> Offload:
    """What fits this process's server: gevent's thread pool where connections are greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return run_inline
    from gevent import get_hub

    def offload(work: Callable[[], T]) -> T:
        result: T = get_hub().threadpool.apply(work)
        return result

    return offload
