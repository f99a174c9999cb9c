"""How long a client may keep a transfer waiting."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import gevent
import pytest
from gevent import socket

from api.server.client_socket import ClientSocket, MinTransferRate

#: Short enough for a test; every wait below ends because of what is tested.
WAIT_S = 0.5
#: Of clients that are fast enough: longer than a busy machine lets a process wait.
LONG_WAIT_S = 2.0


@contextmanager
def connected(sending_s: float) -> Iterator[tuple[ClientSocket, Any]]:
    """The server's side of a connection, which waits so long for a client that reads, and the client's."""
    ours, theirs = socket.socketpair()
    client = ClientSocket(ours, sending=MinTransferRate(sending_s, 1000), abort=lambda _: nullcontext())
    yield client, theirs
    theirs.close()
    client.close()


@pytest.fixture
def pair() -> Iterator[tuple[ClientSocket, Any]]:
    """See `connected`."""
    with connected(WAIT_S) as pair:
        yield pair


def test_a_client_that_drips_its_body_is_given_up(pair: tuple[ClientSocket, Any]) -> None:
    ours, theirs = pair

    def drip() -> None:
        while True:
            theirs.send(b"x")
            gevent.sleep(WAIT_S / 10)

    dripping = gevent.spawn(drip)
    with pytest.raises(TimeoutError), ours.receiving(MinTransferRate(WAIT_S, 1000)):
        all(iter(lambda: ours.recv(1024), b""))
    dripping.kill()


def test_a_client_that_sends_fast_enough_may_take_as_long_as_it_needs(pair: tuple[ClientSocket, Any]) -> None:
    ours, theirs = pair

    def send() -> None:
        for _ in range(25):  # more than is asked for, for longer than one wait
            theirs.send(bytes(600))
            gevent.sleep(LONG_WAIT_S / 20)
        theirs.shutdown(socket.SHUT_WR)

    gevent.spawn(send)
    with ours.receiving(MinTransferRate(LONG_WAIT_S, 1000)):
        assert sum(map(len, iter(lambda: ours.recv(1024), b""))) == 15_000


def test_the_client_is_not_charged_for_our_own_pauses(pair: tuple[ClientSocket, Any]) -> None:
    ours, theirs = pair
    theirs.send(b"ab")
    pace = MinTransferRate(WAIT_S, 1000)
    with ours.receiving(pace):
        assert ours.recv(1) == b"a"
        gevent.sleep(2 * WAIT_S)
        assert ours.recv(1) == b"b"


def test_a_client_that_does_not_read_its_answer_is_given_up(pair: tuple[ClientSocket, Any]) -> None:
    ours, _ = pair
    with pytest.raises(BrokenPipeError):
        ours.sendall(bytes(32 << 20))


def test_an_answer_arrives_whole_at_a_client_that_reads() -> None:
    data, received = bytes(range(256)) * (4 << 12), bytearray()
    with connected(30.0) as (ours, theirs):
        sending = gevent.spawn(ours.sendall, data)
        while len(received) < len(data):
            received += theirs.recv(1 << 16)
        sending.get()
    assert received == data


def test_of_requests_that_came_at_once_each_lets_others_go_first(pair: tuple[ClientSocket, Any]) -> None:
    ours, theirs = pair
    order: list[str] = []

    def serve(name: str, client: ClientSocket, requests: int) -> None:
        for _ in range(requests):
            client.take_turns()
            order.append(name)

    theirs.send(b"three requests")
    ours.recv(1024)
    other = ClientSocket(theirs, sending=MinTransferRate(WAIT_S, 1000), abort=lambda _: nullcontext())
    gevent.joinall([gevent.spawn(serve, "a", ours, 3), gevent.spawn(serve, "b", other, 2)])
    assert order == ["a", "b", "a", "b", "a"] or order == ["a", "a", "b", "a", "b"]
