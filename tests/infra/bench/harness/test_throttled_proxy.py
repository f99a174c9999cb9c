import os
import socket
import threading

from infra.bench.harness.throttled_proxy import slow_line


def test_a_slow_line_carries_every_byte_both_ways() -> None:
    data = os.urandom(300_000)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                while chunk := connection.recv(1 << 16):
                    connection.sendall(chunk)

        threading.Thread(target=echo, daemon=True).start()
        with (
            slow_line(server.getsockname()[1], bytes_per_s=1e8) as port,
            socket.create_connection(("127.0.0.1", port), timeout=30) as client,
        ):
            threading.Thread(target=client.sendall, args=[data], daemon=True).start()
            received = bytearray()
            while len(received) < len(data):
                received += client.recv(1 << 16)
    assert received == data
