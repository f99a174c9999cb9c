"""Ends calls that wait on behalf of a client that has hung up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from api.server.client_socket import ClientSocket
from shared.errors import ClientDisconnected


class Disconnects:
    """The waiting calls of a process; `check` is called about once a second."""

    def __init__(self) -> None:
        self._waiting: dict[ClientSocket, Any] = {}

    @contextmanager
    def abort_on_disconnect(self, client: ClientSocket) -> Iterator[None]:
        """Within the block, raise `ClientDisconnected` in this greenlet once ``client`` has hung up."""
        self._waiting[client] = gevent.getcurrent()
        try:
            yield
        finally:
            self._waiting.pop(client, None)

    def check(self) -> None:
        """Check every client whose call waits."""
        for client in [client for client in self._waiting if client.has_hung_up()]:
            gevent.get_hub().loop.run_callback(self._interrupt, client)

    def _interrupt(self, client: ClientSocket) -> None:
        greenlet = self._waiting.pop(client, None)  # None: it has gone on meanwhile
        if greenlet is not None:
            greenlet.throw(ClientDisconnected("the client has hung up"))
