"""Clients that hold connections of an API: half-sent heads and bodies, unread answers, event streams."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from infra.bench.harness.api import Address

#: Between two bytes of a client that drips.
DRIP_S = 2.0
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 5000\r\n\r\n"
)
UPLOAD = b"PUT /v1/loras/dripping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
#: Hundreds of large answers, asked for at once: more than buffers on the way can hold.
PIPELINE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300


@contextmanager
def slow_clients(address: Address, count: int, start: bytes, *, drip: bytes = b"") -> Iterator[None]:
    """``count`` connections that send ``start``, then ``drip`` every `DRIP_S`; a lost one is opened again."""
    with ExitStack() as held:
        clients = [_connect(address, start) for _ in range(count)]
        over = threading.Event()

        def keep_on() -> None:
            while not over.wait(DRIP_S):
                for i, client in enumerate(clients):
                    if not _send(client, drip):
                        client.close()
                        with contextlib.suppress(OSError):
                            clients[i] = _connect(address, start)

        thread = threading.Thread(target=keep_on)
        thread.start()
        held.callback(_close, clients)
        held.callback(thread.join)
        held.callback(over.set)
        yield


@contextmanager
def event_streams(address: Address, count: int, job_id: str) -> Iterator[int]:
    """``count`` streams of a job's events; yields how many of them have begun."""
    request = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with ExitStack() as held:
        begun = 0
        for _ in range(count):
            client = _connect(address, request)
            held.callback(client.close)
            ready, _, _ = select.select([client], [], [], 5.0)
            begun += bool(ready) and client.recv(4096).startswith(b"HTTP/1.1 200")
        yield begun


def _connect(address: Address, start: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(5.0)
    client.connect(address)
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        client.send(start)
    return client


def _close(clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()


def _send(client: socket.socket, data: bytes) -> bool:
    """Whether the connection is still there."""
    try:
        if data:
            client.send(data)
        elif select.select([client], [], [], 0)[0] and not client.recv(1, socket.MSG_PEEK):
            return False
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True
