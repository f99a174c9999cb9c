"""Shared memory: segments, leases, and what is left when a process dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.fake_device import FakeDevice
from tests.workers.transport.transport_ends import make_request, noise
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.transport.backends import host_memory as host_memory
from workers.transport.backends.host_memory import HostMemory
from workers.transport.backends.shared_memory import SharedMemoryBackend
from workers.transport.backends.shared_memory_pool import SharedMemoryBlock, SharedMemoryPool
from workers.transport.backends.shared_memory_reader import SharedMemoryReader
from workers.transport.wire import flat_bytes

CPU = find_device("cpu")
LIMIT_BYTES = 1 << 20
LEASE_S = 60.0
#: A writer that prints where its block is, and lives until it is killed.
WRITER = """
import sys, torch
from pathlib import Path
from workers.devices.selection import find_device
from workers.transport.backends.host_memory import HostMemory
from workers.transport.backends.shared_memory_pool import SharedMemoryPool
device = find_device("cpu")
pool = SharedMemoryPool(HostMemory(Path(sys.argv[1])), 1 << 20, 60.0, device)
print(pool.write(torch.arange(40000.0).view(torch.uint8)).block.model_dump_json(), flush=True)
sys.stdin.read()
"""
#: A reader that holds what it has read, and lives until it is killed.
READER = """
import sys
from pathlib import Path
from workers.devices.selection import find_device
from workers.transport.backends.shared_memory_reader import SharedMemoryReader
from workers.transport.backends.shared_memory_pool import SharedMemoryBlock
reader = SharedMemoryReader(Path(sys.argv[1]), find_device("cpu"))
view = reader.open(SharedMemoryBlock.model_validate_json(sys.argv[2]), 160000)
print(len(view), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def host() -> Iterator[HostMemory]:
    """A folder of its own in the real shared memory."""
    memory = HostMemory(Path(f"/dev/shm/swiftdiffusion-test-{os.getpid()}"))
    yield memory
    for path in sorted(memory.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    memory.folder.rmdir()


def write(pool: SharedMemoryPool, tensor: torch.Tensor) -> SharedMemoryBlock | None:
    written = pool.write(flat_bytes(tensor))
    return None if written is None else written.block


def segment_files(host: HostMemory) -> list[Path]:
    return [path for path in host.folder.glob("*/*") if path.name != host_memory.LOCK]


def run(script: str, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_memory_that_is_not_released_within_the_lease_is_freed(host: HostMemory) -> None:
    # Given a reader that still uses its block when the lease has run out
    pool, reader = SharedMemoryPool(host, LIMIT_BYTES, 0.0, CPU), SharedMemoryReader(host.folder, CPU)
    sent = noise(2, 8, 32, 32)
    block = write(pool, sent)
    assert block is not None
    view = reader.open(block, sent.nbytes)
    assert view is not None
    # When the writer reclaims it and goes on
    pool.reclaim()
    assert segment_files(host) == []
    write(pool, noise(2, 8, 32, 32, seed=1))
    # Then the reader's bytes have not changed, and nobody else can open them
    assert torch.equal(torch.frombuffer(view, dtype=torch.float32), sent.flatten())
    assert SharedMemoryReader(host.folder, CPU).open(block, sent.nbytes) is None


def test_a_reader_forgets_segments_that_their_writer_has_removed(host: HostMemory) -> None:
    pool, reader = SharedMemoryPool(host, LIMIT_BYTES, 0.0, CPU), SharedMemoryReader(host.folder, CPU)
    block = write(pool, noise(2, 8, 32, 32))
    assert block is not None
    reader.open(block, 8)
    pool.close()
    reader.drop_gone()
    assert reader.open(block, 8) is None


def test_a_full_pool_removes_released_segments_of_other_sizes_before_it_refuses(host: HostMemory) -> None:
    pool, reader = SharedMemoryPool(host, 1 << 20, LEASE_S, CPU), SharedMemoryReader(host.folder, CPU)
    half, quarter = torch.zeros(1 << 19, dtype=torch.int8), torch.zeros(1 << 18, dtype=torch.int8)
    first = write(pool, half)
    second = write(pool, half)
    assert first is not None
    assert second is not None
    assert write(pool, quarter) is None  # both are unread
    reader.open(first, 8)  # and dropped: released
    assert write(pool, quarter) is not None
    assert write(pool, half) is None


def test_a_block_of_an_earlier_use_cannot_be_opened(host: HostMemory) -> None:
    pool, reader = SharedMemoryPool(host, LIMIT_BYTES, LEASE_S, CPU), SharedMemoryReader(host.folder, CPU)
    old = write(pool, noise(8, 8))
    assert old is not None
    reader.open(old, 256)
    new = write(pool, noise(8, 8))
    assert new is not None
    assert (new.segment, new.generation) == (old.segment, old.generation + 1)
    assert reader.open(old, 256) is None


def test_to_release_a_block_of_an_earlier_use_frees_nothing(host: HostMemory) -> None:
    pool, reader = SharedMemoryPool(host, LIMIT_BYTES, LEASE_S, CPU), SharedMemoryReader(host.folder, CPU)
    old = write(pool, noise(8, 8))
    assert old is not None
    reader.open(old, 256)
    new = write(pool, noise(8, 8))
    assert new is not None
    assert pool.release(old)
    other = write(pool, noise(8, 8))
    assert other is not None
    assert other.segment != new.segment


@pytest.mark.parametrize("end", ["writer", "reader"])
def test_a_payload_that_nobody_reads_can_be_discarded_by_both_ends(host: HostMemory, end: str) -> None:
    # Given a writer with space for one payload
    ends = {name: SharedMemoryBackend(host, 64 << 10, LEASE_S, CPU) for name in ("writer", "reader")}
    request, payload = make_request(), flat_bytes(noise(2, 64, 8, 8))
    stored = ends["writer"].put(request, 0, payload)
    assert stored is not None
    assert ends["writer"].put(request, 1, payload) is None
    # When either end discards it
    ends[end].discard(stored.location, payload.nbytes)
    # Then there is space for the next
    assert ends["writer"].put(request, 1, payload) is not None
    ends["writer"].close()


@pytest.mark.parametrize("name", ["../token", "/etc/passwd", "0123456789abcdef/../../token", ""])
def test_a_location_outside_the_folder_is_not_opened(host: HostMemory, name: str) -> None:
    assert SharedMemoryReader(host.folder, CPU).open(SharedMemoryBlock(segment=name, generation=1), 8) is None


def test_memory_of_a_killed_writer_is_removed_and_stays_valid_for_its_reader(host: HostMemory) -> None:
    # Given a reader that holds a block of another process
    writer = run(WRITER, str(host.folder))
    block = SharedMemoryBlock.model_validate_json(first_line(writer))
    view = SharedMemoryReader(host.folder, CPU).open(block, 160_000)
    assert view is not None
    # When the writer is killed (before, a sweep removes nothing)
    assert host.sweep() == 0
    kill(writer)
    assert host.sweep() == 1
    # Then no file is left, and the reader's bytes have not changed
    assert segment_files(host) == []
    assert torch.equal(torch.frombuffer(view, dtype=torch.float32), torch.arange(40_000.0))


def test_memory_of_a_killed_reader_is_freed_after_the_lease(host: HostMemory) -> None:
    pool = SharedMemoryPool(host, LIMIT_BYTES, 0.0, CPU)
    block = write(pool, torch.arange(40_000.0))
    assert block is not None
    reader = run(READER, str(host.folder), block.model_dump_json())
    assert first_line(reader) == "160000\n"
    kill(reader)
    pool.reclaim()
    assert segment_files(host) == []


def test_a_writer_that_ends_leaves_nothing(host: HostMemory) -> None:
    writer = run(WRITER, str(host.folder))
    first_line(writer)
    writer.communicate("")
    assert segment_files(host) == []


def test_workers_that_start_at_once_read_the_same_token(tmp_path: Path) -> None:
    assert len({HostMemory(tmp_path / "shared").token for _ in range(3)}) == 1


def test_a_payload_is_in_its_segment_once_its_copy_was_waited_for(host: HostMemory) -> None:
    # Given a device that has not come to the copy yet
    device = FakeDevice()
    writer, reader = (SharedMemoryBackend(host, LIMIT_BYTES, LEASE_S, device) for _ in range(2))
    sent = flat_bytes(noise(2, 64, 8, 8))
    stored = writer.put(make_request(), 0, sent)
    assert stored is not None
    received = reader.get(stored.location, sent.nbytes, memoryview(b""))
    assert received is not None
    assert not torch.equal(received, sent)
    # When it has, as whoever publishes the header has waited for
    assert stored.wait is not None
    stored.wait()
    # Then the reader finds the bytes
    assert torch.equal(received, sent)
    del received
    writer.close()


def test_segments_are_registered_while_they_are_mapped(host: HostMemory) -> None:
    device = FakeDevice()
    pool, reader = (
        SharedMemoryPool(host, LIMIT_BYTES, LEASE_S, device),
        SharedMemoryReader(host.folder, device),
    )
    block = write(pool, noise(8, 8))
    assert block is not None
    assert len(device.registered) == 1
    # When a segment is read, it is registered at the other end, too
    view = reader.open(block, 256)
    assert len(device.registered) == 2
    del view
    # And used again, it is not registered again
    again = write(pool, noise(8, 8))
    assert again is not None
    view = reader.open(again, 256)
    assert len(device.registered) == 2
    # When its writer ends, the reader's end stays registered for as long as something refers to it
    pool.close()
    reader.drop_gone()
    assert len(device.registered) == 1
    del view
    assert device.registered == {}


def test_a_segment_that_is_removed_is_not_registered_any_more(host: HostMemory) -> None:
    device = FakeDevice()
    pool = SharedMemoryPool(host, LIMIT_BYTES, 0.0, device)
    assert write(pool, noise(8, 8)) is not None
    pool.reclaim()
    assert device.registered == {}


def test_a_gpu_copies_into_segments_and_out_of_them(host: HostMemory, cuda: Device) -> None:
    writer, reader = (SharedMemoryBackend(host, 64 << 20, LEASE_S, cuda) for _ in range(2))
    for seed in range(3):
        sent = flat_bytes(noise(2, 320, 64, 64, seed=seed).to(cuda.torch_device))
        with cuda.on_stream("out"):
            stored = writer.put(make_request(), 0, sent)
        assert stored is not None
        if stored.wait is not None:  # else the copy has ended already
            stored.wait()
        view = reader.get(stored.location, sent.nbytes, memoryview(b""))
        assert view is not None
        assert view.is_pinned()  # registered, so that nothing is copied by the processor
        assert torch.equal(cuda.from_host(view), sent)
        del view
        cuda.synchronize()
        cuda.collect()
    assert len(segment_files(host)) == 1  # it was released each time
    writer.close()


def test_memory_that_the_system_refuses_is_told_once_and_shown(
    host: HostMemory, caplog: pytest.LogCaptureFixture
) -> None:
    # Given settings that allow more than the system has, and a payload that needs it
    backend = SharedMemoryBackend(host, 1 << 60, LEASE_S, CPU)
    payload = torch.zeros(1, dtype=torch.uint8).expand(1 << 50)
    assert backend.warnings() == []
    # When it is put twice, then another backend carries it
    assert [backend.put(make_request(), index, payload) for index in range(2)] == [None, None]
    # And the operator is told what to do: once in the log, and as long as it happens in the heartbeat
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    [warning] = backend.warnings()
    assert "/dev/shm has" in warning
    assert "--shm-size" in warning
    assert segment_files(host) == []
    backend.close()


class Pool(RuleBasedStateMachine):
    """Whatever the order of writes, reads and releases: no unreleased block is written again."""

    def __init__(self) -> None:
        super().__init__()
        self.host = HostMemory(Path(f"/dev/shm/swiftdiffusion-pool-{os.getpid()}"))
        self.pool = SharedMemoryPool(self.host, 512 << 10, LEASE_S, CPU)
        self.reader = SharedMemoryReader(self.host.folder, CPU)
        self.unread: list[tuple[SharedMemoryBlock, int, int]] = []  # written and not opened: number, size
        self.held: list[tuple[torch.Tensor, int]] = []
        self.number = 0

    @rule(size=st.sampled_from([1000, 70_000, 140_000]))
    def write(self, size: int) -> None:
        self.number += 1
        block = write(self.pool, torch.full((size,), self.number % 100, dtype=torch.int8))
        if block is not None:
            self.unread.append((block, self.number % 100, size))

    @rule(which=st.integers(0, 9))
    def open(self, which: int) -> None:
        if self.unread:
            block, number, size = self.unread.pop(which % len(self.unread))
            view = self.reader.open(block, size)
            assert view is not None
            self.held.append((torch.frombuffer(view, dtype=torch.int8), number))

    @rule(which=st.integers(0, 9))
    def release(self, which: int) -> None:
        if self.held:
            self.held.pop(which % len(self.held))

    @rule(which=st.integers(0, 9))
    def release_unread(self, which: int) -> None:
        if self.unread:
            self.pool.release(self.unread.pop(which % len(self.unread))[0])

    @invariant()
    def what_is_held_is_what_was_sent(self) -> None:
        assert all(bool((tensor == number).all()) for tensor, number in self.held)

    @invariant()
    def the_pool_keeps_its_bound(self) -> None:
        sizes = [path.stat().st_size for path in segment_files(self.host)]
        assert sum(sizes) - 4096 * len(sizes) <= 512 << 10

    def teardown(self) -> None:
        self.held.clear()
        self.pool.close()
        (self.host.folder / "token").unlink()
        self.host.folder.rmdir()


Pool.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestPool = Pool.TestCase
