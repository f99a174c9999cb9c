"""The limit of anything that travels over a server: bytes come in from one socket and go out at another.

``python -m infra.bench.parts.transport.relay PORT``: the first who connects sends, the second receives.
"""

import socket
import sys

#: As a server with kept memory would read: nothing is allocated on the way.
BUFFER_BYTES = 1 << 20


def connect(port: int) -> socket.socket:
    """A connection to a relay."""
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def relay(port: int) -> None:
    """Pass on what comes, as soon as it comes, until the sender hangs up."""
    with socket.create_server(("127.0.0.1", port)) as server:
        print("ready", flush=True)
        source, target = server.accept()[0], server.accept()[0]
        buffer = memoryview(bytearray(BUFFER_BYTES))
        while got := source.recv_into(buffer):
            target.sendall(buffer[:got])


if __name__ == "__main__":
    relay(int(sys.argv[1]))
