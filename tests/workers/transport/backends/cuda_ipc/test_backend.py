"""The backend between two real processes, on a GPU and over slabs in the host's memory; and its errors."""

import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis

from shared.errors import DeviceLost
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.workers.transport.backends.cuda_ipc.ends import CPU, KB
from tests.workers.transport.backends.cuda_ipc.peer import Peer, get, make_backend, payload, put
from tests.workers.transport.backends.host_slabs import HostSlabs
from tests.workers.transport.transport_ends import TransportEnds, make_request, make_response, noise
from workers.devices.base import Device
from workers.transport.backends.cuda_ipc.backend import CUDAIPCBackend
from workers.transport.backends.host_memory import LOCK, HostMemory
from workers.transport.backends.redis import RedisBackend
from workers.transport.redis_client.pool import ConnectionPool

MakePeer = Callable[..., Peer]
MB = 1 << 20


def test_an_error_of_the_device_ends_sharing_and_a_lost_device_is_told(host: HostMemory) -> None:
    class Failing(FakeDevice):
        def record_stream(self, tensor: torch.Tensor) -> None:
            raise RuntimeError("CUDA error: invalid argument")

    device = Failing()
    backend = CUDAIPCBackend(host, HostSlabs(host.folder), device, 1 << 20, 60.0)
    request = make_request(reachable_by={"cuda_ipc": backend.announce()})
    backend.can_reach(backend.announce())
    backend.sweep()
    assert backend.can_reach(backend.announce())
    device.lost = True
    with pytest.raises(DeviceLost):
        backend.put(request, 0, payload(0, KB))
    device.lost = False
    assert backend.put(request, 0, payload(0, KB)) is None
    assert not backend.can_reach(backend.announce())
    backend.close()


def test_residuals_travel_through_it_and_the_next_backend_carries_what_it_has_no_space_for(
    residual: Redis, servers: Settings, host: HostMemory
) -> None:
    residual.flushall()
    backend = make_backend(host, CPU, limit_bytes=256 * KB)
    ends = TransportEnds(
        [residual], servers, [backend, RedisBackend(ConnectionPool([residual]), servers, CPU)]
    )
    small, large = noise(2, 4, 32, 32, dtype=torch.float16), noise(2, 64, 64, 64)

    def backends_of(sent: list[torch.Tensor]) -> list[str]:
        request, names = ends.send_step(), list[str]()
        ends.controlnet.respond(request, [(make_response(i), tensor) for i, tensor in enumerate(sent)])
        while len(names) < len(sent):
            for response, received in ends.receive(request):
                assert received is not None
                assert response.payload is not None
                assert torch.equal(received, sent[response.index])
                names.append(response.payload.backend)
        return names

    assert backends_of([small]) == ["redis"]  # nobody has met yet
    backend.sweep()
    assert backends_of([small, small]) == ["cuda_ipc"] * 2
    assert sorted(backends_of([large, small])) == ["cuda_ipc", "redis"]
    ends.close()


def test_residuals_that_arrive_together_are_waited_for_once(
    residual: Redis, servers: Settings, host: HostMemory
) -> None:
    residual.flushall()
    device = FakeDevice()
    backend = make_backend(host, device)
    backend.can_reach(backend.announce())
    backend.sweep()
    ends = TransportEnds([residual], servers, [backend], device)
    # Given four residuals of a step
    request, sent = ends.send_step(), [noise(2, 4, 32, 32) for _ in range(4)]
    ends.controlnet.respond(request, [(make_response(i), tensor) for i, tensor in enumerate(sent)])
    device.finish()
    # When they are received, then the last copy is waited for, and the others have been made by then
    device.log.clear()
    received = ends.unet.receive(request, 5.0)
    assert len([entry for entry in device.log if entry.startswith("wait")]) == 1
    for response, copy in received:
        assert copy is not None
        assert torch.equal(copy.follow(), sent[response.index])
    assert len(received) == 4
    ends.close()


def test_a_payload_that_cannot_be_used_hands_its_slot_back(
    residual: Redis, servers: Settings, host: HostMemory
) -> None:
    class Full(FakeDevice):
        is_full = False

        def from_host(self, tensor: torch.Tensor) -> torch.Tensor:
            if self.is_full:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().from_host(tensor)

    residual.flushall()
    device = Full()
    backend = make_backend(host, device, limit_bytes=256 * KB)
    backend.can_reach(backend.announce())
    backend.sweep()
    ends = TransportEnds([residual], servers, [backend], device)
    large = noise(2, 4, 128, 48)  # of three quarters of the memory
    # Given a reader without the memory for what has arrived
    request = ends.send_step()
    ends.controlnet.respond(request, [(make_response(0), large)])
    device.finish()
    device.is_full = True
    with pytest.raises(torch.OutOfMemoryError):
        ends.unet.receive(request, 5.0)
    # Then the next one finds the slot free
    device.is_full = False
    assert torch.equal(ends.transfer(ends.send_step(), large), large)
    ends.close()


@pytest.fixture
def make_peer(host: HostMemory, device: Device) -> Iterator[MakePeer]:
    started: list[Peer] = []

    def make(**limits: Any) -> Peer:
        started.append(Peer(host.folder, str(device.torch_device), **limits))
        return started[-1]

    yield make
    for peer in started:
        peer.close()


