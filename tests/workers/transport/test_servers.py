"""Several residual servers, full ones, and ones that go away: real servers, started for a test."""

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
from shared.redis_clients import residual_servers, without_retries
from shared.settings import Settings
from tests.conftest import READY_S, started
from tests.infra.local.waiting import eventually
from tests.workers.transport.ends import Ends, answer, noise
from workers.transport.backends.chunked_redis import CHUNK_BYTES
from workers.transport.redis_client.resp import Connection

#: Six chunks and a piece.
LARGE = (2, 100, 128, 129)
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


def make_ends(servers: Settings, *urls: str, **changes: object) -> Ends:
    changed = {"residual_redis_url": urls, "shared_memory": "off", **changes}
    settings = servers.model_copy(update=changed)
    return Ends([without_retries(client) for client in residual_servers(settings)], settings)


def stop(url: str) -> None:
    without_retries(Redis.from_url(url)).shutdown(nosave=True)


def test_a_large_residual_lies_on_all_servers_and_arrives_whole(servers: Settings, start: Start) -> None:
    urls = [start(), start(), start()]
    ends = make_ends(servers, *urls)
    asked, sent = ends.ask(), noise(*LARGE)
    assert ends.controlnet.respond(asked, [(answer(), sent)]) == sent.nbytes
    keys = [len(list(Redis.from_url(url).scan_iter("swift:body:*"))) for url in urls]
    assert sum(keys) == -(-sent.nbytes // CHUNK_BYTES)
    assert max(keys) - min(keys) <= 1
    [(_, received)] = ends.unet.receive(asked, 5.0)
    assert received is not None
    assert torch.equal(received, sent)
    assert not any(list(Redis.from_url(url).scan_iter("swift:body:*")) for url in urls)


def test_small_residuals_are_spread_over_the_servers(servers: Settings, start: Start) -> None:
    urls = [start(), start()]
    ends = make_ends(servers, *urls)
    asked = ends.ask()
    for index in range(-1, 3):
        ends.controlnet.respond(asked, [(answer(index), noise(2, 64, 32, 32))])
    assert [len(list(Redis.from_url(url).scan_iter("swift:body:*"))) for url in urls] == [2, 2]


def test_a_server_that_is_down_holds_nothing_and_stops_nobody(servers: Settings, start: Start) -> None:
    home, other = start(), start()
    ends = make_ends(servers, home, other)
    asked = ends.ask()
    ends.hand_over(asked, noise(*LARGE))
    stop(other)
    assert torch.equal(ends.hand_over(asked, noise(*LARGE, seed=1)), noise(*LARGE, seed=1))


def test_what_a_server_took_down_with_it_is_told(servers: Settings, start: Start) -> None:
    home, other = start(), start()
    ends = make_ends(servers, home, other)
    asked = ends.ask()
    ends.controlnet.respond(asked, [(answer(), noise(*LARGE))])
    stop(other)
    [(head, tensor)] = ends.unet.receive(asked, 5.0)
    assert tensor is None
    assert head.error == ResidualLost.code


def test_the_first_answer_after_the_server_has_hung_up_arrives(servers: Settings, start: Start) -> None:
    # Given a worker that has answered a step, and is idle
    home = start()
    ends = make_ends(servers, home)
    ends.hand_over(ends.ask(), noise(2, 8))
    # When the server hangs up on everybody, as one that starts anew does
    Redis.from_url(home).client_kill_filter(_type="normal", skipme=True)
    # Then the next step's first residual is not lost on the old connection
    assert torch.equal(ends.hand_over(ends.ask(), noise(2, 8, seed=1)), noise(2, 8, seed=1))


@pytest.mark.parametrize("policy", ["noeviction", "volatile-ttl"])
def test_a_writer_waits_until_the_reader_has_made_room(servers: Settings, start: Start, policy: str) -> None:
    # Given a server that has room for two such residuals
    ends = make_ends(servers, start("--maxmemory", "32mb", "--maxmemory-policy", policy))
    asked = ends.ask()
    # When four are sent, and read only by and by
    writer = threading.Thread(
        target=lambda: [
            ends.controlnet.respond(asked, [(answer(i), noise(*LARGE, seed=i))]) for i in range(4)
        ]
    )
    writer.start()
    received = []
    while len(received) < 4:
        received += ends.unet.receive(asked, 5.0)
    writer.join()
    # Then all arrive: none was thrown away for another
    assert [head.error for head, _ in received] == [None] * 4
    for i, (_, tensor) in enumerate(received):
        assert tensor is not None
        assert torch.equal(tensor, noise(*LARGE, seed=i))


def test_a_server_that_stays_full_is_told_in_the_residuals_place(servers: Settings, start: Start) -> None:
    ends = make_ends(servers, start("--maxmemory", "10mb"), residual_wait_s=0.1)
    asked = ends.ask()
    assert ends.controlnet.respond(asked, [(answer(), noise(*LARGE))]) == 0
    [(head, _)] = ends.unet.receive(asked, 5.0)
    assert head.error == ResidualServersFull.code


def ask(link: Connection, *words: bytes) -> object:
    link.send([words])
    return link.read(5.0)


def test_the_lean_client_gives_its_password_and_chooses_its_database(start: Start) -> None:
    url = start("--requirepass", "secret", credentials=":secret@").replace("/0", "/3")
    link = Connection(Redis.from_url(url, protocol=2).connection_pool)
    link.send([(b"SET", b"key", memoryview(b"value")), (b"GET", b"key")])
    assert link.settle(5.0) == [b"OK", b"value"]
    assert Redis.from_url(url).get("key") == b"value"
    link.close()


def test_the_lean_client_speaks_over_a_unix_socket(start: Start, tmp_path: Path) -> None:
    start("--unixsocket", str(tmp_path / "redis.sock"))
    link = Connection(Redis.from_url(f"unix://{tmp_path}/redis.sock", protocol=2).connection_pool)
    sent, memory = bytes(range(256)) * 40_000, memoryview(bytearray(256 * 40_000))
    link.send([(b"SET", b"key", memoryview(sent)), (b"GETDEL", b"key"), (b"GETDEL", b"key")])
    assert link.read(5.0) == b"OK"
    assert link.read_into(memory, 5.0)
    assert memory == sent
    assert not link.read_into(memory, 5.0)
    link.close()


def test_an_error_of_the_server_leaves_the_connection_in_step(residual: Redis) -> None:
    link = Connection(residual.connection_pool)
    link.send([(b"NOSUCH",), (b"SET", b"key", b"1"), (b"LPOP", b"key"), (b"PING",)])
    with pytest.raises(ResponseError, match="NOSUCH"):
        link.settle(5.0)
    assert ask(link, b"ECHO", b"still here") == b"still here"
    link.close()


def test_a_server_that_hangs_up_is_an_error_of_the_connection(start: Start) -> None:
    url = start()
    link = Connection(Redis.from_url(url, protocol=2).connection_pool)
    seen = Connection(Redis.from_url(url, protocol=2).connection_pool)
    assert seen.is_alive()
    stop(url)
    assert eventually(lambda: not seen.is_alive())
    with pytest.raises(ConnectionError):
        ask(link, b"PING")
    assert not link.is_open
