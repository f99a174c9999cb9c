"""Servers and threads of a worker that run for a block and end with it, also if it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Thread(Protocol):
    """A `ResponseSender`, a `Watchdog` and their like."""

    def start(self) -> object: ...
    def stop(self) -> object: ...


class Server(Protocol):
    """A `ControlNetServer`, or an `IdleServing`."""

    def start(self, worker: str, /) -> None: ...
    def stop(self) -> None: ...


T = TypeVar("T", bound=Thread)
S = TypeVar("S", bound=Server)


@contextmanager
def running(thread: T) -> Iterator[T]:
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


@contextmanager
def serving(server: S, worker: str = "controlnet1@test") -> Iterator[S]:
    """Within the block the server serves, as the worker of this name."""
    server.start(worker)
    try:
        yield server
    finally:
        server.stop()
