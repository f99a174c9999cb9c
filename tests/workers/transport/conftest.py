"""Both ends of the transport in one process, over a real residual Redis, with each large-payload backend."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.settings import Settings
from tests.workers.transport.transport_ends import BackendName, TransportEnds


@pytest.fixture(params=["redis", "shared_memory"])
def backend(request: pytest.FixtureRequest) -> BackendName:
    """The backend that carries large residuals."""
    chosen: BackendName = request.param
    return chosen


@pytest.fixture
def ends(residual: Redis, servers: Settings, backend: BackendName) -> Iterator[TransportEnds]:
    """A UNet worker's and a ControlNet worker's transport."""
    residual.flushall()
    shared_memory = "auto" if backend == "shared_memory" else "off"
    ends = TransportEnds([residual], servers.model_copy(update={"shared_memory": shared_memory}))
    yield ends
    ends.close()
