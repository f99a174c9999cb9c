"""The reader's side: copies that count, slabs that are closed, and locations that nobody wrote."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fake_device import FakeDevice, FakeEvent
from tests.workers.transport.backends.cuda_ipc.ends import CPU, GRANULE, KB, Ends
from tests.workers.transport.backends.cuda_ipc.peer import make_backend
from workers.transport.backends.host_memory import HostMemory


class SlowDevice(FakeDevice):
    """Something happens while a thread waits for a copy."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def record(self) -> FakeEvent:
        self.meanwhile()
        return super().record()


def test_a_slot_that_is_given_to_another_payload_during_the_copy_counts_as_lost(host: HostMemory) -> None:
    # Given a reader that has begun to copy when its lease runs out
    ends = Ends(host, lease_s=0.0, device=SlowDevice(lambda: ends.write(2)))
    late = ends.sent(1)
    # Then what it has copied is not used, and the next payload is still there
    assert ends.read(late, KB) is None
    assert ends.pool.used_bytes() > 0


def test_a_writer_that_ends_during_the_copy_loses_the_payload(host: HostMemory) -> None:
    ends = Ends(host, device=SlowDevice(lambda: ends.folder.remove()))
    assert ends.read(ends.sent(1), KB) is None


def test_slabs_of_a_writer_that_has_ended_are_closed(ends: Ends) -> None:
    slot = ends.sent(1)
    assert ends.arrives(slot, 1)
    ends.reader.drop_gone()
    assert len(ends.theirs.opened) == 1
    ends.folder.remove()
    ends.reader.drop_gone()
    assert ends.theirs.opened == []
    assert ends.read(slot, KB) is None


def test_a_slab_that_cannot_be_opened_is_reported_with_its_writer(ends: Ends) -> None:
    slot = ends.sent(1)
    ends.theirs.refuses = True
    assert ends.read(slot, KB) is None
    assert ends.failures == [(ends.folder.name, "cudaIpcOpenMemHandle: cudaErrorPeerAccessUnsupported")]


BAD = [
    {"offset": 64 * KB},
    {"offset": 1},
    {"offset": 1 << 70},
    {"generation": 1 << 70},
    {"generation": 7},
    {"segment": "0123456789abcdef/0"},
    {"segment": "../token"},
    {"segment": "/etc/passwd"},
    {"segment": "FOLDER/lock"},
    {"segment": "FOLDER/../FOLDER/0"},
    {"segment": "FOLDER/accepted"},
    {"segment": ""},
]


@pytest.mark.parametrize("changes", BAD, ids=str)
def test_a_location_that_no_writer_wrote_is_nothing(ends: Ends, changes: dict[str, Any]) -> None:
    slot = ends.sent(1)
    named = {key: str(value).replace("FOLDER", ends.folder.name) for key, value in changes.items()}
    bad = slot.model_copy(update={**changes, **{key: named[key] for key in named if key == "segment"}})
    assert ends.read(bad, KB) is None
    ends.reader.release(bad, KB)
    assert ends.arrives(slot, 1)


@pytest.mark.parametrize("size_bytes", [0, 8 * GRANULE + 1, 1 << 62])
def test_a_payload_of_a_size_that_the_slab_cannot_hold_is_nothing(ends: Ends, size_bytes: int) -> None:
    assert ends.read(ends.sent(1), size_bytes) is None


@pytest.mark.parametrize(
    "location",
    [{}, {"segment": 1}, {"segment": "a", "offset": -1, "generation": 1}, {"segment": "a", "offset": 0.5}],
    ids=str,
)
def test_a_location_of_other_fields_is_refused(host: HostMemory, location: dict[str, Any]) -> None:
    backend = make_backend(host, CPU)
    with pytest.raises(ValueError, match="DeviceSlot"):
        backend.get(location, KB, memoryview(b""))
    with pytest.raises(ValueError, match="DeviceSlot"):
        backend.discard(location, KB)
    backend.close()
