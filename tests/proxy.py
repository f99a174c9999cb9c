"""A TCP proxy to a real server, over which real bytes arrive late, in part, or not at all."""

import math
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Name of the threads of a connection. They end with it, which may be after the proxy: clients keep some.
CONNECTION = "proxied connection"
_BUFFER_BYTES = 1 << 16
#: Close with a reset, as a machine that crashes does: nothing that is on its way is delivered.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Tests turn its public attributes while it runs."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.is_down = False  # connections are closed as soon as they are made
        self.cuts = 0  # how many more answers break
        self.cut_after_bytes = 0  # of an answer
        self.hold_after_bytes = math.inf  # of all answers together; then the gate closes
        self.gate = threading.Event()  # answers pass while it is open
        self.gate.set()
        self._connections = 0
        self._silent = 0  # so many of the first connections pass nothing any more
        self._clients: list[socket.socket] = []
        self._closed = threading.Event()
        self._passed_bytes = 0
        self._connected = threading.Condition()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def url(self) -> str:
        """Where the server seems to be."""
        return f"http://127.0.0.1:{self.port}"

    def wait_for_connections(self, count: int) -> None:
        """Return once so many connections have been made in all."""
        with self._connected:
            assert self._connected.wait_for(lambda: self._connections >= count, timeout=60)

    def wait_until_held(self) -> None:
        """Return once ``hold_after_bytes`` have passed."""
        with self._connected:
            assert self._connected.wait_for(lambda: not self.gate.is_set(), timeout=60)

    def silence(self) -> None:
        """From now on existing connections pass nothing, and stay open; new ones work: a NAT forgot them."""
        with self._connected:
            self._silent = self._connections

    def reset(self) -> None:
        """Break all connections that there are."""
        with self._connected:
            for client in self._clients:
                _reset(client)
            self._clients.clear()

    def close(self) -> None:
        """Accept no more connections, and let go of those that wait."""
        _shut(self._listener)
        self.gate.set()
        self._closed.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            with self._connected:
                self._connections += 1
                number = self._connections
                self._clients.append(client)
                self._connected.notify_all()
            if self.is_down:
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:  # it does not listen, or not any more
                _reset(client)
                continue
            for pass_on, ends in ((self._ask, (client, server)), (self._answer, (server, client))):
                threading.Thread(target=pass_on, args=[number, *ends], name=CONNECTION, daemon=True).start()

    def _ask(self, number: int, client: socket.socket, server: socket.socket) -> None:
        for data in _received(client):
            self._wait_if_silent(number)
            if self.is_down:
                _reset(client)
                break
            try:
                server.sendall(data)
            except OSError:  # closed, as its answer was cut
                break
        _shut(server)

    def _answer(self, number: int, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        for data in _received(server):
            self._wait_if_silent(number)
            self._hold(len(data))
            if self.cuts and passed + len(data) > self.cut_after_bytes:
                self.cuts -= 1
                _reset(client)
                break
            try:
                client.sendall(data)
            except OSError:
                break
            passed += len(data)
        _shut(server)
        _shut(client)

    def _wait_if_silent(self, number: int) -> None:
        if number <= self._silent:
            self._closed.wait()

    def _hold(self, count: int) -> None:
        with self._connected:
            self._passed_bytes += count
            if self._passed_bytes > self.hold_after_bytes:
                self.hold_after_bytes = math.inf
                self.gate.clear()
                self._connected.notify_all()
        self.gate.wait()


@contextmanager
def proxied(target_port: int) -> Iterator[Proxy]:
    """A proxy for the length of the block."""
    proxy = Proxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()


def _received(end: socket.socket) -> Iterator[bytes]:
    try:
        while data := end.recv(_BUFFER_BYTES):
            yield data
    except OSError:
        return


def _reset(end: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    _shut(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes a thread that uses it: closing alone does not
    end.close()