@pytest.fixture
def backend(host: HostMemory, device: Device) -> Iterator[CUDAIPCBackend]:
    backend = make_backend(host, device)
    yield backend
    backend.close()


def introduce(writer: Peer, backend: CUDAIPCBackend) -> None:
    """The handshake, as heartbeats make it: the writer is another process."""
    assert writer.ask("can_reach", backend.announce()) is False
    writer.ask("sweep")
    backend.sweep()
    assert writer.ask("can_reach", backend.announce()) is True


def folders(host: HostMemory) -> set[str]:
    return {path.parent.name for path in host.folder.glob(f"*/{LOCK}")}


def slab_files(host: HostMemory) -> list[Path]:
    return list(host.folder.glob("*/0"))


@pytest.mark.parametrize("size_bytes", [1, 5 * MB, 21 * MB, 107 * MB])
def test_payloads_arrive_bit_by_bit_from_another_process(
    size_bytes: int, make_peer: MakePeer, backend: CUDAIPCBackend, device: Device
) -> None:
    writer = make_peer()
    introduce(writer, backend)
    for seed in range(3):
        location = writer.ask("put", backend.announce(), seed, size_bytes)
        assert get(backend, device, location, seed, size_bytes) == "same"


def test_payloads_arrive_bit_by_bit_in_another_process(
    make_peer: MakePeer, backend: CUDAIPCBackend, device: Device
) -> None:
    reader = make_peer()
    peer = reader.ask("announce")
    assert not backend.can_reach(peer)
    backend.sweep()
    reader.ask("sweep")
    assert backend.can_reach(peer)
    for seed in range(3):
        location = put(backend, device, peer, seed, 5 * MB)
        assert reader.ask("get", location, seed, 5 * MB) == "same"


def test_a_writer_that_is_killed_between_header_and_copy_loses_its_payloads_alone(
    make_peer: MakePeer, backend: CUDAIPCBackend, device: Device, host: HostMemory
) -> None:
    # Given a reader that has one slab open already
    writer, other = make_peer(), make_peer()
    introduce(writer, backend)
    first, second = (writer.ask("put", backend.announce(), seed, MB) for seed in range(2))
    assert get(backend, device, first, 0, MB) == "same"
    # When the writer is killed before the second copy
    writer.kill()
    # Then that payload is lost, also after a sweep, and the reader goes on with another writer
    assert get(backend, device, second, 1, MB) == "lost"
    backend.sweep()
    assert get(backend, device, second, 1, MB) == "lost"
    introduce(other, backend)
    assert get(backend, device, other.ask("put", backend.announce(), 2, MB), 2, MB) == "same"


def test_slots_of_a_killed_reader_are_kept_until_its_lock_is_gone(
    make_peer: MakePeer, host: HostMemory, device: Device
) -> None:
    # Given a pool that is full of payloads that another process has not read
    backend, reader = make_backend(host, device, limit_bytes=2 * MB), make_peer()
    peer = reader.ask("announce")
    backend.can_reach(peer)
    backend.sweep()
    reader.ask("sweep")
    assert [put(backend, device, peer, seed, MB) is None for seed in range(3)] == [False, False, True]
    # When the reader lives, nothing is freed; when it is killed, all of it
    backend.sweep()
    assert put(backend, device, peer, 3, MB) is None
    reader.kill()
    backend.sweep()
    assert put(backend, device, backend.announce(), 4, 2 * MB) is not None
    backend.close()


def test_a_process_that_ends_leaves_no_folder(make_peer: MakePeer, host: HostMemory) -> None:
    peer = make_peer()
    peer.ask("announce")
    assert len(folders(host)) == 1
    peer.close()
    assert folders(host) == set()


def test_what_a_killed_process_leaves_is_swept(
    make_peer: MakePeer, backend: CUDAIPCBackend, host: HostMemory
) -> None:
    writer = make_peer()
    introduce(writer, backend)
    writer.ask("put", backend.announce(), 0, MB)
    assert len(slab_files(host)) == 1
    writer.kill()
    backend.sweep()
    assert len(folders(host)) == 1
    assert slab_files(host) == []


def test_memory_returns_to_the_device_when_either_process_ends(
    cuda: Device, make_peer: MakePeer, host: HostMemory, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    def used_bytes() -> int:
        memory = cuda.memory()
        assert memory is not None
        return memory.total_bytes - memory.free_bytes

    if device is not cuda:
        pytest.skip("only a GPU tells")
    backend = make_backend(host, cuda)
    get(backend, cuda, {"segment": "0123456789abcdef/0", "offset": 0, "generation": 1}, 0, MB)
    before = used_bytes()
    for is_killed in (False, True):
        # Given a writer whose slab of 256 MB is open here
        writer = make_peer()
        introduce(writer, backend)
        location = writer.ask("put", backend.announce(), 0, 256 * MB)
        assert get(backend, cuda, location, 0, 256 * MB) == "same"
        # When it ends, or is killed
        writer.kill() if is_killed else writer.close()
        backend.sweep()
        gc.collect()
        cuda.release_cached()
        # Then its memory is free again (but for what a context takes)
        assert used_bytes() - before < 64 * MB
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    backend.close()
