"""A client of Redis that keeps what it was asked for."""

from typing import Any

from redis import Redis


class CountingRedis(Redis):
    """Each of ``calls`` is a command and its arguments; of a pipeline none is kept."""

    def __init__(self, other: Redis) -> None:
        """A client of the same server as ``other``."""
        port = other.connection_pool.connection_kwargs["port"]
        super().__init__(port=port, decode_responses=True)
        self.calls: list[tuple[Any, ...]] = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.calls.append(args)
        return super().execute_command(*args, **options)
