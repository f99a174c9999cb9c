"""Fleets that tests of several files share: each runs until a test of another file does without it."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from typing import Generic, TypeVar

F = TypeVar("F")


class SharedFleets(Generic[F]):
    """Running fleets by the names of their fixtures. An idle one takes processor time from other tests."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[AbstractContextManager[F], F]] = {}

    def get(self, name: str, start: Callable[[], AbstractContextManager[F]]) -> F:
        """The fleet of that name, which is started unless it runs."""
        if name not in self._running:
            manager = start()
            self._running[name] = manager, manager.__enter__()
        return self._running[name][1]

    def stop_unused(self, used: Collection[str]) -> None:
        """Stop those that are not among ``used``; all of them, also if that fails for one."""
        with ExitStack() as stopped:
            for name in self._running.keys() - set(used):
                manager, _ = self._running.pop(name)
                stopped.callback(manager.__exit__, None, None, None)
