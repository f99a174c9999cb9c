"""Several residual servers, full servers and servers that stop: each test starts its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from redis import Redis
from redis.exceptions import ConnectionError, ResponseError

from infra.bench.harness.ports import free_ports
from infra.local.servers import redis_binary, wait_for_redis
from shared.errors import ResidualLost, ResidualServersFull
from shared.keys import TRANSPORT
from shared.redis_clients import residual_servers, without_retries
from shared.settings import Settings
from tests.conftest import READY_S, started
from tests.infra.local.waiting import eventually
from tests.workers.transport.transport_ends import TransportEnds, make_response, noise
from workers.transport.backends.chunked_redis import CHUNK_BYTES
from workers.transport.redis_client.resp import Connection

#: Six chunks and a part of one.
LARGE = (2, 100, 128, 129)
PAYLOADS = f"{TRANSPORT}:payload:*"
Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with these options; returns its URL."""
    with ExitStack() as running:

        def start(*options: str, credentials: str = "") -> str:
            [port] = free_ports(1)
            bound = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
            running.enter_context(started([redis_binary(), *bound, *options], tmp_path, {}))
            url = f"redis://{credentials}127.0.0.1:{port}/0"
            wait_for_redis(url, READY_S)
            return url

        yield start


def make_ends(servers: Settings, *urls: str, **changes: object) -> TransportEnds:
    changed = {"residual_redis_url": urls, "shared_memory": "off", **changes}
    settings = servers.model_copy(update=changed)
    return TransportEnds([without_retries(client) for client in residual_servers(settings)], settings)


def stop(url: str) -> None:
    without_retries(Redis.from_url(url)).shutdown(nosave=True)


