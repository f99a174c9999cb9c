"""Slots on the writer's side: lent, given back, given up, and whatever the order, never mixed up."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.workers.transport.backends.cuda_ipc.ends import GRANULE, KB, Ends, alive
from workers.transport.backends.cuda_ipc.location import DeviceSlot
from workers.transport.backends.cuda_ipc.pool import SLAB_BYTES
from workers.transport.backends.host_memory import HostMemory


def test_a_slot_is_used_again_once_it_was_read_and_never_found_again(ends: Ends) -> None:
    first = ends.sent(1)
    assert ends.arrives(first, 1)
    second = ends.sent(2)
    assert second.offset == first.offset
    assert second.generation > first.generation
    assert ends.read(first, KB) is None
    assert ends.arrives(second, 2)


def test_slots_of_any_sizes_lie_side_by_side_in_one_slab(ends: Ends) -> None:
    sizes = [KB, GRANULE, GRANULE + 1, 3 * GRANULE]
    slots = [ends.sent(seed, size) for seed, size in enumerate(sizes)]
    assert [slot.offset // GRANULE for slot in slots] == [0, 1, 2, 4]
    # When the second is read, its place is taken by what fits
    assert ends.arrives(slots[1], 1, GRANULE)
    assert ends.write(9, 2 * GRANULE) is None
    assert ends.sent(8, KB).offset == GRANULE
    for seed in (0, 2, 3):
        assert ends.arrives(slots[seed], seed, sizes[seed])
    assert len(ends.slabs.allocated) == len(ends.theirs.opened) == 1


def test_a_full_pool_refuses_until_something_is_read(ends: Ends) -> None:
    slots = [ends.sent(seed, 2 * GRANULE) for seed in range(4)]
    assert ends.write(4) is None
    assert ends.arrives(slots[2], 2, 2 * GRANULE)
    assert ends.sent(4, 2 * GRANULE).offset == slots[2].offset


def test_slabs_are_allocated_as_they_are_needed_within_the_limit(host: HostMemory) -> None:
    ends = Ends(host, limit_bytes=SLAB_BYTES + 3 * GRANULE)
    ends.sent(0, SLAB_BYTES)
    ends.sent(1, 2 * GRANULE)
    assert [slab.memory.numel() for slab in ends.slabs.allocated] == [SLAB_BYTES, 3 * GRANULE]
    assert ends.write(2, 2 * GRANULE) is None


def test_residuals_of_a_transformer_leave_nothing_of_a_slab_unused(host: HostMemory) -> None:
    # Given residuals of 65 MB, and room for three
    size = 65 * 16 * GRANULE
    ends = Ends(host, limit_bytes=3 * size)
    for seed in range(3):
        ends.sent(seed, size)
    assert [slab.memory.numel() for slab in ends.slabs.allocated] == [size] * 3
    assert ends.write(3, GRANULE) is None


def test_a_device_without_memory_is_not_asked_at_every_payload(host: HostMemory) -> None:
    ends = Ends(host)
    ends.slabs.capacity_bytes = 0
    assert ends.write(0) is None
    ends.slabs.capacity_bytes = 1 << 30
    assert ends.write(0) is None  # until a while has passed
    assert list(ends.folder.path.glob("[0-9]*")) == []


def test_a_payload_that_is_not_read_within_the_lease_is_given_up(host: HostMemory) -> None:
    ends = Ends(host, lease_s=0.0)
    late = ends.sent(1)
    ends.pool.reclaim(alive)
    assert ends.pool.used_bytes() == 0
    assert ends.read(late, KB) is None


def test_slots_of_readers_that_have_ended_are_freed_and_no_others(ends: Ends) -> None:
    kept, lost = ends.write(1, reader="lives"), ends.write(2, reader="dead")
    assert kept is not None
    assert lost is not None
    ends.pool.reclaim(lambda reader: reader == "lives")
    assert ends.read(lost, KB) is None
    assert ends.arrives(kept, 1)


@pytest.mark.parametrize("end", ["writer", "reader"])
def test_a_payload_that_nobody_reads_is_freed_by_either_end(ends: Ends, end: str) -> None:
    slots = [ends.sent(seed, 4 * GRANULE) for seed in range(2)]
    if end == "writer":
        assert ends.pool.release(slots[0])
    else:
        ends.reader.release(slots[0], 4 * GRANULE)
    assert ends.sent(2, 4 * GRANULE).offset == slots[0].offset
    assert ends.arrives(slots[1], 1, 4 * GRANULE)


def test_to_free_a_payload_twice_frees_no_other(ends: Ends) -> None:
    first = ends.sent(1)
    ends.pool.release(first)
    second = ends.sent(2)
    ends.pool.release(first)
    ends.reader.release(first, KB)
    assert ends.arrives(second, 2)


def test_slabs_that_another_process_may_have_open_are_not_freed(ends: Ends) -> None:
    ends.sent(1)
    ends.pool.close(alive)
    assert len(ends.slabs.allocated) == 1
    ends.slabs.allocated[0].close()


class Pool(RuleBasedStateMachine):
    """Whatever the order of writes, reads and releases: what is read is what was sent, or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.host = HostMemory(Path(f"/dev/shm/swiftdiffusion-ipc-pool-{os.getpid()}"))
        self.ends = Ends(self.host, limit_bytes=6 * GRANULE)
        self.unread: list[tuple[DeviceSlot, int, int]] = []
        self.gone: list[tuple[DeviceSlot, int]] = []
        self.seed = 0

    @rule(size=st.sampled_from([1000, GRANULE, 2 * GRANULE + 1]), reader=st.sampled_from(["a", "b"]))
    def write(self, size: int, reader: str) -> None:
        self.seed += 1
        slot = self.ends.write(self.seed, size, reader)
        if slot is not None:
            self.unread.append((slot, self.seed, size))

    @rule(which=st.integers(0, 9))
    def read(self, which: int) -> None:
        if self.unread:
            slot, seed, size = self.unread.pop(which % len(self.unread))
            assert self.ends.arrives(slot, seed, size)
            self.gone.append((slot, size))

    @rule(which=st.integers(0, 9), is_writer=st.booleans())
    def discard(self, which: int, is_writer: bool) -> None:
        if self.unread:
            slot, _, size = self.unread.pop(which % len(self.unread))
            if is_writer:
                self.ends.pool.release(slot)
                assert self.ends.read(slot, size) is None
            else:
                self.ends.reader.release(slot, size)

    @rule(which=st.integers(0, 9))
    def read_again(self, which: int) -> None:
        """A slot that was read may hold the same bytes still; it never holds another payload's."""
        if self.gone:
            slot, size = self.gone[which % len(self.gone)]
            before = self.ends.read(slot, size)
            self.ends.pool.reclaim(alive)
            assert self.ends.read(slot, size) is None or before is not None

    @rule()
    def reclaim(self) -> None:
        self.ends.pool.reclaim(alive)

    @invariant()
    def the_pool_keeps_its_bound(self) -> None:
        assert sum(slab.memory.numel() for slab in self.ends.slabs.allocated) <= 6 * GRANULE

    def teardown(self) -> None:
        self.ends.reader.close()
        self.ends.folder.remove()
        self.ends.pool.close(lambda reader: False)
        shutil.rmtree(self.host.folder)


Pool.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestPool = Pool.TestCase
