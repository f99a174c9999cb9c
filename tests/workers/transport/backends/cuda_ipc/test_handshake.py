"""Two workers use the backend once the reader has verified the writer's probe."""

from collections.abc import Iterator

import pytest

from tests.workers.transport.backends.cuda_ipc.ends import CPU, KB
from tests.workers.transport.backends.cuda_ipc.peer import get, put
from tests.workers.transport.backends.host_slabs import HostSlabs
from workers.transport.backends.cuda_ipc import handshake
from workers.transport.backends.cuda_ipc.backend import CUDAIPCBackend
from workers.transport.backends.host_memory import HostMemory


class Pair:
    """Two workers' backends."""

    def __init__(self, host: HostMemory) -> None:
        self.slabs = [HostSlabs(host.folder) for _ in range(2)]
        self.writer, self.reader = (
            CUDAIPCBackend(host, slabs, CPU, 1 << 20, lease_s=60.0) for slabs in self.slabs
        )

    def meet(self) -> bool:
        self.writer.can_reach(self.reader.announce())
        self.writer.sweep()
        self.reader.sweep()
        return self.writer.can_reach(self.reader.announce())

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@pytest.fixture
def pair(host: HostMemory) -> Iterator[Pair]:
    pair = Pair(host)
    yield pair
    pair.close()


def test_a_backend_is_used_once_the_reader_has_verified_the_probe(pair: Pair) -> None:
    peer = pair.reader.announce()
    assert not pair.writer.can_reach(peer)
    pair.reader.sweep()
    assert not pair.writer.can_reach(peer)
    assert pair.meet()
    # And only in this direction, until the other one asks
    assert not pair.reader.can_reach(pair.writer.announce())
    assert [slab.memory.numel() for slab in pair.slabs[0].allocated] == [handshake.PROBE_BYTES]
    assert pair.slabs[1].allocated == []


@pytest.mark.parametrize(
    "peer", ["", "elsewhere", "TOKEN", "TOKEN/", "OTHER/0123456789abcdef", "TOKEN/../.."]
)
def test_a_worker_of_another_host_is_out_of_reach(pair: Pair, peer: str) -> None:
    assert pair.meet()
    token, _ = pair.writer.announce().split("/")
    named = peer.replace("TOKEN", token).replace("OTHER", "f" * 32)
    assert not pair.writer.can_reach(named)
    assert put(pair.writer, CPU, named, 0, KB) is None


@pytest.mark.parametrize("fault", ["refuses", "is_wrong"])
def test_a_reader_that_cannot_read_the_probe_refuses_it_for_good(
    pair: Pair, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    setattr(pair.slabs[1], fault, True)
    assert not pair.meet()
    setattr(pair.slabs[1], fault, False)
    assert not pair.meet()
    assert not pair.meet()
    assert pair.slabs[1].opened == []
    said = [record for record in caplog.records if record.message == "device memory not shared with a worker"]
    assert len(said) == 2  # one of either end


def test_a_writer_that_can_share_nothing_says_so_once(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    pair.slabs[0].refuses = True
    assert not pair.meet()
    pair.slabs[0].refuses = False
    assert not pair.meet()
    assert [record.message for record in caplog.records] == ["device memory not shared"]


def test_a_reader_that_fails_later_is_sent_nothing_more(pair: Pair) -> None:
    # Given a pair that has met, and a slab that cannot be opened
    assert pair.meet()
    location = put(pair.writer, CPU, pair.reader.announce(), 0, KB)
    pair.slabs[1].refuses = True
    # When it is lost, then the writer uses other backends
    assert get(pair.reader, CPU, location, 0, KB) == "lost"
    assert not pair.writer.can_reach(pair.reader.announce())
