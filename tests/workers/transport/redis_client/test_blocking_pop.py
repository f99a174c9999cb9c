"""Waiting at a list in short reads."""

from typing import cast

from redis import Redis

from workers.transport.redis_client.blocking_pop import LEAST_S, POLL_S, pop_within


class Reads:
    """A list at which nothing comes until the last of its reads."""

    def __init__(self, *replies: tuple[bytes, bytes] | None) -> None:
        self._replies = list(replies)
        self.timeouts: list[float] = []

    def blpop(self, keys: list[str], timeout: float) -> tuple[bytes, bytes] | None:
        """See `redis.Redis`."""
        self.timeouts.append(timeout)
        return self._replies.pop(0)


def test_a_long_wait_is_made_of_reads_that_no_socket_timeout_ends() -> None:
    reads = Reads(None, None, (b"key", b"element"))
    assert pop_within(cast(Redis, reads), "key", 3600.0) == b"element"
    assert reads.timeouts == [POLL_S] * 3


def test_a_short_wait_is_one_read_and_never_endless() -> None:
    for timeout_s in (0.1, 1e-9):
        reads = Reads((b"key", b"element"))
        assert pop_within(cast(Redis, reads), "key", timeout_s) == b"element"
        assert LEAST_S <= reads.timeouts[0] <= 0.1


def test_an_element_is_waited_for_no_longer_than_it_shall(residual: Redis) -> None:
    residual.delete("list")
    assert [pop_within(residual, "list", timeout_s) for timeout_s in (0.0, 0.05)] == [None, None]
    residual.rpush("list", "element", "", "last")
    found = [pop_within(residual, "list", timeout_s) for timeout_s in (0.0, 5.0, 5.0)]
    assert found == [b"element", b"", b"last"]
