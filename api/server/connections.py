"""How many connections are open, in all and from each address."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class TooManyConnections(Exception):
    """One connection beyond the limit; ``of_client`` says whether it is the limit of one address."""

    def __init__(self, limit: int, *, of_client: bool) -> None:
        super().__init__(f"more than {limit} connections")
        self.limit, self.of_client = limit, of_client


class Connections:
    """Counts open connections; ``per_client`` 0 means no limit for one address."""

    def __init__(self, limit: int, per_client: int) -> None:
        self._limit, self._per_client = limit, per_client
        self._of_client: Counter[str] = Counter()
        self.open = 0

    @contextmanager
    def admit(self, address: str) -> Iterator[None]:
        """Count a connection for the length of the block; raises `TooManyConnections`."""
        if self.open >= self._limit:
            raise TooManyConnections(self._limit, of_client=False)
        if self._per_client and self._of_client[address] >= self._per_client:
            raise TooManyConnections(self._per_client, of_client=True)
        self.open += 1
        self._of_client[address] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._of_client[address] -= 1
            if not self._of_client[address]:
                del self._of_client[address]
