"""Runs CPU-heavy work in real threads, so that a process goes on serving other clients."""

import sys
import time
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
    if not _has_greenlets():
        return run_inline
    from gevent import get_hub

    def offload(work: Callable[[], T]) -> T:
        result: T = get_hub().threadpool.apply(work)
        return result

    return offload


def find_pause() -> Callable[[float], None]:
    """Has one connection wait for seconds, where that costs the others nothing: where connections are
    greenlets. Elsewhere nothing waits: it would hold a thread.
    """
    return time.sleep if _has_greenlets() else _go_on


def _has_greenlets() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _go_on(_: float) -> None:
    """Do not wait."""