def test_a_large_residual_is_spread_over_all_servers_and_arrives_whole(
    servers: Settings, start: Start
) -> None:
    urls = [start(), start(), start()]
    ends = make_ends(servers, *urls)
    request, sent = ends.send_step(), noise(*LARGE)
    assert ends.controlnet.respond(request, [(make_response(), sent)]) == sent.nbytes
    keys = [len(list(Redis.from_url(url).scan_iter(PAYLOADS))) for url in urls]
    assert sum(keys) == -(-sent.nbytes // CHUNK_BYTES)
    assert max(keys) - min(keys) <= 1
    [(_, received)] = ends.receive(request)
    assert received is not None
    assert torch.equal(received, sent)
    assert not any(list(Redis.from_url(url).scan_iter(PAYLOADS)) for url in urls)


def test_small_residuals_are_spread_over_the_servers(servers: Settings, start: Start) -> None:
    urls = [start(), start()]
    ends = make_ends(servers, *urls)
    request = ends.send_step()
    for index in range(-1, 3):
        ends.controlnet.respond(request, [(make_response(index), noise(2, 64, 32, 32))])
    assert [len(list(Redis.from_url(url).scan_iter(PAYLOADS))) for url in urls] == [2, 2]


def test_a_server_that_is_down_gets_no_chunks_and_stops_no_residual(servers: Settings, start: Start) -> None:
    primary, other = start(), start()
    ends = make_ends(servers, primary, other)
    request = ends.send_step()
    ends.transfer(request, noise(*LARGE))
    stop(other)
    assert torch.equal(ends.transfer(request, noise(*LARGE, seed=1)), noise(*LARGE, seed=1))


def test_an_error_comes_in_place_of_chunks_that_a_server_lost(servers: Settings, start: Start) -> None:
    primary, other = start(), start()
    ends = make_ends(servers, primary, other)
    request = ends.send_step()
    ends.controlnet.respond(request, [(make_response(), noise(*LARGE))])
    stop(other)
    [(response, tensor)] = ends.receive(request)
    assert tensor is None
    assert response.error == ResidualLost.code


def test_the_first_response_after_the_server_has_hung_up_arrives(servers: Settings, start: Start) -> None:
    # Given a worker that has responded to a step, and is idle
    primary = start()
    ends = make_ends(servers, primary)
    ends.transfer(ends.send_step(), noise(2, 8))
    # When the server closes every connection, as one that is restarted does
    Redis.from_url(primary).client_kill_filter(_type="normal", skipme=True)
    # Then the next step's first residual is not lost on the old connection
    assert torch.equal(ends.transfer(ends.send_step(), noise(2, 8, seed=1)), noise(2, 8, seed=1))


@pytest.mark.parametrize("policy", ["noeviction", "volatile-ttl"])
def test_a_writer_waits_until_the_reader_has_freed_space(
    servers: Settings, start: Start, policy: str
) -> None:
    # Given a server that has space for two such residuals
    ends = make_ends(servers, start("--maxmemory", "32mb", "--maxmemory-policy", policy))
    request = ends.send_step()
    # When four are sent, and received more slowly
    writer = threading.Thread(
        target=lambda: [
            ends.controlnet.respond(request, [(make_response(i), noise(*LARGE, seed=i))]) for i in range(4)
        ]
    )
    writer.start()
    received = []
    while len(received) < 4:
        received += ends.receive(request)
    writer.join()
    # Then all arrive: none was evicted for another
    assert [response.error for response, _ in received] == [None] * 4
    for i, (_, tensor) in enumerate(received):
        assert tensor is not None
        assert torch.equal(tensor, noise(*LARGE, seed=i))


def test_an_error_comes_in_place_of_a_residual_if_a_server_stays_full(
    servers: Settings, start: Start
) -> None:
    ends = make_ends(servers, start("--maxmemory", "10mb"), residual_timeout_s=0.1)
    request = ends.send_step()
    assert ends.controlnet.respond(request, [(make_response(), noise(*LARGE))]) == 0
    [(response, _)] = ends.receive(request)
    assert response.error == ResidualServersFull.code


def call(connection: Connection, *words: bytes) -> object:
    connection.send([words])
    return connection.read(5.0)


def test_a_connection_gives_its_password_and_chooses_its_database(start: Start) -> None:
    url = start("--requirepass", "secret", credentials=":secret@").replace("/0", "/3")
    connection = Connection(Redis.from_url(url, protocol=2).connection_pool)
    connection.send([(b"SET", b"key", memoryview(b"value")), (b"GET", b"key")])
    assert connection.read_pending(5.0) == [b"OK", b"value"]
    assert Redis.from_url(url).get("key") == b"value"
    connection.close()


def test_a_connection_works_over_a_unix_socket(start: Start, tmp_path: Path) -> None:
    start("--unixsocket", str(tmp_path / "redis.sock"))
    connection = Connection(Redis.from_url(f"unix://{tmp_path}/redis.sock", protocol=2).connection_pool)
    sent, memory = bytes(range(256)) * 40_000, memoryview(bytearray(256 * 40_000))
    connection.send([(b"SET", b"key", memoryview(sent)), (b"GETDEL", b"key"), (b"GETDEL", b"key")])
    assert connection.read(5.0) == b"OK"
    assert connection.read_into(memory, 5.0)
    assert memory == sent
    assert not connection.read_into(memory, 5.0)
    connection.close()


def test_a_connection_stays_usable_after_an_error_of_the_server(residual: Redis) -> None:
    connection = Connection(residual.connection_pool)
    connection.send([(b"NOSUCH",), (b"SET", b"key", b"1"), (b"LPOP", b"key"), (b"PING",)])
    with pytest.raises(ResponseError, match="NOSUCH"):
        connection.read_pending(5.0)
    assert call(connection, b"ECHO", b"still here") == b"still here"
    connection.close()


def test_a_connection_notices_that_its_server_has_hung_up(start: Start) -> None:
    url = start()
    connection = Connection(Redis.from_url(url, protocol=2).connection_pool)
    idle = Connection(Redis.from_url(url, protocol=2).connection_pool)
    assert idle.is_alive()
    stop(url)
    assert eventually(lambda: not idle.is_alive())
    with pytest.raises(ConnectionError):
        call(connection, b"PING")
    assert not connection.is_open
