import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from infra.bench.harness.throttled_proxy import CREDIT_S, SHARED_CHUNK_BYTES, shared_line, slow_line


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


def test_connections_of_a_shared_line_share_its_bandwidth_and_are_counted() -> None:
    data, rate = os.urandom(1_000_000), 1e7
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                threading.Thread(target=_send_and_close, args=[connection, data], daemon=True).start()

        threading.Thread(target=send, daemon=True).start()
        with shared_line(server.getsockname()[1], rate) as line, ThreadPoolExecutor(2) as pool:
            began = time.monotonic()
            received = list(pool.map(_receive_all, [line.port] * 2))
            took_s = time.monotonic() - began
    assert received == [data, data]
    assert line.carried_bytes == 2 * len(data)
    assert took_s > (2 * len(data) - 2 * SHARED_CHUNK_BYTES) / rate - CREDIT_S  # never faster than the line


def _send_and_close(connection: socket.socket, data: bytes) -> None:
    with connection:
        connection.sendall(data)


def _receive_all(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        received = bytearray()
        while chunk := client.recv(1 << 16):
            received += chunk
    return bytes(received)
