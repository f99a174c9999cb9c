"""Both ends of the transport in one process, over a real residual Redis, on each rung."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.settings import Settings
from tests.workers.transport.ends import Ends, Rung


@pytest.fixture(params=["redis", "shared_memory"])
def rung(request: pytest.FixtureRequest) -> Rung:
    """The way residuals go."""
    chosen: Rung = request.param
    return chosen


@pytest.fixture
def ends(residual: Redis, servers: Settings, rung: Rung) -> Iterator[Ends]:
    """A UNet worker's and a ControlNet worker's transport."""
    residual.flushall()
    settings = servers.model_copy(update={"shared_memory": "auto" if rung == "shared_memory" else "off"})
    ends = Ends([residual], settings)
    yield ends
    ends.close()
