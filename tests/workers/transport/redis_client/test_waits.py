"""Which threads wait for Redis."""

import threading

from workers.transport.redis_client.waits import RedisWaits


def test_a_thread_waits_within_its_own_blocks_and_in_no_others() -> None:
    waits, here = RedisWaits(), threading.current_thread()
    other = threading.Thread()
    with waits:
        with waits:
            assert waits.includes(here)
        assert waits.includes(here)
        assert not waits.includes(other)
    assert not waits.includes(here)
