from contextlib import ExitStack

import pytest

from api.server.connections import Connections, TooManyConnections


def test_one_address_cannot_take_the_connections_of_all() -> None:
    connections = Connections(10, per_client=2)
    with connections.admit("a"), connections.admit("a"):
        with pytest.raises(TooManyConnections) as caught, connections.admit("a"):
            pass
        assert caught.value.of_client
        with connections.admit("b"):
            assert connections.open == 3
    assert connections.open == 0


@pytest.mark.parametrize("per_client", [0, 5])
def test_there_is_a_bound_for_all_together(per_client: int) -> None:
    connections = Connections(3, per_client)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(connections.admit("proxy"))
        with pytest.raises(TooManyConnections) as caught, connections.admit("other"):
            pass
        assert not caught.value.of_client
    with connections.admit("proxy"):
        assert connections.open == 1
